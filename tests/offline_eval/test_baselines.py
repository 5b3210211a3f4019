from datetime import datetime, timedelta

import polars as pl
import pytest

from encoders.text import item_texts
from ingest import columns as c
from offline_eval import metrics
from offline_eval.baselines import Baseline, choose_share, make_baselines
from offline_eval.systems import BaselinesConfig
from offline_eval.windows import choose_cutoff, cutoff_window, replay_window
from ranker.catalogue import Catalogue
from ranker.rules import RulesConfig

CUTOFF = datetime(2024, 3, 1)
HOUR = timedelta(hours=1)
NAMES = ("popular", "item-item", "text-only", "behaviour-only")


def baselines_of(items: pl.DataFrame, log: pl.DataFrame, cutoff: datetime) -> dict[str, Baseline]:
    catalogue = Catalogue.from_store(items, log)
    return make_baselines(catalogue, item_texts(catalogue.items), log, cutoff)


def small_items(**columns: list[object]) -> pl.DataFrame:
    titles = {
        "a1": "oak bowl",
        "a2": "oak tray",
        "b1": "steel pan",
        "b2": "steel pot",
        "p": "glass jar",
        "q": "oak box",
    }
    return pl.DataFrame({c.ITEM_ID: list(titles), c.TITLE: list(titles.values()), **columns})


def small_log(*late: tuple[str, str, datetime]) -> pl.DataFrame:
    """Ten users take a1 and a2, ten take b1 and b2, all take p; the late rows follow."""
    rows = []
    for user in range(10):
        for n, (group, item) in enumerate([("a", "a1"), ("a", "a2"), ("a", "p"), ("b", "b1"), ("b", "b2"), ("b", "p")]):
            rows.append((f"{group}{user}", item, CUTOFF - (30 - user - n) * HOUR))
    frame = pl.DataFrame([*rows, *late], schema=[c.USER_ID, c.ITEM_ID, c.OCCURRED_AT], orient="row")
    return frame.with_columns(pl.lit(1.0).alias(c.WEIGHT)).sort(c.OCCURRED_AT, maintain_order=True)


def ask(*users: str, at: datetime = CUTOFF) -> pl.DataFrame:
    schema = {c.QUERY_ID: pl.String, c.USER_ID: pl.String, c.AS_OF: pl.Datetime("us")}
    return pl.DataFrame([(user, user, at) for user in users], schema=schema, orient="row")


def lists(answers: pl.DataFrame) -> dict[str, list[str]]:
    return {str(user): items for (user,), part in answers.group_by(c.QUERY_ID) for items in [part[c.ITEM_ID].to_list()]}


@pytest.mark.parametrize("name", NAMES)
def test_live_history_counts_strictly_before_as_of(name: str) -> None:
    moment = CUTOFF + HOUR
    baseline = baselines_of(small_items(), small_log(("new", "b1", moment)), CUTOFF)[name]
    at, after = (
        lists(baseline.recommend(ask("new", at=m), 6))["new"] for m in (moment, moment + timedelta(microseconds=1))
    )
    assert "b1" in at
    assert "b1" not in after


def test_each_personal_baseline_follows_its_own_evidence() -> None:
    moment = CUTOFF + HOUR
    baselines = baselines_of(small_items(), small_log(("new", "b1", moment)), CUTOFF)
    first = {name: lists(one.recommend(ask("new", at=moment + HOUR), 2))["new"] for name, one in baselines.items()}
    assert first["popular"][0] == "p"
    assert set(first["item-item"]) == {"b2", "p"}
    assert first["text-only"][0] == "b2"
    assert set(first["behaviour-only"]) == {"b2", "p"}


def test_text_reaches_items_that_nobody_touched() -> None:
    baselines = baselines_of(small_items(), small_log(("new", "a1", CUTOFF)), CUTOFF)
    answers = lists(baselines["text-only"].recommend(ask("new", at=CUTOFF + HOUR), 2))
    assert set(answers["new"]) == {"a2", "q"}


@pytest.mark.parametrize("name", NAMES)
def test_cold_users_get_the_popular_list(name: str) -> None:
    baselines = baselines_of(small_items(), small_log(), CUTOFF)
    asked = ask("nobody")
    assert lists(baselines[name].recommend(asked, 5)) == lists(baselines["popular"].recommend(asked, 5))


@pytest.mark.parametrize("name", NAMES)
def test_hard_rules_hold(name: str) -> None:
    items = small_items(
        available=[True, True, True, True, False, True],
        published_at=[None, None, None, None, None, CUTOFF + timedelta(microseconds=1)],
    )
    baseline = baselines_of(items, small_log(), CUTOFF)[name]
    shown = set(lists(baseline.recommend(ask("a1"), 6))["a1"])
    assert shown == {"b1", "b2"}  # a1, a2 and p were taken, p is not available, q is not yet published


