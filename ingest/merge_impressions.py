"""How do checked impressions become part of the store? Each item of an answer once; a later click is taken over."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_ONCE = """
    CREATE OR REPLACE TEMP TABLE once AS
    SELECT *
    FROM staged
    QUALIFY row_number() OVER (
        PARTITION BY request_id, user_id, item_id, occurred_at, position ORDER BY clicked DESC NULLS LAST, line
    ) = 1
"""
_SAME = """
    known.request_id = once.request_id
    AND known.user_id = once.user_id
    AND known.item_id = once.item_id
    AND known.occurred_at = once.occurred_at
    AND known.position IS NOT DISTINCT FROM once.position
"""


def merge_impressions(connection: "duckdb.DuckDBPyConnection", *, load_id: str) -> int:
    """Take over the temp table `staged`; return how many rows are new, or told of a click that was not known."""
    connection.execute(_ONCE)
    n_clicked = _count(
        connection,
        f"""
        UPDATE impressions AS known SET clicked = TRUE
        FROM once
        WHERE once.clicked AND known.clicked IS DISTINCT FROM TRUE AND {_SAME}
        """,
        {},
    )
    n_new = _count(
        connection,
        f"""
        INSERT INTO impressions (
            request_id, user_id, item_id, position, score, propensity, occurred_at, clicked, load_id
        )
        SELECT request_id, user_id, item_id, position, score, propensity, occurred_at, clicked, $load_id
        FROM once
        WHERE NOT EXISTS (SELECT 1 FROM impressions AS known WHERE {_SAME})
        """,
        {"load_id": load_id},
    )
    connection.execute("DROP TABLE once")
    return n_clicked + n_new


def _count(connection: "duckdb.DuckDBPyConnection", statement: str, parameters: dict[str, object]) -> int:
    row = connection.execute(statement, parameters).fetchone()
    return int(row[0]) if row else 0
