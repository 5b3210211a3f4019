from collections import Counter

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ranker.arrange import Arranged, Arranger, Wish
from ranker.candidates import Candidates
from ranker.catalogue import Catalogue
from ranker.many import recommend_many
from ranker.query import Query
from ranker.rules import RulesConfig
from ranker.slots import order_pairs
from ranker.sources import SOURCES
from tests.ranker.conftest import with_rules

N_ITEMS = 12
BRANDS = "ppppqqrrsstt"
"""Brand of each item; the item's number is its row."""
SHELF = Catalogue.from_store(
    pl.DataFrame(
        {
            c.ITEM_ID: [f"i{n:02}" for n in range(N_ITEMS)],
            c.ATTRIBUTES: [f'{{"brand": "{brand}"}}' for brand in BRANDS],
            c.PUBLISHED_AT: pl.Series(range(N_ITEMS)).cast(pl.Datetime("us")),
        }
    ),
    pl.DataFrame(),
)
EVERYTHING = np.ones((1, N_ITEMS), bool)


def candidates(*items: int, fresh=()) -> Candidates:
    """Candidates of one query, the best first."""
    ranks = np.full((len(items), len(SOURCES)), np.nan, np.float32)
    ranks[np.isin(items, fresh), SOURCES.index("fresh")] = 1
    return Candidates(query=np.zeros(len(items), np.int32), item=np.array(items, np.int32), ranks=ranks)


def arranger(vectors=None, **rules) -> Arranger:
    held = np.eye(N_ITEMS, dtype=np.float32) if vectors is None else np.asarray(vectors, np.float32)
    return Arranger(SHELF, held, RulesConfig(**{"fresh_every": 0, **rules}))


def by_place(pairs: Candidates) -> np.ndarray:
    return -np.arange(len(pairs), dtype=np.float64)


def arranged(pairs: Candidates, k: int, allowed=EVERYTHING, vectors=None, request_id=None, **rules) -> Arranged:
    return arranger(vectors, **rules).arrange(pairs, by_place(pairs), allowed, Wish(k=k, request_id=request_id))


def test_without_any_stage_the_places_follow_score_and_new_items():
    pairs, score = candidates(*range(N_ITEMS), fresh=[8, 9]), -np.arange(N_ITEMS, dtype=np.float64)
    found = arranged(pairs, 6, fresh_every=3)
    expected, rank = order_pairs(pairs, score, 6, 3)
    assert found.pair.tolist() == expected.tolist() == [0, 1, 8, 2, 3, 9]
    assert found.rank.tolist() == rank.tolist()
    assert found.score.tolist() == score[expected].tolist()
    assert found.propensity.tolist() == [1.0] * 6
    assert found.by.tolist() == ["score", "score", "new", "score", "score", "new"]


def test_new_items_get_their_places_where_they_fit_the_caps():
    pairs = candidates(*range(N_ITEMS), fresh=[2, 3, 8])
    # Two of p come by their score, so that of the new ones only that of s fits.
    assert arranged(pairs, 4, fresh_every=4, caps={"brand": 2}).item.tolist() == [0, 1, 4, 8]


def test_new_items_that_fit_one_by_one_may_not_fit_together():
    pairs = candidates(4, 6, 8, 10, 0, 1, fresh=[0, 1])
    assert arranged(pairs, 4, fresh_every=2).item.tolist() == [4, 0, 6, 1]
    assert arranged(pairs, 4, fresh_every=2, caps={"brand": 1}).item.tolist() == [4, 0, 6, 8]


def test_diversity_passes_over_what_exceeds_a_cap():
    vectors = np.tile([1.0, 0.0], (N_ITEMS, 1))
    vectors[[3, 5]] = [0, 1]
    pairs = candidates(*range(N_ITEMS))
    assert arranged(pairs, 3, vectors=vectors, diversity=0.9).item.tolist() == [0, 3, 1]
    assert arranged(pairs, 3, vectors=vectors, diversity=0.9, caps={"brand": 1}).item.tolist() == [0, 5, 6]


