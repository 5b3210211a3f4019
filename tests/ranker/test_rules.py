"""Whatever is asked and however the stages after the score are set, no hard rule is ever broken."""

import json
from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import columns as c
from ingest.moments import to_microseconds
from ranker.many import recommend_many
from ranker.moments import Moments
from ranker.query import PlacedBy, Query
from ranker.rank import Ranker
from ranker.rules import RulesConfig, without
from tests.ranker.conftest import catalogue, live_events, with_rules

BROAD = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

rules_of = st.builds(
    RulesConfig,
    repeats=st.booleans(),
    fresh_every=st.sampled_from([0, 2, 10]),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    caps=st.sampled_from([{}, {"brand": 2}, {"category": 1}, {"category": 4, "brand": 3}]),
    explore_share=st.sampled_from([0.0, 0.5, 1.0]),
    explore_top=st.sampled_from([1, 5, 50]),
)


def facts(item: dict) -> dict:
    return {"price": None, "brand": None} | json.loads(item[c.ATTRIBUTES])


def may_come(shelves: pl.DataFrame, query: Query, blocked: set[str]) -> set[str]:
    """The rules in plain words, read from the catalogue itself."""
    allowed = set()
    for item in shelves.iter_rows(named=True):
        price = facts(item)["price"]
        ranged = query.min_price is not None or query.max_price is not None
        if (
            item[c.AVAILABLE]
            and (item[c.PUBLISHED_AT] is None or item[c.PUBLISHED_AT] <= query.as_of)
            and item[c.ITEM_ID] not in blocked | query.exclude
            and (not query.categories or query.categories & set(item[c.CATEGORIES]))
            and not (ranged and price is None)
            and not (query.min_price is not None and float(price) < query.min_price)
            and not (query.max_price is not None and float(price) > query.max_price)
        ):
            allowed.add(item[c.ITEM_ID])
    return allowed


def blocked_before(shop: Ranker, user: str, as_of: datetime, *, repeats: bool) -> set[str]:
    """What the user did anything with, or with repeats, what the user hid."""
    moments = Moments(users=shop.history.user_rows([user]), as_of=np.array([to_microseconds(as_of)]))
    taken = shop.history.taken(moments)
    return {
        shop.catalogue.ids[row]
        for row, weight in zip(taken.item.tolist(), taken.weight.tolist(), strict=True)
        if weight < 0 or not repeats
    }


def assert_caps_hold(shelves: pl.DataFrame, shown: list[str], allowed: set[str], caps: dict[str, int], asked=()):
    """A value comes more often than its cap only where every item left out has one that came as often as its own."""
    of = {
        item[c.ITEM_ID]: [("category", name) for name in item[c.CATEGORIES] if name not in asked]
        + [("brand", facts(item)["brand"])]
        for item in shelves.iter_rows(named=True)
    }
    came = Counter(value for item in shown for value in of[item] if value[0] in caps)
    if any(times > caps[name] for (name, _), times in came.items()):
        for item in allowed - set(shown):
            assert any(came[value] >= caps[value[0]] for value in of[item] if value[0] in caps)


@BROAD
@given(data=st.data())
def test_no_answer_breaks_a_rule_whatever_is_asked(ranker, shelves, data):
    rules = data.draw(rules_of)
    shop = with_rules(ranker, rules, shelves)
    ids, names = shop.catalogue.ids, sorted(shop.catalogue.category_names)
    user = data.draw(st.sampled_from([*ranker.history.user_ids[:40], "never-seen"]))
    hidden = data.draw(st.lists(st.sampled_from(ids), max_size=10))
    price = st.none() | st.floats(0, len(ids))
    query = Query(
        user_id=user,
        as_of=shop.cutoff,
        k=data.draw(st.sampled_from([1, 10, 30, 300])),
        exclude=frozenset(data.draw(st.lists(st.sampled_from(ids), max_size=30))),
        categories=frozenset(data.draw(st.lists(st.sampled_from(names), max_size=2))),
        session=tuple(data.draw(st.lists(st.sampled_from(ids), max_size=3))),
        min_price=data.draw(price),
        max_price=data.draw(price),
        diversity=data.draw(st.none() | st.sampled_from([0.0, 0.7])),
        request_id=data.draw(st.none() | st.text(max_size=5)),
    )
    at = to_microseconds(shop.cutoff) - 1
    hides = live_events(shop.catalogue, *((user, item, at) for item in hidden), weight=-1.0)
    history = shop.history.and_then(hides)
    blocked = blocked_before(shop, user, shop.cutoff, repeats=rules.repeats)
    taken = set() if rules.repeats else set(query.session)
    allowed = may_come(shelves, query, blocked | taken | set(hidden))
    for answer in (shop.recommend(query, history), shop.popular(query, history)):
        shown = [item.item_id for item in answer.items]
        assert set(shown) <= allowed
        assert len(shown) == len(set(shown)) == min(query.k, len(allowed))
        assert sum(answer.filtered.values()) == len(ids) - len(allowed)
        assert [item.rank for item in answer.items] == list(range(1, len(shown) + 1))
        assert all(0 < item.propensity <= 1 for item in answer.items)
        assert all(item.propensity == 1 for item in answer.items[:3])
        assert_caps_hold(shelves, shown, allowed, {n: cap for n, cap in rules.caps.items() if cap}, query.categories)


