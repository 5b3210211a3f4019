"""Items of which no text says anything: interest cannot tell them apart, so it proposes none of them."""

import numpy as np

from ranker.candidates import CandidatesConfig, propose
from ranker.history import History
from ranker.moments import Moments
from ranker.sources import SOURCES, Sources
from tests.ranker.conftest import DAY, catalogue, hand_made_sources, live_events, log

ITEMS = catalogue("past", "read", "silent", "late", "later", "never")
LOG = log(("ann", "past", 1), ("bob", "silent", 2), ("bob", "late", 3), ("eve", "later", 4), ("eve", "read", 5))


def sources_of(*speaking: str) -> Sources:
    vectors = np.random.default_rng(0).normal(size=(len(ITEMS), 8))
    vectors[[item not in speaking for item in ITEMS.ids]] = 0
    return hand_made_sources(ITEMS, [item if item in speaking else "" for item in ITEMS.ids], vectors)


def proposed(sources: Sources, source: str, history: History, as_of: int = 9 * DAY) -> list[str]:
    """What one source proposes to ann, the best first; what she took herself is not allowed."""
    config = CandidatesConfig(**{name: 10 * (name == source) for name in SOURCES})
    situation = sources.situation(history, Moments(users=history.user_rows(["ann"]), as_of=np.array([as_of])))
    allowed = np.array([[item != "past" for item in ITEMS.ids]])
    pairs = propose(sources, situation, allowed, config)
    order = np.argsort(pairs.ranks[:, SOURCES.index(source)])
    return [ITEMS.ids[row] for row in pairs.item[order]]


def test_interest_proposes_only_what_has_a_text():
    sources, history = sources_of("past", "read", "never"), History.from_frames(ITEMS, LOG)
    assert set(proposed(sources, "interest", history)) == {"read", "never"}
    assert set(proposed(sources, "fresh", history)) == {"read", "never"}


def test_interest_proposes_nothing_when_the_past_has_no_text():
    sources, history = sources_of("read", "never"), History.from_frames(ITEMS, LOG)
    assert proposed(sources, "interest", history) == []


def test_fresh_without_texts_is_what_was_first_touched_most_lately():
    """Strictly before the moment, and nothing that nobody has touched."""
    sources, history = sources_of(), History.from_frames(ITEMS, LOG)
    assert proposed(sources, "fresh", history) == ["read", "later", "late", "silent"]
    assert proposed(sources, "fresh", history, as_of=4 * DAY) == ["late", "silent"]


def test_fresh_without_texts_counts_live_touches():
    sources, history = sources_of(), History.from_frames(ITEMS, LOG)
    live = history.and_then(live_events(ITEMS, ("eve", "never", 6 * DAY)))
    assert proposed(sources, "fresh", live)[0] == "never"


def test_what_many_have_touched_is_not_fresh():
    often = log(*[(f"u{number}", "read", 5) for number in range(9)])
    sources, history = sources_of(), History.from_frames(ITEMS, LOG.vstack(often).sort("occurred_at"))
    assert proposed(sources, "fresh", history) == ["later", "late", "silent"]
