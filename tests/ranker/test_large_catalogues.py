"""What spares a look over the whole catalogue finds what such a look finds."""

import numpy as np
import pytest

from ingest.moments import NEVER, to_microseconds
from ranker import neighbours
from ranker.best import nth_greatest
from ranker.candidates import AT_LEAST_AT_ONCE, AT_MOST_AT_ONCE, MOST_EVENTS_AT_ONCE, blocks
from ranker.examples import all_later
from ranker.history import History
from ranker.moments import Moments
from ranker.neighbours import NeighboursConfig, fit_following, fit_together
from ranker.query import Query
from ranker.rules import RulesConfig, allowed_items, on_offer
from ranker.scores import score_all
from ranker.source_recall import AT, _within
from ranker.sources import SOURCES
from tests.ranker.conftest import DAY, catalogue, live_events, log


def asked_of(ranker, n_users=30, hours=(0, 7, 400)):
    """Some users, each at several moments of other hours."""
    users = ranker.history.user_rows(ranker.history.user_ids[:n_users])
    as_of = to_microseconds(ranker.cutoff) - np.array(hours) * 3_600_000_000
    return Moments(users=np.repeat(users, len(as_of)), as_of=np.tile(as_of, len(users)))


def test_categories_weigh_what_is_in_vogue_as_they_would_weigh_all(ranker):
    sources = ranker.model.sources
    situation = sources.situation(ranker.history, asked_of(ranker))
    hours, hour = situation.hours
    assert len(hours) == 3
    items = sources.everything
    share = (items.categories @ situation.taste.toarray().T).T / items.roots_of_categories
    wanted = share * np.stack([each.log_in_vogue for each in hours])[hour]
    assert (wanted > 0).any()
    np.testing.assert_array_equal(score_all(sources, situation).category.toarray(), wanted)


@pytest.mark.parametrize("at_once", [1, 50, 10**9])
def test_neighbours_are_the_same_in_runs_of_any_length(at_once, monkeypatch, rng):
    users = np.sort(rng.integers(0, 40, 600))
    items, times = (30 * rng.random(600) ** 2).astype(np.int32), np.arange(600)
    fits = (fit_together, fit_following)
    whole = [fit(users, items, times, 30, NeighboursConfig(size=4)) for fit in fits]
    monkeypatch.setattr(neighbours, "_AT_ONCE", at_once)
    for fit, wanted in zip(fits, whole, strict=True):
        found = fit(users, items, times, 30, NeighboursConfig(size=4))
        assert np.diff(found.indptr).max() == 4
        np.testing.assert_array_equal(found.toarray(), wanted.toarray())


@pytest.mark.parametrize("n_values", [7, 100_000])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_nth_greatest_counts_equals_one_by_one(n_values, n, rng):
    values = np.round(rng.standard_normal(n_values), 1)
    assert nth_greatest(values, n) == np.sort(values)[-n]


def test_within_500_is_told_as_by_counting(ranker):
    """The shop has 200 items, so that the limit is lowered; an item stands behind all that score alike."""
    assert len(ranker.catalogue) < AT
    sources, history = ranker.model.sources, ranker.history
    moment = to_microseconds(ranker.cutoff) - 10 * DAY
    truth = all_later(history, moment, to_microseconds(ranker.cutoff))
    situation = sources.situation(history, truth.moments)
    scores = score_all(sources, situation)
    allowed = allowed_items(history, situation.moments, sources.catalogue, RulesConfig())
    for at in (3, 20, AT):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ranker.source_recall.AT", at)
            for name in SOURCES:
                found = _within(scores, allowed, truth.query, truth.item, name)
                least = -np.inf if name in {"interest", "fresh"} else 0
                for place, (query, item) in enumerate(zip(truth.query, truth.item, strict=True)):
                    score = scores.of(name, query)
                    rivals = np.count_nonzero(score[allowed[query]] >= score[item])
                    assert found[place] == (allowed[query, item] and score[item] > least and rivals <= at)


