"""What a person reads after a training is what was measured."""

from pathlib import Path
from typing import Any

import pytest

from ingest.workspace import Workspace
from ranker.bundle import live_folder, read_manifest
from ranker.spoken import training_lines
from ranker.train import Trained


@pytest.fixture
def measured(shop: Workspace) -> dict[str, Any]:
    return read_manifest(live_folder(shop.bundles_path)).measured


def lines(measured: dict[str, Any], **changes: Any) -> list[str]:
    return list(training_lines(Trained(folder=Path("bundle"), measured={**measured, **changes}), promoted=True))


def test_weights_of_sources_that_the_rules_leave_out_are_not_told(measured):
    fused = {"learned": False, "why": "few", "weights": {"words": 1.5, "repeats": 0.4, "popular": 1.1}}
    assert "what each source counts in it: words 1.50, popular 1.10" in lines(measured, blend=fused)


def test_what_orders_given_items_is_told_with_how_good_it_is_or_why_it_is_another(measured):
    given = {**measured["given"], "trees": 800, "valid_ndcg@10": 0.5, "ranks_ndcg@10": 0.45}
    told = "blend for given items of 800 trees: NDCG@10 0.5000 (0.4500 by fused ranks) on later requests"
    assert told in lines(measured, given=given)
    none, fused = {"learned": False, "why": "no impressions"}, {"learned": False, "why": "few"}
    for blend, instead in ((measured["blend"], "the blend"), (fused, "fused ranks")):
        told = lines(measured, given=none, blend=blend)
        assert f"no blend for given items: no impressions; {instead} will order them" in told
    worse = {"learned": False, "fused": True, "why": "trees are worse"}
    told = "no blend for given items: trees are worse; fused ranks will order them"
    assert told in lines(measured, given=worse)