def test_difference_is_told_where_it_passed_over_a_higher_score():
    vectors = np.tile([1.0, 0.0], (N_ITEMS, 1))
    vectors[[3, 5]] = [0, 1]
    found = arranged(candidates(*range(N_ITEMS)), 4, vectors=vectors, diversity=0.9)
    assert (found.item.tolist(), found.by.tolist()) == ([0, 3, 1, 2], ["score", "diversity", "score", "score"])
    # What a cap leaves out is passed over by nobody's choice: 1 is of the same brand as 0.
    capped = arranged(candidates(0, 1, 4, 6), 3, diversity=0.1, caps={"brand": 1})
    assert (capped.item.tolist(), capped.by.tolist()) == ([0, 4, 6], ["score"] * 3)


def test_a_new_item_is_told_also_where_it_moves_up_because_another_place_is_kept():
    found = arranged(candidates(0, 1, 9, 2, 8, fresh=[8, 9]), 4, fresh_every=3)
    assert found.item.tolist() == [0, 1, 9, 2]
    assert set(found.by) == {"score"}, "it stands there by its score"
    kept = np.full(5, 2)
    pairs = candidates(0, 1, 9, 2, 8, fresh=[8, 9])
    found = arranger(fresh_every=3).arrange(pairs, by_place(pairs), EVERYTHING, Wish(k=4), kept)
    assert (found.item.tolist(), found.by.tolist()) == ([0, 9, 8, 1], ["score", "new", "new", "score"])


def test_filling_comes_before_caps_give_way():
    pairs = candidates(0, 1, 2, 4)
    found = arranged(pairs, 7, caps={"brand": 1})
    # 0 and 4 fit; then the newest that fit, 11 (t), 9 (s), 7 (r); then two of each: 1, and the newest again.
    assert found.item.tolist() == [0, 4, 11, 9, 7, 1, 10]
    assert found.pair.tolist() == [0, 3, -1, -1, -1, 1, -1]
    # Candidates keep their score, the others come below all of them.
    assert found.score.tolist() == [0.0, -3.0, -3 - 1, -3 - 2, -3 - 3, -1.0, -3 - 4]
    assert found.by.tolist() == ["score", "score", "newest", "newest", "newest", "cap", "newest"]


def test_filling_keeps_to_what_is_allowed():
    allowed = np.zeros((1, N_ITEMS), bool)
    allowed[0, [0, 3, 7]] = True
    assert arranged(candidates(0), 5, allowed=allowed).item.tolist() == [0, 7, 3]
    assert arranged(candidates(), 5, allowed=allowed).item.tolist() == [7, 3, 0]


def test_each_query_is_arranged_by_itself():
    pairs = Candidates(
        query=np.array([0, 0, 2], np.int32),
        item=np.array([5, 1, 5], np.int32),
        ranks=np.full((3, len(SOURCES)), np.nan, np.float32),
    )
    allowed = np.zeros((3, N_ITEMS), bool)
    allowed[0, [1, 5]] = allowed[2, 5] = True
    stages = arranger()
    found = stages.arrange(pairs, np.array([1.0, 2.0, 3.0]), allowed, Wish(k=2))
    assert found.query.tolist() == [0, 0, 2]
    assert found.item.tolist() == [1, 5, 5]
    assert found.rank.tolist() == [1, 2, 1]
    assert found.pair.tolist() == [1, 0, 2]
    assert len(stages.arrange(pairs.take(np.arange(0)), np.empty(0), allowed[:0], Wish(k=2)).item) == 0


def test_first_places_and_those_of_new_items_are_not_given_away():
    pairs = candidates(*range(N_ITEMS), fresh=[8])
    found = arranged(pairs, 6, fresh_every=5, explore_share=1.0, request_id="r")
    assert found.item[:3].tolist() == [0, 1, 2]
    assert found.item[4] == 8
    assert found.by.tolist() == ["score"] * 3 + ["explore", "new", "explore"]
    # Drawn from the other six candidates below the answer.
    assert found.propensity.tolist() == [1, 1, 1, 1 / 6, 1, 1 / 6]


