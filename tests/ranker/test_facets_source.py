"""Items of the same author are proposed, also where only a code says so and nobody has touched them."""

import json

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ranker import shared_words
from ranker.candidates import CandidatesConfig, propose
from ranker.catalogue import Catalogue
from ranker.history import History
from ranker.moments import Moments
from ranker.scores import score_all
from ranker.sources import SOURCES
from tests.ranker.conftest import hand_made_sources

ATTRIBUTES = {
    "first": {"by": "a17", "shelf": 1},
    "second": {"by": "a17", "shelf": 1},
    "third": {"by": "a17", "shelf": 2},
    "other": {"by": "a23", "shelf": 1},
    "another": {"by": "a23", "shelf": 2},
    "stray": {"shelf": 1},
}
N = len(ATTRIBUTES)
A17, SHELF_1 = np.log(N / 3), np.log(N / 4)
"""What a value weighs: three items are by a17, four stand on the first shelf."""


@pytest.fixture(scope="module")
def sources():
    items = pl.DataFrame(
        {c.ITEM_ID: list(ATTRIBUTES), c.ATTRIBUTES: [json.dumps(held) for held in ATTRIBUTES.values()]}
    )
    catalogue = Catalogue.from_store(items, pl.DataFrame())
    return hand_made_sources(catalogue, [""] * N, np.zeros((N, 2), np.float32))


def history_of(sources, *taken: str) -> History:
    log = [("ann", item, n * 10**6) for n, item in enumerate(taken)]
    schema = {c.USER_ID: pl.String, c.ITEM_ID: pl.String, c.OCCURRED_AT: pl.Datetime("us")}
    return History.from_frames(sources.catalogue, pl.DataFrame(log, schema, orient="row").with_columns(weight=1.0))


def asked(sources, history: History):
    return sources.situation(history, Moments(users=history.user_rows(["ann"]), as_of=np.array([10**9])))


def test_shared_values_count_by_how_rare_they_are_and_by_how_many_an_item_has(sources):
    """Ann took the first and then a stray of the same shelf: 0.8 and 1 of 1.8 of her past."""
    scores = score_all(sources, asked(sources, history_of(sources, "first", "stray")))
    found = dict(zip(sources.catalogue.ids, scores.of("facets", 0).tolist(), strict=True))
    by_a17 = 0.8 / 1.8
    assert found == pytest.approx(
        {
            "first": (by_a17 * A17 + SHELF_1) / np.sqrt(2),
            "second": (by_a17 * A17 + SHELF_1) / np.sqrt(2),
            "third": by_a17 * A17 / np.sqrt(2),
            "other": SHELF_1 / np.sqrt(2),
            "another": 0,
            "stray": SHELF_1,
        }
    )


def test_untouched_items_of_the_same_author_are_proposed_and_no_others(sources):
    situation = asked(sources, history_of(sources, "third"))
    allowed = np.array([[item != "third" for item in sources.catalogue.ids]])
    alone = CandidatesConfig(**{name: 50 if name == "facets" else 0 for name in SOURCES})
    proposed = propose(sources, situation, allowed, alone)
    ranks = dict(zip(sources.catalogue.rows(["first", "second", "another"]).tolist(), (2, 3, 1), strict=True))
    found = dict(zip(proposed.item.tolist(), proposed.ranks[:, SOURCES.index("facets")].tolist(), strict=True))
    assert found == ranks, "two items share its shelf, three its author: the shelf is rarer"


def test_values_of_every_fifth_item_propose_nothing(sources, monkeypatch):
    monkeypatch.setattr(shared_words, "_COMMON_FROM", 2)
    common = hand_made_sources(Catalogue(sources.catalogue.items), [""] * N, np.zeros((N, 2), np.float32))
    found = score_all(common, asked(common, history_of(common, "third"))).of("facets", 0)
    assert np.flatnonzero(found).tolist() == sorted(common.catalogue.rows(["third", "another"]).tolist())
