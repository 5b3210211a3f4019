"""How does a store made by an earlier version become one of today's? Column by column, each step at most once."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_STEPS = (
    # table, a column that only today's table has, statements that bring it there
    (
        "interactions",
        "event_key",
        """
        ALTER TABLE interactions ADD COLUMN arrival BIGINT;
        ALTER TABLE interactions ADD COLUMN event_key UBIGINT;
        UPDATE interactions SET arrival = rowid, event_key = hash(event_id);
        """,
    ),
    (
        "rejected_rows",
        "table_name",
        """
        ALTER TABLE rejected_rows ADD COLUMN table_name VARCHAR;
        UPDATE rejected_rows SET table_name = loads.table_name FROM loads WHERE loads.load_id = rejected_rows.load_id;
        """,
    ),
    (
        "rejected_rows",
        "read_as",
        """
        ALTER TABLE rejected_rows ADD COLUMN user_id VARCHAR;
        ALTER TABLE rejected_rows ADD COLUMN read_as VARCHAR;
        """,
    ),
    ("rejected_rows", "layout", "ALTER TABLE rejected_rows ADD COLUMN layout VARCHAR"),
    ("impressions", "reasons", "ALTER TABLE impressions ADD COLUMN reasons JSON"),
    ("impressions", "placed_by", "ALTER TABLE impressions ADD COLUMN placed_by VARCHAR"),
    ("requests", "comparison", "ALTER TABLE requests ADD COLUMN comparison JSON"),
    ("requests", "asked", "ALTER TABLE requests ADD COLUMN asked JSON"),
    # No earlier version wrote a receipt.
    ("erasures", "receipt_id", "DROP TABLE erasures"),
)


_VERSIONS_OF_OLD_ITEMS = """
    INSERT INTO item_versions (
        item_id, valid_from, updated_at, title, description, categories, attributes, published_at, available, load_id
    )
    SELECT
        item_id, TIMESTAMP '1970-01-01', updated_at, title, description, categories, attributes, published_at,
        available, 'before versions'
    FROM items
    ANTI JOIN item_versions USING (item_id)
"""


def is_of_an_earlier_version(connection: "duckdb.DuckDBPyConnection") -> bool:
    """Tell whether a store lacks what `bring_up_to_date` and today's schema would bring."""
    present = set(connection.execute("SELECT table_name, column_name FROM duckdb_columns()").fetchall())
    wanted = {(table, column) for table, column, _ in _STEPS} | {("item_versions", "item_id")}
    return ("interactions", "event_id") in present and not wanted <= present


def bring_up_to_date(connection: "duckdb.DuckDBPyConnection") -> str:
    """Add the columns that earlier versions lacked; return the statements to run once today's tables are there.

    A new store, and one of today's, stays as it is. Event keys are DuckDB's own hash: should a later DuckDB hash
    otherwise, they are made anew.
    """
    present = set(connection.execute("SELECT table_name, column_name FROM duckdb_columns()").fetchall())
    tables = {table for table, _ in present}
    for table, column, statements in _STEPS:
        if table in tables and (table, column) not in present:
            connection.execute(f"BEGIN; {statements}; COMMIT")
    if ("interactions", "event_key") in present:
        stale = connection.execute(
            "SELECT event_key <> hash(event_id) FROM (SELECT event_key, event_id FROM interactions LIMIT 1)"
        ).fetchall()
        if stale == [(True,)]:
            connection.execute("UPDATE interactions SET event_key = hash(event_id)")
    return _VERSIONS_OF_OLD_ITEMS if "items" in tables and "item_versions" not in tables else ""
