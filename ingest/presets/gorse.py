"""How are exports of Gorse read? items and feedback, as JSON lines, as arrays of the REST API, or as CSV.

Layouts as in https://gorse.io/docs/concepts/data-objects.html; CSV as earlier versions exported it, with a header or
without.
"""

import json
from functools import partial
from typing import Any

import polars as pl

from ingest import columns as c
from ingest.mapping import ColumnsConfig
from ingest.presets.json_objects import JSON, TEXT, json_objects
from ingest.presets.known_files import Fill, KnownFile, passed_over
from ingest.presets.named_facts import item_columns
from ingest.presets.text_tables import csv_rows

_ITEM = ("ItemId", "IsHidden", "Categories", "Timestamp", "Labels", "Comment")
_FEEDBACK = ("FeedbackType", "UserId", "ItemId", "Timestamp", "Comment", "Value")
# Headers of exported CSV, and the fields that they stand for.
_CSV_NAMES = {
    **{"item_id": "ItemId", "is_hidden": "IsHidden", "categories": "Categories", "time_stamp": "Timestamp"},
    **{"labels": "Labels", "description": "Comment", "comment": "Comment", "value": "Value"},
    **{"feedback_type": "FeedbackType", "user_id": "UserId", "timestamp": "Timestamp"},
}


def files(columns: ColumnsConfig) -> tuple[KnownFile, ...]:
    """Describe the exported files; `columns` names the labels that are titles and so on."""
    items = (Fill("items", partial(_items, columns=columns)),)
    feedback = (Fill("interactions", _feedback, user_columns=("UserId", "user_id")),)
    items_in_json = json_objects({**dict.fromkeys(_ITEM, TEXT), "Labels": JSON})
    feedback_in_json = json_objects(dict.fromkeys(_FEEDBACK, TEXT))
    return (
        *passed_over("*users.csv", "*users.json", "*users.jsonl", "README*", "LICENSE*"),
        KnownFile("*items.csv", csv_rows(*_ITEM), items),
        KnownFile("*feedback.csv", csv_rows(*_FEEDBACK[:4]), feedback),
        *(KnownFile(f"*items.{suffix}", items_in_json, items, form="jsonl") for suffix in ("json", "jsonl")),
        *(KnownFile(f"*feedback.{suffix}", feedback_in_json, feedback, form="jsonl") for suffix in ("json", "jsonl")),
        # parts and dated exports: feedback-2024.csv, items.part2.jsonl
        *(KnownFile(f"*feedback{sign}*.csv", csv_rows(*_FEEDBACK[:4]), feedback) for sign in _SIGNS),
        *(KnownFile(f"*items{sign}*.csv", csv_rows(*_ITEM), items) for sign in _SIGNS),
        *(KnownFile(f"*feedback{sign}*.json*", feedback_in_json, feedback, form="jsonl") for sign in _SIGNS),
        *(KnownFile(f"*items{sign}*.json*", items_in_json, items, form="jsonl") for sign in _SIGNS),
    )


_SIGNS = "._-"


def _items(rows: pl.DataFrame, *, columns: ColumnsConfig) -> pl.DataFrame:
    rows = _spelled(rows, _ITEM)
    facts = [_facts(*values) for values in rows.select("Labels", "Categories", "Comment").iter_rows()]
    described = item_columns(facts, columns)
    hidden = pl.col("IsHidden").str.to_lowercase().replace({"true": "false", "false": "true", "1": "0", "0": "1"})
    return rows.with_columns(described).select(
        c.LINE,
        pl.col("ItemId").alias(c.ITEM_ID),
        *(c.TITLE, c.DESCRIPTION, c.CATEGORIES, c.REST),
        pl.coalesce(_moment(), c.PUBLISHED_AT).alias(c.PUBLISHED_AT),
        pl.coalesce(hidden, c.AVAILABLE).alias(c.AVAILABLE),
    )


def _facts(labels: str | None, categories: str | None, comment: str | None) -> dict[str, Any]:
    """Gather what is known of an item: the comment is its description, labels are facts or further categories."""
    label_value = _decoded(labels)
    names = _names(_decoded(categories))
    if isinstance(label_value, dict):
        facts = label_value
    else:
        facts, names = {}, names + _names(label_value)
    return {**facts, c.CATEGORIES: names or None, c.DESCRIPTION: comment or facts.get(c.DESCRIPTION)}


def _decoded(text: str | None) -> Any:
    """Decode JSON; other text is names with `|` between them."""
    try:
        return json.loads(text or "null")
    except ValueError:
        return (text or "").split("|")


def _names(value: Any) -> list[str]:
    members = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(str(member) for member in members if member not in (None, "")))


def _feedback(rows: pl.DataFrame) -> pl.DataFrame:
    rows = _spelled(rows, _FEEDBACK)
    # Newer versions write a value of 0 where none was given; the weight of the kind counts then.
    value = pl.when(pl.col("Value").cast(pl.Float64, strict=False) != 0).then("Value")
    unreadable = pl.when(pl.col("Value").cast(pl.Float64, strict=False).is_null()).then("Value")
    return rows.select(
        c.LINE,
        pl.col("UserId").alias(c.USER_ID),
        pl.col("ItemId").alias(c.ITEM_ID),
        pl.col("FeedbackType").alias(c.KIND),
        pl.coalesce(value, unreadable).alias(c.WEIGHT),
        _moment().alias(c.OCCURRED_AT),
    )


def _moment() -> pl.Expr:
    """Rewrite Go's way of printing a time; its time zero means that none was given."""
    text = pl.col("Timestamp").str.replace(r" [A-Z]{3,4}$", "")
    return pl.when(~text.str.starts_with("0001-01-01")).then(text)


def _spelled(rows: pl.DataFrame, wanted: tuple[str, ...]) -> pl.DataFrame:
    """Give columns the names of the fields, whatever the header calls them; absent ones become null.

    Of several columns for one field (`description` and `comment`) the first that has a value counts.
    """
    columns: dict[str, list[str]] = {}
    for name in rows.columns:
        columns.setdefault(_CSV_NAMES.get(name, name), []).append(name)
    return rows.select(
        c.LINE,
        *(
            pl.coalesce(columns[name]).alias(name) if name in columns else pl.lit(None, pl.String).alias(name)
            for name in wanted
        ),
    )
