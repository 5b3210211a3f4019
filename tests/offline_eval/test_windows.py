from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

import readrank
from ingest import columns as c
from ingest.store import Store
from offline_eval.errors import EvaluationError
from offline_eval.windows import ASKS, Protocol, choose_cutoff, cutoff_window, replay_window

CUTOFF = datetime(2024, 5, 1, 12)
TICK = timedelta(microseconds=1)
UNTIL = CUTOFF + timedelta(days=1)


def log(*rows: tuple[str, str, datetime] | tuple[str, str, datetime, float]) -> pl.DataFrame:
    full = [(*row, 1.0) if len(row) == 3 else row for row in rows]
    schema = {c.USER_ID: pl.String, c.ITEM_ID: pl.String, c.OCCURRED_AT: pl.Datetime("us"), c.WEIGHT: pl.Float64}
    return pl.DataFrame(full, schema=schema, orient="row")


@pytest.mark.parametrize("lay", [cutoff_window, replay_window])
def test_truth_begins_at_the_very_instant_of_the_cutoff(lay) -> None:
    window = lay(log(("a", "before", CUTOFF - TICK), ("a", "at", CUTOFF)), CUTOFF)
    assert window.truth[c.ITEM_ID].to_list() == ["at"]


@pytest.mark.parametrize("lay", [cutoff_window, replay_window])
def test_truth_ends_before_until(lay) -> None:
    window = lay(log(("a", "last", UNTIL - TICK), ("a", "too late", UNTIL)), CUTOFF, UNTIL)
    assert window.truth[c.ITEM_ID].to_list() == ["last"]


@pytest.mark.parametrize("lay", [cutoff_window, replay_window])
def test_an_item_taken_before_the_cutoff_is_never_truth(lay) -> None:
    window = lay(log(("a", "x", CUTOFF - TICK), ("a", "x", CUTOFF), ("b", "x", CUTOFF)), CUTOFF)
    assert window.truth[c.QUERY_ID].str.slice(0, 1).to_list() == ["b"]


@pytest.mark.parametrize("lay", [cutoff_window, replay_window])
def test_an_item_taken_again_is_truth_where_repeats_are_allowed(lay) -> None:
    rows = log(
        ("a", "x", CUTOFF - TICK), ("a", "x", CUTOFF), ("a", "x", CUTOFF), ("a", "y", CUTOFF), ("a", "y", CUTOFF + TICK)
    )
    asked = lay(rows, CUTOFF, repeats=True)
    at_once = [("x", CUTOFF), ("y", CUTOFF)]
    expected = at_once if lay is cutoff_window else [*at_once, ("y", CUTOFF + TICK)]
    assert (
        asked.truth.join(asked.queries, on=c.QUERY_ID).select(c.ITEM_ID, c.AS_OF).sort(c.AS_OF, c.ITEM_ID).rows()
        == expected
    )


def test_warm_means_something_strictly_before_as_of() -> None:
    rows = log(("a", "x", CUTOFF - TICK), ("a", "y", CUTOFF), ("b", "x", CUTOFF), ("b", "y", CUTOFF + TICK))
    assert dict(cutoff_window(rows, CUTOFF).queries.select(c.USER_ID, "warm").iter_rows()) == {"a": True, "b": False}
    replay = replay_window(rows, CUTOFF).queries.sort(c.AS_OF)
    assert replay.filter(pl.col(c.USER_ID) == "b")["warm"].to_list() == [False, True]


def test_past_is_counted_strictly_before_as_of() -> None:
    """Each row counts, a dislike and one thing taken twice too; what comes at one instant comes at once."""
    rows = log(
        ("a", "x", CUTOFF - TICK),
        ("a", "y", CUTOFF),
        ("b", "x", CUTOFF - 2 * TICK, -1.0),
        ("b", "x", CUTOFF - TICK),
        ("b", "x", CUTOFF - TICK),
        ("b", "y", CUTOFF),
        ("b", "z", CUTOFF),
        ("b", "w", CUTOFF + TICK),
        ("c", "x", CUTOFF),
    ).sample(fraction=1.0, shuffle=True, seed=3)
    asked = cutoff_window(rows, CUTOFF).queries
    assert dict(asked.select(c.USER_ID, "n_before").iter_rows()) == {"a": 1, "b": 3, "c": 0}
    replay = replay_window(rows, CUTOFF).queries.sort(c.USER_ID, c.AS_OF)
    assert replay.select(c.USER_ID, "n_before", "warm").rows() == [
        ("a", 1, True),
        ("b", 3, True),
        ("b", 5, True),
        ("c", 0, False),
    ]


