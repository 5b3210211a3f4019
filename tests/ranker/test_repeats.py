"""Where the rules allow repeats, what was taken before is proposed, asked for and learned from; elsewhere never."""

import numpy as np
import pytest

from ranker.candidates import CandidatesConfig, propose
from ranker.examples import ExamplesConfig, all_later, make_examples, next_items
from ranker.history import History
from ranker.moments import Moments
from ranker.query import Query
from ranker.rules import RulesConfig, allowed_items
from ranker.source_recall import recall_of_sources
from ranker.sources import SOURCES, Sources
from tests.ranker.conftest import DAY, catalogue, hand_made_sources, log, with_rules

REPEATS = RulesConfig(repeats=True)
ITEMS = catalogue("milk", "bread", "soap", "salt")
ANN = [("ann", item, day) for day, item in enumerate(["milk", "bread", "milk", "milk", "soap"], 1)]
LOG = log(*ANN[:3], ("bob", "salt", 3), *ANN[3:])


@pytest.fixture
def history() -> History:
    return History.from_frames(ITEMS, LOG)


@pytest.fixture
def sources() -> Sources:
    return hand_made_sources(ITEMS, ITEMS.ids, np.random.default_rng(0).normal(size=(len(ITEMS), 8)))


def asked(truth) -> list[tuple[int, str]]:
    days = truth.moments.as_of[truth.query] // DAY
    return sorted((int(day), ITEMS.ids[item]) for day, item in zip(days, truth.item, strict=True))


def test_what_is_taken_again_is_asked_for_where_repeats_are_allowed(history):
    anew = [(3, "salt"), (5, "soap")]
    assert asked(next_items(history, 3 * DAY, 9 * DAY)) == anew
    assert asked(next_items(history, 3 * DAY, 9 * DAY, repeats=True)) == sorted([*anew, (3, "milk"), (4, "milk")])


def test_an_item_taken_twice_in_a_window_is_one_answer_of_the_greater_weight():
    again = log(("ann", "milk", 4), weight=7.0)
    truth = all_later(History.from_frames(ITEMS, LOG.vstack(again)), 3 * DAY, 9 * DAY, repeats=True)
    assert asked(truth) == [(3, "milk"), (3, "salt"), (3, "soap")]
    assert truth.weight[truth.item == ITEMS.ids.index("milk")].tolist() == [7.0]


def proposed(sources: Sources, history: History, rules: RulesConfig, as_of: int) -> list[str]:
    """What the source proposes to ann, the best first."""
    config = CandidatesConfig(**{name: 10 * (name == "repeats") for name in SOURCES})
    moments = Moments(users=history.user_rows(["ann"]), as_of=np.array([as_of]))
    situation = sources.situation(history, moments)
    pairs = propose(sources, situation, allowed_items(history, moments, sources.catalogue, rules), config)
    return [ITEMS.ids[row] for row in pairs.item[np.argsort(pairs.ranks[:, SOURCES.index("repeats")])]]


def test_own_items_are_proposed_by_how_often_and_how_lately_they_were_taken(sources, history):
    assert proposed(sources, history, REPEATS, 5 * DAY) == ["milk", "bread"]
    assert proposed(sources, history, REPEATS, 3 * DAY) == ["bread", "milk"]
    assert proposed(sources, history, REPEATS, 9 * DAY) == ["milk", "soap", "bread"]
    assert proposed(sources, history, RulesConfig(), 9 * DAY) == []


def test_what_was_taken_long_ago_is_proposed_too(sources):
    """Sixty times soap since she took bread: the source knows all of a past, not its latest fifty."""
    much = log(("ann", "bread", 1), *(("ann", "soap", 2 + day) for day in range(60)))
    assert proposed(sources, History.from_frames(ITEMS, much), REPEATS, 99 * DAY) == ["soap", "bread"]


def test_a_hidden_item_is_not_proposed_again(sources):
    hidden = History.from_frames(ITEMS, LOG.vstack(log(("ann", "milk", 6), weight=-1.0)))
    assert proposed(sources, hidden, REPEATS, 9 * DAY) == ["soap", "bread"]


def test_examples_hold_what_was_taken_again(sources, history, rng):
    truth = next_items(history, 4 * DAY, 9 * DAY, repeats=True)
    some = make_examples(sources, history, truth, CandidatesConfig(), ExamplesConfig(), rng, REPEATS)
    none = make_examples(sources, history, truth, CandidatesConfig(), ExamplesConfig(), rng)
    assert (some.labels.sum(), none.labels.sum()) == (1, 0), "milk; nobody had touched soap"


def test_recall_tells_of_repeats_where_they_are_allowed(sources, history):
    truth = next_items(history, 4 * DAY, 9 * DAY, repeats=True)
    recall = {
        rules.repeats: recall_of_sources(sources, history, truth, CandidatesConfig(), rules).as_json()
        for rules in (REPEATS, RulesConfig())
    }
    assert recall[True]["recall@500"]["repeats"] == 0.5
    assert "repeats" not in recall[False]["recall@500"]
    assert "repeats" not in recall[False]["adds_nothing"]


def test_a_service_that_allows_repeats_answers_with_own_items_too(ranker):
    user = ranker.history.user_ids[0]
    query = Query(user_id=user, k=20, as_of=ranker.cutoff)
    own = set(ranker.last_items(user, 50))
    again = {item.item_id: item.sources for item in with_rules(ranker, REPEATS).recommend(query).items}
    assert own & set(again)
    assert all("repeats" in again[item] for item in own & set(again))
    assert not own & {item.item_id for item in ranker.recommend(query).items}
