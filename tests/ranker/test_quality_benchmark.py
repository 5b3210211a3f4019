"""The part of a case that users with one event ask is cut right, and printed beside warm and cold users."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from benchmarks.quality import ONE_EVENT, _judged, _table, of_one_event

NOON = datetime(2024, 1, 1, 12)
TICK = timedelta(microseconds=1)


def write_case(folder: Path, *events: tuple[str, datetime]) -> Path:
    """A case in which a, b and c ask at noon for x."""
    folder.mkdir()
    asked = [(f"{user}@", user, NOON) for user in "abc"]
    pl.DataFrame(asked, schema=["query_id", "user_id", "as_of"], orient="row").write_parquet(folder / "queries.parquet")
    pl.DataFrame([(f"{user}@", "x") for user in "abc"], schema=["query_id", "item_id"], orient="row").write_parquet(
        folder / "truth.parquet"
    )
    log = pl.DataFrame(events, schema={"user_id": pl.String, "occurred_at": pl.Datetime("us")}, orient="row")
    log.with_columns(item_id=pl.lit("y")).write_parquet(folder / "interactions.parquet")
    pl.DataFrame({"item_id": ["x", "y"]}).write_parquet(folder / "items.parquet")
    (folder / "case.json").write_text(json.dumps({"cutoff": str(NOON)}))
    return folder


def test_the_part_has_whom_one_event_came_before_the_very_instant_of_the_question(tmp_path):
    at = (NOON - TICK, NOON)
    case = write_case(tmp_path / "case", ("a", at[0]), ("a", at[1]), ("b", at[0]), ("b", at[0]), ("c", at[1]))
    assert of_one_event(case, tmp_path / "part")
    assert pl.read_parquet(tmp_path / "part" / "queries.parquet")["user_id"].to_list() == ["a"]
    assert pl.read_parquet(tmp_path / "part" / "truth.parquet")["query_id"].to_list() == ["a@"]
    kept = {path.name for path in (tmp_path / "part").iterdir()}
    assert kept == {path.name for path in case.iterdir()}, "the judge reads all of them"


def test_without_such_users_there_is_no_part(tmp_path):
    assert not of_one_event(write_case(tmp_path / "case", ("c", NOON)), tmp_path / "part")


@pytest.mark.parametrize(("judged", "shown"), [({"ndcg@10": 0.1234}, True), (None, False)])
def test_table_shows_what_was_judged_of_them(judged, shown):
    told = _judged("all         {'ndcg@10': 0.2}\ncold items  {'true': 3, 'recall@10': 0.1}\ncoverage    0.5\n")
    if judged:
        told[ONE_EVENT] = judged
    row = {
        "case": "amazon_beauty",
        "peer": None,
        "bar": None,
        "judged": told,
        "seconds": {"a": 1},
        "peak_mib": {"a": 1},
    }
    console = Console(width=200, record=True)
    console.print(_table([row]))
    text = console.export_text()
    assert ONE_EVENT in text
    assert ("0.1234" in text) is shown
