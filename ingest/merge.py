"""How do checked rows become part of the store? Staged first, then taken over once each, first come first kept."""

from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from ingest import columns as c
from ingest.mapping import Table

if TYPE_CHECKING:
    import duckdb

_STAGES = {
    "items": """
        CREATE TEMP TABLE staged (
            line BIGINT, item_id VARCHAR, title VARCHAR, description VARCHAR, categories VARCHAR[],
            attributes VARCHAR, published_at TIMESTAMP, available BOOLEAN
        )
    """,
    "interactions": """
        CREATE TEMP TABLE staged (
            event_id VARCHAR, user_id VARCHAR, item_id VARCHAR, kind VARCHAR, weight DOUBLE, occurred_at TIMESTAMP,
            request_id VARCHAR, session_id VARCHAR, context VARCHAR
        )
    """,
    "impressions": """
        CREATE TEMP TABLE staged (
            request_id VARCHAR, user_id VARCHAR, item_id VARCHAR, position INTEGER, score DOUBLE, propensity DOUBLE,
            occurred_at TIMESTAMP, clicked BOOLEAN
        )
    """,
}

# Ids hold no control characters: the unit separator keeps neighbours apart, the record separator stands for NULL.
# The hash takes the log's own weight: settings of kinds may change without making old events new ones.
_EVENT_ID = """
    coalesce(event_id, md5(concat_ws(
        chr(31), user_id, item_id, kind, CAST(epoch_us(occurred_at) AS VARCHAR),
        coalesce(CAST(given_weight AS VARCHAR), chr(30)), coalesce(request_id, chr(30)),
        coalesce(session_id, chr(30)), coalesce(context, chr(30))
    )))
"""

_ADD = {
    "items": """
        INSERT INTO staged
        SELECT line, item_id, title, description, categories, attributes, published_at, available
        FROM checked
    """,
    "interactions": f"""
        INSERT INTO staged
        SELECT {_EVENT_ID}, user_id, item_id, kind, weight, occurred_at, request_id, session_id, context
        FROM checked
    """,
    "impressions": """
        INSERT INTO staged
        SELECT request_id, user_id, item_id, position, score, propensity, occurred_at, clicked
        FROM checked
    """,
}


def open_stage(connection: "duckdb.DuckDBPyConnection", table: Table) -> None:
    """Make the empty stage of one load; it is gone when the transaction ends in any way but a commit."""
    connection.execute("DROP TABLE IF EXISTS staged")
    connection.execute(_STAGES[table])


def add_to_stage(connection: "duckdb.DuckDBPyConnection", table: Table, checked: pl.DataFrame) -> None:
    """Put a batch of checked rows on the stage; events without an id get one from their content."""
    connection.register("checked", checked.to_arrow())
    connection.execute(_ADD[table])
    connection.unregister("checked")


def merge(
    connection: "duckdb.DuckDBPyConnection", table: Table, *, load_id: str, moment: datetime, present: frozenset[str]
) -> int:
    """Take the staged rows over and return how many were new (items: new or changed); clear the stage.

    `present` names the columns that the file had: columns that an item file lacks keep their old values.
    """
    if table == "items":
        n_new = _merge_items(connection, moment, present)
    elif table == "interactions":
        n_new = _merge_interactions(connection, load_id, moment)
    else:
        n_new = _merge_impressions(connection, load_id)
    connection.execute("DROP TABLE staged")
    return n_new


def _merge_interactions(connection: "duckdb.DuckDBPyConnection", load_id: str, moment: datetime) -> int:
    connection.execute(
        "DELETE FROM staged WHERE rowid IN (SELECT staged.rowid FROM staged SEMI JOIN interactions USING (event_id))"
    )
    # Grouping 8-byte hashes is half the work of grouping ids; only rows that share one are compared in full.
    connection.execute(
        """
        DELETE FROM staged
        WHERE rowid IN (
            SELECT rowid
            FROM staged
            SEMI JOIN (
                SELECT hash(event_id) AS hashed FROM staged GROUP BY hashed HAVING count(*) > 1
            ) AS suspected ON suspected.hashed = hash(staged.event_id)
            QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY rowid) > 1
        )
        """
    )
    # A plain scan keeps the order of the file, on which `Store.interactions` relies; a join here would not.
    return _count(
        connection,
        """
        INSERT INTO interactions
        SELECT
            event_id, user_id, item_id, kind, weight, occurred_at, request_id, session_id, context, $load_id, $moment
        FROM staged
        """,
        {"load_id": load_id, "moment": moment},
    )


def _merge_impressions(connection: "duckdb.DuckDBPyConnection", load_id: str) -> int:
    return _count(
        connection,
        """
        INSERT INTO impressions (
            request_id, user_id, item_id, position, score, propensity, occurred_at, clicked, load_id
        )
        SELECT request_id, user_id, item_id, position, score, propensity, occurred_at, clicked, $load_id
        FROM (
            SELECT *
            FROM staged
            QUALIFY row_number() OVER (
                PARTITION BY request_id, user_id, item_id, occurred_at, position ORDER BY clicked DESC, rowid
            ) = 1
        ) AS once
        WHERE NOT EXISTS (
            SELECT 1
            FROM impressions AS known
            WHERE known.request_id = once.request_id
                AND known.user_id = once.user_id
                AND known.item_id = once.item_id
                AND known.occurred_at = once.occurred_at
                AND known.position IS NOT DISTINCT FROM once.position
        )
        """,
        {"load_id": load_id},
    )


def _merge_items(connection: "duckdb.DuckDBPyConnection", moment: datetime, present: frozenset[str]) -> int:
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE latest AS
        SELECT *
        FROM staged
        QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY line DESC) = 1
        """
    )
    told = [name for name in c.ITEM_COLUMNS if name in present and name != c.ITEM_ID]
    if c.REST in present:
        told.append(c.ATTRIBUTES)
    n_changed = 0
    if told:
        setting = ", ".join(f"{name} = latest.{name}" for name in told)
        differing = " OR ".join(f"items.{name} IS DISTINCT FROM latest.{name}" for name in told)
        n_changed = _count(
            connection,
            f"""
            UPDATE items SET {setting}, updated_at = $moment
            FROM latest
            WHERE items.item_id = latest.item_id AND ({differing})
            """,
            {"moment": moment},
        )
    n_new = _count(
        connection,
        """
        INSERT INTO items
        SELECT item_id, title, description, categories, attributes, published_at, available, $moment
        FROM latest
        WHERE NOT EXISTS (SELECT 1 FROM items WHERE items.item_id = latest.item_id)
        """,
        {"moment": moment},
    )
    connection.execute("DROP TABLE latest")
    return n_changed + n_new


def _count(connection: "duckdb.DuckDBPyConnection", statement: str, parameters: dict[str, object]) -> int:
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return int(row[0])
