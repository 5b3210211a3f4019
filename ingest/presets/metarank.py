"""How are Metarank's event logs read? One file of JSON lines fills items, impressions and interactions.

Layout as in https://github.com/metarank/metarank/blob/master/doc/event-schema.md.
"""

import json
from functools import partial

import polars as pl

from ingest import columns as c
from ingest.mapping import ColumnsConfig
from ingest.presets.json_objects import JSON, TEXT, json_objects
from ingest.presets.known_files import Fill, KnownFile, passed_over
from ingest.presets.metarank_items import ITEM_EVENTS, carried_on, facts_of
from ingest.presets.named_facts import item_columns

_EVENT = {
    **dict.fromkeys(("event", "id", "timestamp", "item", "user", "session", "type", "ranking"), TEXT),
    "items": [{"id": TEXT, "relevancy": TEXT}],
    "fields": JSON,
}

_USER, _SESSION = "user", "session"


def files(columns: ColumnsConfig) -> tuple[KnownFile, ...]:
    """Describe a log; `columns` names the fields that are title, description, categories and so on."""
    fills = (
        Fill("items", partial(_items, columns=columns), over_all=carried_on),
        Fill("impressions", _impressions, user_columns=(_USER,), else_user=(_SESSION,), at_once=8192),
        Fill("interactions", _interactions, user_columns=(_USER,), else_user=(_SESSION,)),
    )
    # The store has no table of users: what is known of them is what they did.
    read = json_objects(
        _EVENT, one_of=("event", (*ITEM_EVENTS, "ranking", "interaction")), unkept={"user": "events of users"}
    )
    return (
        *(KnownFile(name, read, fills, form="jsonl") for name in ("*.json", "*.jsonl", "*.ndjson")),
        *passed_over("*.yml", "*.yaml", "README*", "LICENSE*"),
    )


def _items(rows: pl.DataFrame, *, columns: ColumnsConfig) -> pl.DataFrame:
    events = rows.filter(pl.col("event").is_in(ITEM_EVENTS))
    described = item_columns((facts_of(fields) for fields in events["fields"]), columns)
    ids = events.select(c.LINE, pl.col("item").alias(c.ITEM_ID), pl.col("timestamp").alias(c.UPDATED_AT))
    return pl.concat([ids, described], how="horizontal")


def _impressions(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each item of a ranking; whether it was clicked is told by later interactions with that ranking."""
    rankings = rows.filter((pl.col("event") == "ranking") & (pl.col("items").list.len().fill_null(1) > 0))
    shown = rankings.with_columns(pl.int_ranges(1, pl.col("items").list.len() + 1).alias(c.POSITION))
    return shown.explode("items", c.POSITION).select(
        c.LINE,
        pl.col("id").alias(c.REQUEST_ID),
        _who().alias(c.USER_ID),
        pl.col("items").struct.field("id").alias(c.ITEM_ID),
        pl.col("timestamp").alias(c.OCCURRED_AT),
        c.POSITION,
        pl.col("items").struct.field("relevancy").alias(c.SCORE),
    )


def _interactions(rows: pl.DataFrame) -> pl.DataFrame:
    events = rows.filter(pl.col("event") == "interaction")
    context = [json.dumps(facts, ensure_ascii=False) if facts else None for facts in map(facts_of, events["fields"])]
    return events.select(
        c.LINE,
        pl.col("id").alias(c.EVENT_ID),
        _who().alias(c.USER_ID),
        pl.col("item").alias(c.ITEM_ID),
        pl.col("type").alias(c.KIND),
        pl.col("timestamp").alias(c.OCCURRED_AT),
        pl.col("ranking").alias(c.REQUEST_ID),
        pl.col("session").alias(c.SESSION_ID),
        pl.Series(c.REST, context, dtype=pl.String),
    )


def _who() -> pl.Expr:
    """Return the user; a visitor who is none counts as one for as long as the session lasts."""
    return pl.coalesce(_USER, _SESSION)
