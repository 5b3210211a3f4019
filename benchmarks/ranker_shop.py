"""On what is the ranker measured? A simulated shop, trained on all but the end of its log, which then comes live."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from ingest import columns as c
from ingest.load import load_files
from ingest.outbox import OnlineEvent
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from offline_eval.simulate import SimulationConfig, simulate
from ranker.bundle import live_folder, promote
from ranker.history import History
from ranker.query import GivenItem, Query
from ranker.rank import Ranker

UNKNOWN_SHARE = 0.1
"""One question in ten comes from somebody whom the log does not know."""
MOST_QUESTIONS, FEWEST_QUESTIONS, CELLS = 200, 50, 20_000_000
"""Held-out questions of the encoder, and how many scores of items they make together."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A bundle that serves, and what happened before and after its cutoff."""

    ranker: Ranker
    interactions: pl.DataFrame
    """The whole log."""
    impressions: pl.DataFrame
    """What was shown before the cutoff: a service learns of later ones at the next training."""
    live: History
    """The bundle's history with the events that came after its cutoff."""
    live_until: datetime
    """Just after the last live event."""


def workspace_of(work: Path, n_events: int, n_items: int, seed: int) -> Workspace:
    """Simulate and ingest a shop, or open the one that is there already."""
    root = work / f"shop-{n_events}-{n_items}"
    if (root / "ingested").exists():
        return Workspace.open(root / "workspace")
    config = SimulationConfig(n_events=n_events, n_items=n_items, seed=seed, interactions_format="parquet")
    files = simulate(config, root / "log").files
    workspace = Workspace.create(root / "workspace", "")
    with Store.open(workspace.store_path) as store:
        load_files(store, files)
    (root / "ingested").touch()
    return workspace


def open_shop(workspace: Workspace, n_live: int) -> Shop:
    """Train on all but the last `n_live` events, unless that has been done, and let these come live.

    The encoder learns little and the blend from few questions: enough for a model of the usual size, whose
    answers cost what they always cost.
    """
    with Store.open(workspace.store_path, read_only=True) as store:
        interactions = store.interactions(before=END_OF_TIME)
    times = interactions[c.OCCURRED_AT].sort()
    cutoff: datetime = times[len(times) - 1 - n_live]
    if not (workspace.bundles_path / "live").exists():
        with Store.open(workspace.store_path, read_only=True) as store:
            n_items = len(store.items(before=END_OF_TIME))
        _train(workspace, cutoff, n_items)
    ranker = Ranker.load(live_folder(workspace.bundles_path))
    with Store.open(workspace.store_path, read_only=True) as store:
        impressions = store.impressions(before=ranker.cutoff)
    late = interactions.filter(pl.col(c.OCCURRED_AT) >= ranker.cutoff).sort(c.OCCURRED_AT)
    return Shop(
        ranker=ranker,
        interactions=interactions,
        impressions=impressions,
        live=ranker.history_with(_online(late)),
        live_until=times[-1] + timedelta(microseconds=1),
    )


def some_queries(shop: Shop, n: int, k: int, rng: np.random.Generator) -> list[Query]:
    """Ask for users of the log, one in ten unknown, all just after the last live event."""
    users = rng.choice(shop.ranker.history.user_ids, n)
    cold_users = rng.random(n) < UNKNOWN_SHARE
    return [
        Query(user_id=f"cold-user-{place}" if cold else str(user), as_of=shop.live_until, k=k)
        for place, (user, cold) in enumerate(zip(users, cold_users, strict=True))
    ]


def some_items(shop: Shop, n: int, rng: np.random.Generator) -> list[GivenItem]:
    """Draw distinct items of the catalogue to be ranked."""
    ids = shop.ranker.catalogue.ids
    chosen = rng.choice(len(ids), min(n, len(ids)), replace=False)
    return [GivenItem(item_id=ids[row]) for row in chosen.tolist()]


def _train(workspace: Workspace, until: datetime, n_items: int) -> None:
    from encoders.train import EncoderConfig
    from ranker.examples import ExamplesConfig
    from ranker.train import train
    from ranker.train_config import TrainConfig

    # Held-out questions are asked of all items at once: of a large catalogue fewer of them fill as much memory.
    questions = min(MOST_QUESTIONS, max(FEWEST_QUESTIONS, CELLS // max(n_items, 1)))
    encoder = EncoderConfig(base="catalogue", epochs=1, pairs_per_epoch=10_000, validation_queries=questions)
    config = TrainConfig(encoder=encoder, examples=ExamplesConfig(max_queries=1_000))
    promote(workspace.bundles_path, train(workspace, config, until=until).folder.name)


def _online(events: pl.DataFrame) -> Sequence[OnlineEvent]:
    told = (c.USER_ID, c.ITEM_ID, c.KIND, c.WEIGHT, c.OCCURRED_AT, c.SESSION_ID)
    wanted = events.select(told).with_row_index(c.EVENT_ID).with_columns(pl.col(c.EVENT_ID).cast(pl.String))
    return [OnlineEvent(**row) for row in wanted.iter_rows(named=True)]
