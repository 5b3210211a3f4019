"""The plainest rival: what was most taken in the hours before a question, by arithmetic."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from benchmarks.recent_lists import most_taken

NOON = datetime(2026, 1, 1, 12)


def hours(*numbers: float) -> list[datetime]:
    return [NOON + timedelta(hours=number) for number in numbers]


def test_lists_hold_what_was_taken_in_their_hours_less_what_the_user_took(tmp_path: Path):
    """At 0 and at 3 o'clock after noon; what is taken at the very moment is not known yet."""
    log = {
        "user_id": ["ann", "bob", "eve", "bob", "ann", "eve"],
        "item_id": ["old", "hot", "hot", "other", "hot", "late"],
        "occurred_at": hours(-9, -2, -1, -1, 1, 3),
    }
    asked = {"query_id": ["q0", "q3", "b3"], "user_id": ["ann", "ann", "bob"], "as_of": hours(0, 3, 3)}
    pl.DataFrame(log).write_parquet(tmp_path / "interactions.parquet")
    pl.DataFrame(asked).write_parquet(tmp_path / "queries.parquet")
    found = most_taken(tmp_path, 6).group_by("query_id", maintain_order=True).agg("item_id", "rank")
    assert found.rows() == [("q0", ["hot", "other"], [1, 2]), ("q3", ["other"], [1])]
    assert most_taken(tmp_path, 24).filter(pl.col("query_id") == "b3")["item_id"].to_list() == ["old"]
