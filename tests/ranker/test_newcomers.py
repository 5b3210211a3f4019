"""What nobody has touched gains what the encoder has learned to add for it, until the first interaction."""

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from encoders.lexical import Words
from encoders.newcomer_bonus import NewcomerBonus
from ranker.history import History
from ranker.moments import Moments
from ranker.scores import interest_in_all, score_all
from ranker.shared_words import WordsOfItems
from ranker.situation import Situation
from ranker.sources import Sources
from tests.ranker.conftest import DAY, catalogue, hand_made_sources, live_events, log

DIM = 8
TEXTS = ["oak table", "oak chair", "oak chair"]
BONUS = NewcomerBonus(always=0.5, words=2.0)
SIMILAR = float((Words.fit(TEXTS).matrix(TEXTS)[0] @ Words.fit(TEXTS).matrix(TEXTS)[2].T).toarray()[0, 0])
"""How much of the past's words the twin has."""
ADDED = 0.5 + 2.0 * SIMILAR
ITEMS = catalogue("past", "touched", "twin")
PAST, TOUCHED, TWIN = range(3)
LOG = (("ann", "past", 1), ("bob", "touched", 2))


def sources_of(*, newcomer: bool = True) -> Sources:
    """Three items, two of them with the same text."""
    vectors = np.random.default_rng(0).normal(size=(3, DIM)).astype(np.float32)
    vectors[TWIN] = vectors[TOUCHED]
    sources = hand_made_sources(ITEMS, TEXTS, vectors, **({"newcomers": asdict(BONUS)} if newcomer else {}))
    sources.interest.encode = lambda texts: np.tile(sources.everything.vectors[TWIN], (len(texts), 1))
    return sources


def asked(history: History, *as_of: int) -> Moments:
    return Moments(users=history.user_rows(["ann"] * len(as_of)), as_of=np.array(as_of))


def interest_of(sources: Sources, situation: Situation) -> np.ndarray:
    return interest_in_all(sources, situation)


def test_untouched_twin_gains_exactly_what_training_found():
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    situation = sources.situation(history, asked(history, 3 * DAY))
    interest = interest_of(sources, situation)[0]
    assert interest[TWIN] - interest[TOUCHED] == pytest.approx(ADDED, abs=1e-5)
    assert interest[TOUCHED] == pytest.approx(float(situation.interest[0] @ sources.everything.vectors[TOUCHED]))


def test_untouched_item_without_words_of_the_past_gains_less():
    sources, history = sources_of(), History.from_frames(ITEMS, log(("ann", "past", 1), ("bob", "touched", 2)))
    given = sources.given(np.full(2, -1, np.int32), ["oak chair", "pine chair"], [(), ()])
    interest = sources.situation(history, asked(history, 3 * DAY)).interest_in(0, given, np.arange(2))
    assert 0 < SIMILAR < 1
    assert interest[0] - interest[1] == pytest.approx(2.0 * SIMILAR, abs=1e-5)  # the vectors are the same here


def test_the_same_item_has_the_same_interest_alone_and_among_all():
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    situation = sources.situation(history, asked(history, 3 * DAY, 4 * DAY))
    for query in range(2):
        alone = [situation.interest_in(query, sources.everything, np.array([row]))[0] for row in range(3)]
        among = situation.interest_in(query, sources.everything, np.arange(3))
        assert alone == among.tolist()
        np.testing.assert_allclose(among, interest_of(sources, situation)[query], atol=1e-5)


def test_words_are_not_compared_where_nothing_is_added_for_them(monkeypatch):
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    sources.interest.newcomers = NewcomerBonus(always=0.5)
    monkeypatch.setattr(Sources, "words_of", None)
    interest = interest_of(sources, sources.situation(history, asked(history, 3 * DAY)))[0]
    assert interest[TWIN] - interest[TOUCHED] == pytest.approx(0.5, abs=1e-6)


def test_words_of_new_items_are_those_asked_for():
    """Kept from one question to the next, but not for other items."""
    sources = sources_of()
    for rows in ([TWIN], [TWIN], [PAST, TWIN], [TOUCHED], []):
        found = sources.words_of(np.array(rows, np.int64)).similarity(sources.everything.words[[PAST]])
        wanted = sources.everything.words[[PAST]] @ sources.everything.words[rows].T
        np.testing.assert_allclose(found, wanted.toarray(), atol=1e-6)