@pytest.mark.parametrize("name", NAMES)
def test_where_repeats_are_allowed_own_items_are_listed_but_not_hidden_ones(name: str) -> None:
    items, hidden = small_items(), small_log()[:1].with_columns(item_id=pl.lit("a2"), weight=pl.lit(-1.0))
    hidden = hidden.with_columns(user_id=pl.lit("a1"), occurred_at=pl.lit(CUTOFF - HOUR, pl.Datetime("us")))
    log = pl.concat([small_log(), hidden])
    catalogue = Catalogue.from_store(items, log)
    rules = RulesConfig(repeats=True)
    baseline = make_baselines(catalogue, item_texts(catalogue.items), log, CUTOFF, rules=rules)[name]
    shown = set(lists(baseline.recommend(ask("a1"), 6))["a1"])
    assert {"a1", "p", "b1"} < shown
    assert "a2" not in shown


def test_own_items_stand_by_how_often_they_were_taken_and_equals_by_how_lately() -> None:
    taken = [("new", item, CUTOFF - hours * HOUR) for item, hours in [("q", 9), ("q", 8), ("b1", 5), ("a2", 4)]]
    log = small_log(*taken, ("new", "a2", CUTOFF))
    catalogue = Catalogue.from_store(small_items(), log)
    rules = RulesConfig(repeats=True)
    baseline = make_baselines(catalogue, item_texts(catalogue.items), log, CUTOFF, rules=rules)["own items"]
    own, cold = (lists(baseline.recommend(ask(user), 4))[user] for user in ("new", "nobody"))
    assert own == ["q", "a2", "b1", "p"], "p is popular"
    assert cold[0] == "p"
    assert "own items" not in baselines_of(small_items(), log, CUTOFF), "nothing is taken again there"


@pytest.mark.parametrize("name", NAMES)
def test_the_future_changes_nothing(name: str, shop_items: pl.DataFrame, shop_log: pl.DataFrame) -> None:
    cutoff = choose_cutoff(shop_log, 0.5)
    asked = cutoff_window(shop_log, cutoff, max_queries=40).queries
    whole = baselines_of(shop_items, shop_log, cutoff)[name].recommend(asked, 10)
    known = baselines_of(shop_items, shop_log.filter(pl.col(c.OCCURRED_AT) < cutoff), cutoff)[name].recommend(asked, 10)
    assert whole.drop(c.SCORE).equals(known.drop(c.SCORE))
    assert whole[c.RANK].max() == 10


def test_on_the_simulated_shop_every_baseline_beats_chance_and_taste_beats_popularity(
    shop_items: pl.DataFrame, shop_log: pl.DataFrame
) -> None:
    cutoff = choose_cutoff(shop_log)
    window = replay_window(shop_log, cutoff, max_queries=600)
    values = {
        name: metrics.recall(one.recommend(window.queries, 10), window.truth, 10)["recall"].mean()
        for name, one in baselines_of(shop_items, shop_log, cutoff).items()
    }
    chance = 10 / shop_items.height
    assert min(values.values()) > 1.5 * chance
    assert max(values["item-item"], values["behaviour-only"]) > values["popular"]


def test_the_popularity_window_is_chosen_by_what_works_inside_the_known_time() -> None:
    start = CUTOFF - timedelta(days=100)
    old = [(f"u{n}", "a1", start + n * HOUR) for n in range(300)]
    new = [(f"v{n}", "b1", CUTOFF - (60 - n) * HOUR) for n in range(50)]
    log = small_log()[:0].vstack(
        pl.DataFrame([*old, *new], schema=[c.USER_ID, c.ITEM_ID, c.OCCURRED_AT], orient="row").with_columns(
            pl.lit(1.0).alias(c.WEIGHT)
        )
    )
    share = choose_share(Catalogue.from_store(small_items(), log), log, BaselinesConfig(shares=(0.03, 1.0)))
    assert share == 0.03


def test_the_popularity_window_is_chosen_also_where_most_was_imported_at_one_moment() -> None:
    imported = [(f"u{n}", "a1", CUTOFF - HOUR) for n in range(95)]
    later = [("v", item, CUTOFF + n * HOUR) for n, item in enumerate(["a1", "a2", "b1", "b2", "p"])]
    log = pl.DataFrame([*imported, *later], schema=[c.USER_ID, c.ITEM_ID, c.OCCURRED_AT], orient="row")
    log = log.with_columns(pl.lit(1.0).alias(c.WEIGHT))
    config = BaselinesConfig(shares=(0.03, 1.0))
    assert choose_share(Catalogue.from_store(small_items(), log), log, config) in config.shares


def test_no_queries_and_no_items_give_empty_answers() -> None:
    baselines = baselines_of(small_items(), small_log(), CUTOFF)
    assert baselines["popular"].recommend(ask(), 5).columns == [c.QUERY_ID, c.ITEM_ID, c.RANK, c.SCORE]