def test_replay_asks_when_the_answer_was_given_but_not_before_the_cutoff() -> None:
    later = [CUTOFF + timedelta(minutes=n) for n in range(6)]
    rows = log(("a", "w", later[0]), ("a", "x", later[1]), ("a", "y", later[4]), ("a", "z", later[5]))
    asked = pl.Series([CUTOFF - TICK, CUTOFF, later[3], later[3]], dtype=pl.Datetime("us"))
    window = replay_window(rows, CUTOFF, asked=asked)
    assert window.queries.select(c.AS_OF, "warm").rows() == [(CUTOFF, False), (later[3], True)]
    assert window.truth[c.ITEM_ID].to_list() == ["x", "y", "z"]


def test_replay_takes_things_of_one_instant_together() -> None:
    window = replay_window(log(("a", "x", CUTOFF), ("a", "y", CUTOFF), ("a", "z", CUTOFF + TICK)), CUTOFF)
    assert window.truth.group_by(c.QUERY_ID).len()["len"].sort().to_list() == [1, 2]


def test_replay_queries_closer_than_a_second_stay_apart() -> None:
    window = replay_window(log(("a", "x", CUTOFF), ("a", "y", CUTOFF + TICK)), CUTOFF)
    assert window.queries[c.QUERY_ID].n_unique() == 2


@pytest.mark.parametrize("lay", [cutoff_window, replay_window])
def test_negative_interactions_are_known_but_never_truth(lay) -> None:
    rows = log(("a", "hidden", CUTOFF, -1.0), ("b", "x", CUTOFF - TICK, -1.0), ("b", "x", CUTOFF), ("b", "y", CUTOFF))
    assert lay(rows, CUTOFF).truth[c.ITEM_ID].to_list() == ["y"]


@pytest.mark.parametrize("lay", [cutoff_window, replay_window])
def test_interactions_without_weight_are_never_truth(lay) -> None:
    rows = log(("a", "seen", CUTOFF, 0.0), ("a", "taken", CUTOFF, 0.1))
    assert lay(rows, CUTOFF).truth[c.ITEM_ID].to_list() == ["taken"]


def test_cold_items_are_those_nobody_touched_before_the_cutoff() -> None:
    rows = log(("a", "known", CUTOFF - TICK), ("b", "known", CUTOFF), ("b", "new", CUTOFF))
    assert dict(cutoff_window(rows, CUTOFF).truth.select(c.ITEM_ID, "cold").iter_rows()) == {
        "known": False,
        "new": True,
    }


def test_the_cap_is_seeded_and_says_how_many_there_were() -> None:
    rows = log(*((f"u{n:03d}", "x", CUTOFF) for n in range(100)))
    one, two = (cutoff_window(rows, CUTOFF, max_queries=10, seed=3) for _ in range(2))
    other = cutoff_window(rows, CUTOFF, max_queries=10, seed=4)
    assert one.queries.equals(two.queries)
    assert not one.queries.equals(other.queries)
    assert (one.n_before_cap, one.queries.height, one.truth.height) == (100, 10, 10)
    assert one.queries[c.QUERY_ID].is_sorted()


def test_choosing_a_cutoff_wants_two_moments() -> None:
    rows = log(("a", "x", CUTOFF), ("b", "x", CUTOFF))
    with pytest.raises(EvaluationError, match="two moments or more, got 2 at 1"):
        choose_cutoff(rows)
    assert choose_cutoff(log(("a", "x", CUTOFF), ("b", "x", CUTOFF + TICK)), 0.9) == CUTOFF + TICK


def test_choosing_a_cutoff_takes_the_second_moment_where_most_came_at_the_first() -> None:
    imported = [(f"u{n}", "x", CUTOFF) for n in range(95)]
    later = [("a", f"i{n}", CUTOFF + n * TICK) for n in range(1, 6)]
    assert choose_cutoff(log(*later, *imported), 0.9) == CUTOFF + TICK


@pytest.mark.parametrize("protocol", get_args(Protocol))
def test_help_and_store_say_as_the_report_what_a_protocol_asks(protocol: Protocol, tmp_path: Path) -> None:
    with Store.open(tmp_path / "readrank.duckdb") as store:
        query = "SELECT comment FROM duckdb_columns() WHERE table_name = 'evaluations' AND column_name = 'protocol'"
        ((comment,),) = store.connection.execute(query).fetchall()
    said = f"{protocol} {ASKS[protocol]}"
    assert said in comment
    assert said in " ".join(str(readrank.evaluate.__doc__).split())
