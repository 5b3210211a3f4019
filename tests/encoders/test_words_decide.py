"""Where nothing but words that users take again tells what comes next, text interest must not be below words alone."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from encoders.export import export_frames
from encoders.train import EncoderConfig, train

AT = datetime(2024, 1, 1)
PER_SERIES = 8


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Forty series of eight items; titles name the series and six common words, and users take from two series."""
    rng = np.random.default_rng(0)
    common = [f"word{n}" for n in range(40)]
    titles = [
        " ".join([f"K{4000 + 7 * number}", *rng.choice(common, 6, replace=False)])
        for number in range(40)
        for _ in range(PER_SERIES)
    ]
    events = []
    for user in range(60):
        own = [number * PER_SERIES + item for number in rng.choice(40, 2, replace=False) for item in range(PER_SERIES)]
        moment = AT + timedelta(hours=int(rng.integers(0, 24 * 30)))
        for item in rng.permutation(own)[:8]:
            moment += timedelta(hours=int(rng.integers(1, 48)))
            events.append((f"u{user}", f"i{item:03d}", "click", 1.0, moment))
    items = pl.DataFrame({"item_id": [f"i{n:03d}" for n in range(len(titles))], "title": titles})
    schema = {"user_id": str, "item_id": str, "kind": str, "weight": float, "occurred_at": pl.Datetime("us")}
    log = pl.DataFrame(events, schema=schema, orient="row").sort("occurred_at")
    folder = tmp_path_factory.mktemp("series") / "data"
    export_frames(items, log, folder, before=AT + timedelta(days=999))
    return folder


CONFIG = EncoderConfig(base="catalogue", dim=128, width=32, heads=2, history=8, negatives=128)


@pytest.mark.parametrize("seed", [0, 1])
def test_text_interest_is_not_below_a_profile_of_words(series, tmp_path, seed):
    report = train(series, tmp_path / "m", replace(CONFIG, seed=seed))
    assert report.words.recall_at_10 > 0.4, "words tell a good deal"
    assert report.words.queries == report.tuned.queries
    assert report.over_words.value > 0
    assert report.over_words.high > 0.02


def test_a_small_log_is_learned_from(series, tmp_path):
    """A step for each 2,048 pairs is one an epoch here, with a learning rate that has not risen yet."""
    report = train(series, tmp_path / "m", CONFIG)
    assert report.best_epoch > 0
    assert report.tuned.goal > 1.02 * report.untuned.goal
    assert report.epochs[0].steps >= 10
    few = train(series, tmp_path / "few", replace(CONFIG, least_steps=0))
    assert few.epochs[0].steps == 1
    assert few.tuned.goal < report.tuned.goal