def test_only_an_answer_that_is_logged_explores():
    assert set(arranged(candidates(*range(N_ITEMS)), 6, explore_share=1.0).by) == {"score"}


def test_candidates_drawn_keep_the_caps():
    for number in range(100):
        found = arranged(candidates(*range(N_ITEMS)), 5, explore_share=0.7, caps={"brand": 1}, request_id=str(number))
        # One of each of five brands is all there is within the caps: nothing is left to be drawn.
        assert [BRANDS[item] for item in found.item] == list("pqrst")
        found = arranged(candidates(*range(N_ITEMS)), 6, explore_share=0.7, caps={"brand": 2}, request_id=str(number))
        assert max(Counter(BRANDS[item] for item in found.item).values()) <= 2


def test_logged_propensities_are_how_often_items_are_shown():
    n, k = 4_000, 6
    shown: Counter[tuple[int, int]] = Counter()
    told: dict[tuple[int, int], float] = {}
    stages = arranger(explore_share=0.4, explore_top=3, fresh_every=6, caps={"brand": 2})
    pairs = candidates(*range(N_ITEMS), fresh=[11])
    for number in range(n):
        found = stages.arrange(pairs, by_place(pairs), EVERYTHING, Wish(k=k, request_id=str(number)))
        for place, item, propensity in zip(found.rank, found.item, found.propensity, strict=True):
            shown[int(place), int(item)] += 1
            assert told.setdefault((int(place), int(item)), float(propensity)) == propensity
    for place in range(1, k + 1):
        assert sum(p for (at, _), p in told.items() if at == place) == pytest.approx(1)
    for what, propensity in told.items():
        error = np.sqrt(propensity * (1 - propensity) / n)
        assert shown[what] / n == pytest.approx(propensity, abs=5 * error + 1e-12)


def test_a_request_is_answered_the_same_every_time_and_another_explores_elsewhere(ranker):
    shop = with_rules(ranker, RulesConfig(explore_share=0.5))
    user = ranker.history.user_ids[0]
    plain, one, again, other = (
        shop.recommend(Query(user_id=user, as_of=shop.cutoff, request_id=name)).items for name in (None, "a", "a", "b")
    )
    shown = [[(item.item_id, item.propensity) for item in items] for items in (one, again, other)]
    assert shown[0] == shown[1] != shown[2]
    assert all(item.propensity == 1 for item in plain)
    drawn = [item for item in one if "explore" in item.sources]
    assert drawn
    assert {item.item_id for item in drawn}.isdisjoint(item.item_id for item in plain)
    assert all(item.propensity == 0.5 / 50 for item in drawn)


@pytest.mark.parametrize("rules", [{}, {"diversity": 0.5, "caps": {"brand": 3, "category": 4}}])
def test_batches_answer_as_single_queries_do(ranker, shelves, rules):
    shop = with_rules(ranker, RulesConfig(**rules), shelves)
    users = [*shop.history.user_ids[:5], "never-seen"]
    queries = pl.DataFrame({c.QUERY_ID: users, c.USER_ID: users})
    answers = recommend_many(shop.model, queries, 150, shop.history)
    for user in users:
        single = shop.recommend(Query(user_id=user, as_of=shop.cutoff, k=150)).items
        assert len(single) > 130
        batch = answers.filter(pl.col(c.QUERY_ID) == user).sort(c.RANK)
        assert batch[c.ITEM_ID].to_list() == [item.item_id for item in single]
        assert batch[c.SCORE].to_list() == pytest.approx([item.score for item in single])


def test_a_query_may_ask_for_its_own_diversity(ranker):
    shop = with_rules(ranker, RulesConfig(diversity=0.8, fresh_every=0))
    user = ranker.history.user_ids[0]

    def answer(diversity: float | None) -> list[str]:
        return [i.item_id for i in shop.recommend(Query(user_id=user, as_of=shop.cutoff, diversity=diversity)).items]

    by_score = with_rules(ranker, RulesConfig(fresh_every=0)).recommend(Query(user_id=user, as_of=shop.cutoff)).items
    assert answer(0.0) == [item.item_id for item in by_score]
    assert answer(None) == answer(0.8) != answer(0.0)
