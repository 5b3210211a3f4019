import numpy as np
import polars as pl
import pytest

from benchmarks.quality_parts import alone
from benchmarks.ranker_parts import Parts, Sizes
from benchmarks.ranker_stages import REST, STAGES, timed
from ingest import columns as c
from ingest.moments import to_microseconds
from ranker import candidates
from ranker.many import recommend_many


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    sizes = Sizes(log=3_000, items=100, live=300, requests=40, batch=10, queries=5, given=10, k=5, repeats=1)
    return Parts(sizes, tmp_path_factory.mktemp("work"))


def test_served_features_are_those_of_a_batch_before_and_after_live_events(parts):
    equal, largest, with_live, values = parts.parity()
    assert with_live.measured == 20
    assert values.measured > 0
    assert (equal.measured, largest.meets) == (100, True), parts.details["parity"]


def test_every_part_has_its_figures(parts):
    batch = parts.batch()
    assert all(figure.measured > 0 for figure in batch)
    named = {figure.what: figure for figure in parts.single()}
    assert {"rank 10 given items: p50", "recommend 5 of 100: p99"} <= set(named)
    recommend = parts.details["stages"]["recommend 5 of 100"]
    assert set(recommend) == {*STAGES, REST}
    assert all(recommend[stage] > 0 for stage in ("situation", "rules", "scores", "propose", "features"))


def test_bundle_is_loaded_in_a_process_of_its_own(parts):
    ready, held, own, disk = parts.load()
    assert ready.measured > 0
    assert held.measured >= own.measured > 0
    assert disk.measured > 0


def test_budget_speaks_of_no_larger_catalogue(parts, monkeypatch):
    monkeypatch.setattr("benchmarks.ranker_parts.BUDGET_ITEMS", 99)
    bars = {figure.what: figure.bar for figure in parts.single()}
    assert bars["recommend 5 of 100: p50"] is None
    assert bars["rank 10 given items: p50"] == 3.0


def test_clocks_of_stages_leave_nothing_behind():
    before = candidates.score_all
    timed([lambda: None])
    assert candidates.score_all is before


def test_a_difference_is_found(parts, monkeypatch):
    import benchmarks.ranker_parity as parity

    def other(*args):
        return [features + np.float32(1e-3) for features in original(*args)]

    original = parity._given_batch
    monkeypatch.setattr(parity, "_given_batch", other)
    assert parts.parity()[0].measured == 50


def test_one_source_alone_recommends_in_its_own_order(ranker):
    queries = pl.DataFrame({c.QUERY_ID: ["q"], c.USER_ID: ["nobody"]})
    answers = recommend_many(alone(ranker.model, "evergreen"), queries, 10, ranker.history)
    found = ranker.catalogue.rows(answers[c.ITEM_ID].to_list())
    (hour,), _ = ranker.history.hours(len(ranker.catalogue), np.array([to_microseconds(ranker.cutoff)]))
    taken = hour.counts["evergreen"][found]
    assert taken.tolist() == sorted(hour.counts["evergreen"], reverse=True)[:10]