@pytest.mark.parametrize("k", [5, 10_000])
def test_popular_answers_are_those_of_sorting_everything(ranker, k):
    user = ranker.history.user_ids[0]
    query = Query(user_id=user, as_of=ranker.cutoff, k=k)
    as_of = np.array([to_microseconds(ranker.cutoff)])
    rows = np.arange(len(ranker.catalogue))
    ever = ranker.history.item_counts(rows, before=as_of)
    recently = ranker.history.item_counts(rows, before=as_of, since=ranker.history.since_share(0.05, as_of))
    order = np.lexsort((rows, -ever, -recently))
    moments = Moments(users=ranker.history.user_rows([user]), as_of=as_of)
    allowed = allowed_items(ranker.history, moments, ranker.catalogue)[0]
    wanted = order[allowed[order]][:k]
    answer = ranker.popular(query).items
    assert [item.item_id for item in answer] == [ranker.catalogue.ids[row] for row in wanted]
    assert [item.score for item in answer] == recently[wanted].tolist()


def test_nothing_is_on_offer_before_its_publication(ranker):
    """One microsecond before the latest publication one item fewer could be had than at its very moment."""
    last = ranker.catalogue.last_published
    users = np.zeros(2, np.int32)
    before, at = on_offer(ranker.catalogue, Moments(users=users, as_of=np.array([last - 1, last])))
    (alone,) = on_offer(ranker.catalogue, Moments(users=users[:1], as_of=np.array([last])))
    published = int((ranker.catalogue.published_at == last).sum())
    assert at.sum() - before.sum() == published >= 1
    assert alone.tolist() == at.tolist()


def test_what_is_on_offer_is_the_askers_own_to_change(ranker):
    moments = Moments(users=np.zeros(1, np.int32), as_of=np.array([ranker.catalogue.last_published]))
    on_offer(ranker.catalogue, moments)[:] = False
    assert on_offer(ranker.catalogue, moments).all()


def test_untouched_items_are_those_of_the_history_asked(ranker):
    sources, history = ranker.model.sources, ranker.history
    n_items, since = len(ranker.catalogue), to_microseconds(ranker.cutoff)
    first = history.first_events(n_items)
    rows = sources.never_met(first, since)
    assert rows.tolist() == np.flatnonzero(first >= since).tolist()
    earlier = sources.never_met(first, since - 20 * DAY)
    assert len(earlier) > len(rows)
    assert sources.never_met(first.copy(), since).tolist() == rows.tolist()


def test_counts_of_all_are_those_of_each_also_with_live_events():
    items = catalogue("a", "b", "c")
    told = log(("ann", "a", 1), ("bob", "b", 2), ("bob", "a", 3))
    history = History.from_frames(items, told).and_then(
        live_events(items, ("eve", "c", 2 * DAY), ("eve", "a", 4 * DAY))
    )
    rows = np.arange(3)
    for since, before in ((0, 4 * DAY), (2 * DAY, 3 * DAY), (2 * DAY, NEVER), (-NEVER, 1)):
        wanted = history.item_counts(rows, before=np.array([before]), since=np.array([since]))
        assert history.counts_of_all(3, since=since, before=before).tolist() == wanted.tolist()


def test_large_catalogues_are_read_for_several_queries_at_once():
    assert sizes(blocks(40, 10**7)) == [AT_LEAST_AT_ONCE, AT_LEAST_AT_ONCE, 8]
    assert sizes(blocks(100, 100_000)) == [40, 40, 20]


def test_blocks_of_a_small_catalogue_bound_what_queries_themselves_take():
    assert sizes(blocks(AT_MOST_AT_ONCE + 1, 20)) == [AT_MOST_AT_ONCE, 1]


def test_blocks_of_long_pasts_are_short():
    half = MOST_EVENTS_AT_ONCE // 2
    pasts = np.array([half, half, 1, 3 * half, half, half - 1])
    assert sizes(blocks(6, 20, pasts=pasts)) == [2, 1, 1, 2]


def sizes(found):
    return [block.stop - block.start for block in found]
