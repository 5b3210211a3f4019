"""What is known of an item after each of Metarank's events? One tells some fields; the others stay as they were."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from ingest import columns as c
from ingest.lines import Records
from ingest.read_parquet import ROWS_PER_BATCH

# Metadata of items was an event `metadata` in early versions.
ITEM_EVENTS = ("item", "metadata")

_COLUMNS = ("event", "item", "timestamp", "fields")


def carried_on(stream: Iterator[Records]) -> Iterator[Records]:
    """Complete the fields of every item event by those of the item's earlier events in the file.

    The events are sorted by item on disk, so that memory holds the fields of one item at a time.
    """
    import duckdb

    with (
        tempfile.TemporaryDirectory() as folder,
        duckdb.connect(Path(folder) / "events.duckdb", config={"memory_limit": "1GB"}) as connection,
    ):
        connection.execute(
            "CREATE TABLE events (line BIGINT, event VARCHAR, item VARCHAR, timestamp VARCHAR, fields VARCHAR)"
        )
        for records in stream:
            frame = records.frame.select(pl.lit(records.lines).alias(c.LINE), *_COLUMNS)
            connection.register("batch", frame.filter(pl.col("event").is_in(ITEM_EVENTS)).to_arrow())
            connection.execute("INSERT INTO events SELECT * FROM batch")
            connection.unregister("batch")
            yield replace(records, frame=records.frame.clear(), lines=records.lines.clear(), texts=None)
        item, known = None, dict[str, Any]()
        sorted_events = connection.sql("SELECT * FROM events ORDER BY item, line")
        for batch in sorted_events.to_arrow_reader(ROWS_PER_BATCH):
            frame = pl.DataFrame(batch)
            completed = []
            for name, fields in frame.select("item", "fields").iter_rows():
                if name != item:
                    item, known = name, {}
                known |= facts_of(fields)
                completed.append(json.dumps([{"name": key, "value": value} for key, value in known.items()]))
            frame = frame.with_columns(pl.Series("fields", completed, dtype=pl.String))
            texts = partial(_events, frame)
            yield Records(frame.drop(c.LINE), frame[c.LINE], records.broken.clear(), records.bytes_done, texts)


def _events(frame: pl.DataFrame, positions: pl.Series) -> pl.Series:
    """Write completed events as the log would: read again, each tells all that was known of its item then."""
    events = [
        json.dumps({**event, "fields": json.loads(event["fields"])}, ensure_ascii=False)
        for event in frame[positions].select(_COLUMNS).iter_rows(named=True)
    ]
    return pl.Series(c.RAW, events, dtype=pl.String)


def facts_of(fields: str | None) -> dict[str, Any]:
    """Turn `[{"name": ..., "value": ...}]` into name -> value."""
    listed = json.loads(fields or "[]")
    members = listed if isinstance(listed, list) else []
    return {str(each.get("name")): each.get("value") for each in members if isinstance(each, dict)}
