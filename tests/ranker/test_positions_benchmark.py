import numpy as np
import polars as pl
import pytest

from benchmarks.positions import STEPS, judged, liking
from ingest import columns as c
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from offline_eval.simulate import SimulationConfig, simulate
from ranker.rank import Ranker


@pytest.fixture
def shown(shop: Workspace) -> pl.DataFrame:
    with Store.open(shop.store_path, read_only=True) as store:
        return store.impressions(before=END_OF_TIME).sort(c.REQUEST_ID)[:2_000]


def test_liking_is_that_of_the_day(shop: Workspace, shown: pl.DataFrame, tmp_path) -> None:
    log = simulate(SimulationConfig(n_events=6_000, n_users=300, n_items=200), tmp_path)
    likings = liking(log, shown)
    assert 0 <= likings.min() < likings.max() <= STEPS
    of = shown[17]
    day = of[c.OCCURRED_AT].dt.truncate("1d")[0]
    known = log.true_preference(of[c.USER_ID].to_list(), of[c.ITEM_ID].to_list(), day)
    assert likings[17] == round(STEPS * float(known[0]))


def test_the_same_model_twice_differs_by_nothing_and_the_order_shown_is_judged_beside(
    shop: Workspace, ranker: Ranker, shown: pl.DataFrame
) -> None:
    by_place = -shown[c.POSITION].to_numpy()  # whoever likes most what stands first finds the order shown perfect
    table = judged(shown, by_place - by_place.min(), ranker.history, with_places=ranker, without=ranker)
    found = {(ours, theirs): value for ours, theirs, value, *_ in table.rows()}
    assert found["as shown", "nothing"] == 1
    assert 0 < found["with places", "nothing"] == found["without", "nothing"] < 1
    assert found["with places", "without"] == 0
    assert set(table["n"]) == {np.unique(shown[c.REQUEST_ID].to_numpy()).size}
