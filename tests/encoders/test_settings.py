"""Settings that change what is trained: repeating on all of the log, frozen text, smaller towers, cut vectors."""

import json
from dataclasses import asdict, replace
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from encoders.buckets import age_bucket, weight_bucket
from encoders.card import read_report
from encoders.errors import EncoderError
from encoders.interest import InterestModel
from encoders.settings import check_settings
from encoders.tower import UserTower, tower_arrays
from encoders.train import EncoderConfig, train


def test_repeating_takes_epochs_and_addition_over_and_holds_nothing_out(shop, small, tmp_path):
    first = train(shop.folder, tmp_path / "first", small)
    card = json.loads((tmp_path / "first" / "card.json").read_text())
    bonus = {"always": 0.75, "words": 10.0}
    (tmp_path / "first" / "card.json").write_text(
        json.dumps(card | {"newcomers": bonus, "best_epoch": 1, "epochs": card["epochs"][:2]})
    )
    again = train(shop.folder, tmp_path / "again", small, repeat_of=tmp_path / "first")
    assert (len(again.epochs), again.best_epoch, asdict(again.newcomers)) == (2, 2, bonus)
    assert again.events > first.events
    assert again.tuned == first.tuned
    assert json.loads((tmp_path / "again" / "config.json").read_text())["newcomers"] == bonus


def test_repeating_by_other_settings_is_refused_before_the_log_is_read(shop, small, tmp_path):
    """Or the card of the one kind would show the figures of the other."""
    train(shop.folder, tmp_path / "first", replace(small, epochs=0))
    for changes, told in (
        ({"kind": "transformer"}, "got kind = 'transformer' instead of 'static'; set kind = 'static'"),
        ({"learning_rate": 0.5}, "got learning_rate = 0.5 instead of 0.01; set learning_rate = 0.01"),
    ):
        with pytest.raises(EncoderError, match=told):
            train(shop.folder, tmp_path / "m", replace(small, epochs=0, **changes), repeat_of=tmp_path / "first")
    card = json.loads((tmp_path / "first" / "card.json").read_text())
    del card["settings"]["cold_share"]  # as an earlier version wrote it
    (tmp_path / "first" / "card.json").write_text(json.dumps(card))
    how = {"texts_at_once": 9, "vectors": "int8", "threads": 2, "patience": 5}
    train(shop.folder, tmp_path / "m", replace(small, epochs=0, **how), repeat_of=tmp_path / "first")
    with pytest.raises(EncoderError, match=r"got cold_share = 0\.1 instead of 0\.3"):
        train(shop.folder, tmp_path / "m", replace(small, epochs=0, cold_share=0.1), repeat_of=tmp_path / "first")


def test_a_report_is_read_back_as_it_was_written(shop, small, tmp_path):
    report = train(shop.folder, tmp_path / "m", replace(small, epochs=1))
    assert replace(read_report(tmp_path / "m"), seconds=report.seconds) == report


def test_frozen_text_stays_as_it_was(shop, small, tmp_path):
    train(shop.folder, tmp_path / "untuned", small, epochs=0)
    train(shop.folder, tmp_path / "frozen", replace(small, tuning="none"))
    texts = ["red wool scarf", "tram to the sea"]
    before, after = (InterestModel.load(tmp_path / name).encode(texts) for name in ("untuned", "frozen"))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("changes", [{"layers": 0}, {"read_kinds_and_ages": False}])
def test_served_towers_without_parts_agree_with_trained_ones(changes):
    torch.manual_seed(0)
    config = EncoderConfig(width=8, heads=2, history=6, **changes)
    tower = UserTower(
        5, width=8, heads=2, layers=config.layers, read_kinds_and_ages=config.read_kinds_and_ages, kinds=2
    )
    tower.eval()
    for value in tower.parameters():
        torch.nn.init.normal_(value, std=0.3)
    arrays = {name: value.numpy() for name, value in tower_arrays(tower).items()}
    described = {"dim": 5, "kind": "static", "history": 6, "heads": 2, "layers": config.layers}
    served = InterestModel(None, described | {"read_kinds_and_ages": config.read_kinds_and_ages}, arrays)
    vectors = np.random.default_rng(0).normal(size=(1, 3, 5)).astype(np.float32)
    weights, ages = np.array([[1.0, 5.0, -1.0]]), np.array([[90_000.0, 3_000.0, 20.0]])
    buckets, between = weight_bucket(weights), age_bucket(ages[:, None, :] - ages[:, :, None])
    kinds = np.array([[2, 1, 0]])
    with torch.no_grad():
        mean, state = tower.states(
            torch.from_numpy(vectors),
            torch.from_numpy(buckets),
            torch.from_numpy(kinds),
            torch.from_numpy(between),
            torch.ones(1, 3).bool(),
        )
        expected = tower.users(mean[:, 2], state[:, 2], torch.from_numpy(age_bucket(ages[:, 2])))
    mask = np.ones((1, 3), bool)
    got = served.user_vectors(vectors, weights.astype(np.float32), ages.astype(np.float32), mask, kinds)
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)
    if not config.read_kinds_and_ages:
        ones, later = np.ones((1, 3), np.float32), (ages * 9).astype(np.float32)
        older = served.user_vectors(vectors, ones, later, np.ones((1, 3), bool))
        np.testing.assert_array_equal(got, older)


def test_a_model_knows_at_which_lengths_it_may_be_cut(shop, small, tmp_path):
    train(shop.folder, tmp_path / "cut", replace(small, cut_dims="4, 8"))
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["cut_dims"] == [4, 8]
    assert InterestModel.load(tmp_path / "cut", dim=4).encode(["red wool scarf"]).shape == (1, 4)
    with pytest.raises(EncoderError, match="wanted lengths below 16"):
        train(shop.folder, tmp_path / "wrong", replace(small, dim=16, cut_dims="16"))


def test_adapters_are_for_transformers(shop, small, tmp_path):
    with pytest.raises(EncoderError, match="lora is for kind = transformer"):
        train(shop.folder, tmp_path / "m", replace(small, kind="static", tuning="lora"))


def test_what_a_setting_may_be_is_what_its_type_says(shop, small, tmp_path):
    choices = {
        name: get_args(hint) for name, hint in get_type_hints(EncoderConfig).items() if get_origin(hint) is Literal
    }
    assert choices["kind"] == ("static", "transformer")
    assert {"kind", "tuning", "precision", "vectors"} <= choices.keys()
    for name, values in choices.items():
        with pytest.raises(EncoderError, match=rf"\[encoder\] {name}: wanted one of {', '.join(values)}, got 'odd'"):
            check_settings(replace(small, **{name: "odd"}))