def test_a_degraded_answer_tells_which_items_a_cap_held_back(ranker, shelves):
    """Without caps the list tells who comes first: of those, the first of each category has room."""
    query = Query(user_id="never-seen", as_of=ranker.cutoff, k=300)
    free, capped = (
        with_rules(ranker, RulesConfig(caps=caps), shelves).popular(query).items for caps in ({}, {"category": 1})
    )
    assert {item.placed_by for item in free} == {PlacedBy.SCORE}
    categories = dict(shelves.select(c.ITEM_ID, c.CATEGORIES).iter_rows())
    had, room = set(), set()
    for item in free:
        its_own = set(categories[item.item_id] or ())
        if not its_own & had:
            room.add(item.item_id)
            had |= its_own
    assert {item.item_id for item in capped} == {item.item_id for item in free}
    assert {item.item_id for item in capped if item.placed_by == PlacedBy.SCORE} == room
    assert {item.placed_by for item in capped} == {PlacedBy.SCORE, PlacedBy.CAP}


@BROAD
@given(rules=rules_of, k=st.sampled_from([1, 20, 300]), days=st.integers(0, 400))
def test_no_batch_breaks_a_rule(ranker, shelves, rules, k, days):
    shop = with_rules(ranker, rules, shelves)
    users = [*shop.history.user_ids[:3], "never-seen"]
    as_of = shop.cutoff - timedelta(days=days)
    asked = pl.DataFrame({c.QUERY_ID: users, c.USER_ID: users, c.AS_OF: [as_of] * len(users)})
    answers = recommend_many(shop.model, asked, k, shop.history)
    for user in users:
        shown = answers.filter(pl.col(c.QUERY_ID) == user).sort(c.RANK)[c.ITEM_ID].to_list()
        query = Query(user_id=user, as_of=as_of)
        allowed = may_come(shelves, query, blocked_before(shop, user, as_of, repeats=rules.repeats))
        assert set(shown) <= allowed
        assert len(shown) == len(set(shown)) == min(k, len(allowed))
        assert_caps_hold(shelves, shown, allowed, rules.caps)


def test_price_range_holds_its_bounds_and_counts_what_it_holds_back():
    items = catalogue("a", "b", "c", "d")
    prices = np.array([1.0, 2.0, 3.0, np.nan])
    everything = np.ones(4, bool)
    left, held_back = without(
        everything, everything, items, exclude=[], categories=[], prices=prices, min_price=2.0, max_price=2.0
    )
    assert left.tolist() == [False, True, False, False]
    assert (held_back["price"], held_back["price_unknown"]) == (2, 1)
    left, held_back = without(
        everything, everything, items, exclude=["a"], categories=[], prices=prices, min_price=None, max_price=None
    )
    assert left.tolist() == [False, True, True, True]
    assert (held_back["excluded"], held_back["price"], held_back["price_unknown"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"diversity": 1.5}, "diversity: wanted 0 to 1, got 1.5"),
        ({"explore_share": -0.1}, "explore_share: wanted 0 to 1, got -0.1"),
        ({"fresh_cost": 1.5}, "fresh_cost: wanted 0 to 1, got 1.5"),
        ({"fresh_every": -1}, "fresh_every: wanted at least 0, got -1"),
        ({"explore_top": 0}, "explore_top: wanted at least 1, got 0; explore_share = 0 switches off"),
        ({"caps": {"brand": -1}}, "caps: wanted 0 or more for brand, got -1; 0 caps nothing"),
    ],
)
def test_rules_have_bounds(setting, said):
    with pytest.raises(ValueError, match=said):
        RulesConfig(**setting)
