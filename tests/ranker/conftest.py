import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy import sparse

from encoders.interest import InterestModel
from encoders.lexical import Words
from encoders.tower import UserTower, tower_arrays
from encoders.vectors import CatalogueVectors, compressed
from ingest import columns as c
from ingest.workspace import Workspace
from ranker.bundle import MANIFEST, live_folder
from ranker.catalogue import Catalogue
from ranker.factors import Factors
from ranker.history import History
from ranker.live_events import LiveEvents
from ranker.model import Model
from ranker.rank import Ranker
from ranker.rules import RulesConfig
from ranker.sources import Sources

DAY = 86_400_000_000


def log(*rows: tuple[str, str, int], weight: float = 1.0) -> pl.DataFrame:
    """Interactions of (user, item, day); the order of rows is the order of the log."""
    return pl.DataFrame(
        [(user, item, day * DAY, weight) for user, item, day in rows],
        schema={c.USER_ID: pl.String, c.ITEM_ID: pl.String, c.OCCURRED_AT: pl.Int64, c.WEIGHT: pl.Float64},
        orient="row",
    ).with_columns(pl.col(c.OCCURRED_AT).cast(pl.Datetime("us")))


def live_events(
    items: Catalogue,
    *events: tuple[str, str, int],
    weight: float = 1.0,
    kinds: list[str] | None = None,
    sessions: list[str | None] | None = None,
) -> LiveEvents:
    """Live events of (user, item, microseconds), in the order told."""
    return LiveEvents(
        user_ids=[user for user, _, _ in events],
        items=items.rows(item for _, item, _ in events),
        times=np.array([moment for _, _, moment in events], np.int64),
        weights=np.full(len(events), weight, np.float32),
        kinds=kinds,
        sessions=sessions,
    )


def catalogue(*item_ids: str) -> Catalogue:
    items = pl.DataFrame({c.ITEM_ID: item_ids, c.AVAILABLE: [True] * len(item_ids)})
    return Catalogue.from_store(items, log())


def hand_made_sources(items: Catalogue, texts: list[str], vectors: np.ndarray, **config: Any) -> Sources:
    """A hand-made user tower over given item vectors; no neighbours, no factors. `config` is of the encoder."""
    n, dim = vectors.shape
    torch.manual_seed(0)
    tower = {name: value.numpy() for name, value in tower_arrays(UserTower(dim, width=4, heads=2)).items()}
    model = InterestModel(None, {"dim": dim, "kind": "static", "history": 4, "heads": 2, "layers": 2, **config}, tower)
    stored, scales = compressed(vectors.astype(np.float32), "float16")
    words, nothing = Words.fit(texts), sparse.csr_matrix((n, n), dtype=np.float32)
    kept = CatalogueVectors(ids=items.ids, texts=np.zeros((n, 16), np.uint8), stored=stored, scales=scales, encoder="")
    return Sources(
        items,
        model,
        kept,
        words,
        words.matrix(texts),
        nothing,
        nothing,
        nothing,
        Factors(np.zeros((n, 2)), 1.0, 1.0),
        np.full((n, 1), -1, np.int32),
        np.zeros(dim),
    )


@pytest.fixture
def small() -> tuple[Catalogue, History]:
    """Three items; ann takes a on day 1, b on day 2, a on day 3; bob takes a on day 2."""
    items = catalogue("a", "b", "z")
    return items, History.from_frames(items, log(("ann", "a", 1), ("ann", "b", 2), ("ann", "a", 3), ("bob", "a", 2)))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def with_rules(ranker: Ranker, rules: RulesConfig, items: pl.DataFrame | None = None) -> Ranker:
    """The same models under other rules, over a catalogue that says other things of the same items."""
    model = ranker.model
    sources = copy.copy(model.sources)
    if items is not None:
        sources.catalogue = Catalogue(items)
    same = Model(
        sources=sources,
        blend=model.blend,
        blend_given=model.blend_given,
        candidates=model.candidates,
        rules=rules,
        cutoff=model.cutoff,
        known_until=model.known_until,
    )
    return Ranker(same, ranker.history, version=ranker.version)


def bundle_that_measured(workspace: Workspace, folder: Path, name: str, told: dict[str, Any] | None) -> Path:
    """Copy the bundle that serves into `folder`, with something else measured, or, as before it was, nothing."""
    shutil.copytree(live_folder(workspace.bundles_path), folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["measured"][name]  # which training does write
    if told is not None:
        manifest["measured"][name] = told
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def changed(ranker: Ranker, **changes: Any) -> Ranker:
    """The same ranker but for some fields of its model."""
    shop = copy.copy(ranker)
    shop.model = replace(ranker.model, **changes)
    return shop


@pytest.fixture(scope="session")
def shelves(ranker: Ranker) -> pl.DataFrame:
    """The shop's catalogue with brands, items without a price, items sold out and items yet to come."""
    items = ranker.catalogue.items
    row = np.arange(len(items))
    attributes = [
        json.dumps({"brand": f"b{n % 5}"} | ({} if n % 7 == 0 else {"price": str(n)} if n % 2 else {"price": n}))
        for n in row.tolist()
    ]
    return items.with_columns(
        pl.Series(c.ATTRIBUTES, attributes),
        pl.Series(c.AVAILABLE, row % 11 > 0),
        pl.when(pl.Series(row % 13 == 0))
        .then(pl.lit(ranker.cutoff.replace(year=ranker.cutoff.year + 5)))
        .otherwise(pl.col(c.PUBLISHED_AT))
        .cast(pl.Datetime("us"))
        .alias(c.PUBLISHED_AT),
    )
