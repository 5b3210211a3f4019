"""What was done reaches the user tower alike from the log and from live events, whatever the vocabularies."""

import numpy as np
import polars as pl
import pytest
import torch

from encoders.interest import InterestModel
from encoders.tower import UserTower, tower_arrays
from ingest import columns as c
from ingest.moments import to_microseconds
from ranker.history import History
from ranker.moments import Moments
from ranker.query import Query
from ranker.sources import Sources
from tests.ranker.conftest import DAY, catalogue, hand_made_sources, live_events, log

ITEMS = catalogue("a", "b", "z")
KINDS = ["follow", "view", "save"]


@pytest.fixture(scope="module")
def sources() -> Sources:
    """Hand-made, with a tower that knows kinds, every number of it drawn."""
    made = hand_made_sources(ITEMS, ["oak", "elm", "yew"], np.eye(3, 6))
    torch.manual_seed(1)
    tower = UserTower(6, width=4, heads=2, kinds=len(KINDS))
    for value in tower.parameters():
        torch.nn.init.normal_(value, std=0.5)
    arrays = {name: value.numpy() for name, value in tower_arrays(tower).items()}
    made.interest = InterestModel(None, made.interest.config | {"kinds": KINDS}, arrays)
    return made


def told(*kinds: str) -> pl.DataFrame:
    """What ann did with a, b and z, one a day, all of the same weight."""
    rows = log(*(("ann", "abz"[day], day) for day in range(len(kinds))))
    return rows.with_columns(pl.Series(c.KIND, kinds, pl.String))


def interest(sources: Sources, history: History) -> np.ndarray:
    asked = Moments(users=history.user_rows(["ann"]), as_of=np.array([9 * DAY]))
    return sources.situation(history, asked).interest[0]


def test_live_events_say_what_the_log_would_say(sources):
    whole = History.from_frames(ITEMS, told("view", "save", "follow"))
    early = History.from_frames(ITEMS, told("view"))
    late = early.and_then(live_events(ITEMS, ("ann", "b", DAY), kinds=["save"]))
    late = late.and_then(live_events(ITEMS, ("ann", "z", 2 * DAY), kinds=["follow"]))
    assert whole.kinds != late.kinds
    np.testing.assert_array_equal(interest(sources, late), interest(sources, whole))


def test_kinds_of_the_same_weight_make_other_users_and_unknown_ones_say_nothing(sources):
    def user(*kinds):
        return interest(sources, History.from_frames(ITEMS, told(*kinds)))

    weight_alone = interest(sources, History.from_frames(ITEMS, told("view", "view").drop(c.KIND)))
    assert np.abs(user("view", "save") - user("view", "follow")).max() > 0.01
    assert np.abs(user("view", "view") - weight_alone).max() > 0.01
    np.testing.assert_array_equal(user("wave", "skim"), weight_alone)


def test_later_kinds_change_nothing_of_a_past(sources):
    """A log in which another kind becomes the most frequent numbers all of them anew."""
    past = told("view", "save")
    later = log(*(("eve", "a", day) for day in range(20, 40))).with_columns(pl.lit("follow").alias(c.KIND))
    before, after = (History.from_frames(ITEMS, rows) for rows in (past, pl.concat([past, later])))
    assert before.kinds.names[0] != after.kinds.names[0]
    np.testing.assert_array_equal(interest(sources, after), interest(sources, before))


def test_a_trained_bundle_tells_kinds_that_weights_do_not(ranker):
    """Of the simulated shop likes, comments and shares weigh between four and eight, which is one bucket."""
    assert set(ranker.model.sources.interest.kinds.names) == {"like", "comment", "share"}
    assert {"view", "click", "like", "comment", "share", "purchase"} <= set(ranker.history.kinds.names)


def test_what_a_session_saw_is_viewed(ranker):
    query = Query(user_id="eve", as_of=ranker.cutoff, session=tuple(ranker.catalogue.ids[:2]))
    history = ranker._with_session(query, ranker.history)
    moments = Moments(users=history.user_rows(["eve"]), as_of=np.array([to_microseconds(query.as_of)]))
    recent = history.recent(moments, 4)
    assert [history.kinds.names[code - 1] for code in recent.kinds[recent.mask]] == ["view", "view"]