def test_common_and_rare_words_count_alike():
    """One word in all of thirty items, the others in one each."""
    words = sparse.hstack([np.full((30, 1), 0.5), sparse.eye(30) * 0.25]).tocsr().astype(np.float32)
    profiles = sparse.csr_matrix(np.random.default_rng(0).random((2, 31)), dtype=np.float32)
    found = WordsOfItems(words).similarity(profiles)
    np.testing.assert_allclose(found, (profiles @ words.T).toarray(), rtol=1e-6)


def test_fresh_speaks_of_the_same_interest():
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    scores = score_all(sources, sources.situation(history, asked(history, 3 * DAY)))
    np.testing.assert_array_equal(scores.of("fresh", 0), scores.interest[0])


def test_a_look_at_one_query_is_off_by_no_more_than_it_says():
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    situation = sources.situation(history, asked(history, 3 * DAY))
    scores = score_all(sources, situation)
    assert np.abs(scores.interest - interest_of(sources, situation)).max() <= scores.interest_error[0] < 0.5


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_one_interaction_ends_it_from_the_next_instant_on(weight):
    """Also when it was a refusal: somebody has met the item."""
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    late = history.and_then(live_events(ITEMS, ("eve", "twin", 3 * DAY), weight=weight))
    for events, gains in ((history, [True, True]), (late, [True, False])):
        situation = sources.situation(events, asked(events, 3 * DAY, 3 * DAY + 1))
        interest = interest_of(sources, situation)
        added = np.where(gains, ADDED, 0)
        np.testing.assert_allclose(interest[:, TWIN] - interest[:, TOUCHED], added, atol=1e-5)


def test_item_stays_new_until_the_next_training_has_met_it():
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    sources.interest.config["trained_before"] = 2 * DAY  # bob touched the item at that very moment
    situation = sources.situation(history, asked(history, 9 * DAY))
    interest = interest_of(sources, situation)[0]
    assert interest[TWIN] == pytest.approx(interest[TOUCHED])
    assert interest[TOUCHED] - float(situation.interest[0] @ sources.everything.vectors[TOUCHED]) == pytest.approx(
        ADDED
    )


def test_touch_in_the_session_counts_on_top_of_live_events():
    history = History.from_frames(ITEMS, log(*LOG)).and_then(live_events(ITEMS, ("eve", "past", 0)))
    session = history.and_then(live_events(ITEMS, ("ann", "twin", 4 * DAY)))
    never = np.iinfo(np.int64).max
    assert history.first_events(3).tolist() == [0, 2 * DAY, never]
    assert session.first_events(3).tolist() == [0, 2 * DAY, 4 * DAY]


def test_item_outside_the_catalogue_is_untouched():
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    given = sources.given(np.array([-1, TOUCHED, TWIN], np.int32), ["oak chair"] * 3, [()] * 3)
    situation = sources.situation(history, asked(history, 3 * DAY))
    interest = situation.interest_in(0, given, np.arange(3))
    assert interest[0] == pytest.approx(interest[2], abs=1e-5)
    assert interest[0] != pytest.approx(interest[1], abs=1e-3)


def test_impressions_are_no_touch():
    shown = log(("ann", "twin", 2)).with_columns(clicked_at=pl.lit(None, pl.Datetime("us")))
    history = History.from_frames(ITEMS, log(*LOG), shown)
    assert history.first_events(3)[TWIN] == np.iinfo(np.int64).max


def test_encoder_without_it_changes_nothing():
    sources, history = sources_of(newcomer=False), History.from_frames(ITEMS, log(*LOG))
    situation = sources.situation(history, asked(history, 3 * DAY))
    interest = interest_of(sources, situation)
    np.testing.assert_array_equal(interest, situation.interest @ sources.everything.vectors.T)
    assert not sources.interest.newcomers


def test_user_without_events_gains_nothing():
    sources, history = sources_of(), History.from_frames(ITEMS, log(*LOG))
    moments = Moments(users=history.user_rows(["nobody"]), as_of=np.array([3 * DAY]))
    assert (interest_of(sources, sources.situation(history, moments)) == 0).all()
