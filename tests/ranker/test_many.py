"""Long files are answered in blocks, and nobody can tell from the answers."""

import numpy as np
import polars as pl

from ranker.fusion import Fusion, fuse_given
from ranker.many import rank_many
from tests.ranker.conftest import changed


def test_given_items_are_scored_block_by_block_as_all_at_once(ranker, monkeypatch):
    """Five requests of three items each, their rows mixed, in blocks of two requests."""
    items = ranker.catalogue.ids
    requests = pl.DataFrame(
        {
            "request_id": [f"r{row % 5}" for row in range(15)],
            "user_id": [ranker.history.user_ids[row % 5] for row in range(15)],
            "item_id": [items[row] for row in range(15)],
            "occurred_at": [ranker.cutoff] * 15,
        },
        schema_overrides={"occurred_at": pl.Datetime("us")},
    )
    model, held, told = changed(ranker, blend_given=Fusion()).model, [], []
    at_once = rank_many(model, requests, ranker.history)

    def noted(features, request):
        held.append(len(features))
        return fuse_given(features, request)

    monkeypatch.setattr("ranker.model.fuse_given", noted)
    monkeypatch.setattr("ranker.given.blocks", lambda n, *_, **__: (slice(s, min(s + 2, n)) for s in range(0, n, 2)))
    in_blocks = rank_many(model, requests, ranker.history, lambda *step: told.append(step))
    assert held == [2 * 3, 2 * 3, 1 * 3]
    assert told == [("rank", 6, 15), ("rank", 12, 15), ("rank", 15, 15)]
    assert in_blocks.drop("score").equals(requests.drop("occurred_at"))
    np.testing.assert_array_equal(in_blocks["score"], at_once["score"])
