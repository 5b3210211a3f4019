"""How do checked items become part of the store? Each change is put at its moment; `items` keeps the present state.

A version is dated by the catalogue (`updated_at`), else by its load. It holds from its date until the next one's; the
earliest known holds from 1970 on, because nothing is known that was before it. So files with dates may come in any
order, and the same file twice changes nothing.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from ingest import columns as c

if TYPE_CHECKING:
    import duckdb

_VERSIONED = {
    c.TITLE: "VARCHAR",
    c.DESCRIPTION: "VARCHAR",
    c.CATEGORIES: "VARCHAR[]",
    c.ATTRIBUTES: "VARCHAR",
    c.PUBLISHED_AT: "TIMESTAMP",
    c.AVAILABLE: "BOOLEAN",
}
_TEMPORARY = ("told", "known", "tellings", "timeline")


def merge_items(
    connection: "duckdb.DuckDBPyConnection", *, load_id: str, moment: datetime, present: frozenset[str]
) -> int:
    """Take over the temp table `staged`; return how many of its rows say something new. The caller drops `staged`.

    `present` names the columns that the file had (`rest` for those that become attributes); columns that it lacks keep
    the values of the version in force at the row's date. Of several rows with one item and date the last counts, and
    it replaces a version of the same date. A row without a date is always the present state: it is dated `moment`, or
    as the latest version known if that lies later.
    """
    parameters: dict[str, object] = {"moment": moment, "load_id": load_id}
    statements = (_TOLD, _KNOWN, _tellings(present), _FORGET_WHAT_IS_NOT_NEW, _TIMELINE)
    for statement in statements:
        connection.execute(statement, {name: parameters[name] for name in parameters if f"${name}" in statement})
    row = connection.execute(_COUNT).fetchone()
    for statement in (_DELETE_VERSIONS, _INSERT_VERSIONS, _DELETE_ITEMS, _INSERT_ITEMS):
        connection.execute(statement)
    for name in _TEMPORARY:
        connection.execute(f"DROP TABLE {name}")
    return int(row[0]) if row else 0


_TOLD = """
    CREATE OR REPLACE TEMP TABLE told AS
    SELECT *
    FROM staged
    QUALIFY row_number() OVER (PARTITION BY item_id, updated_at ORDER BY line DESC, rowid DESC) = 1
"""

# What the store has of the items told; one struct holds all that a version can differ in.
_KNOWN = f"""
    CREATE OR REPLACE TEMP TABLE known AS
    SELECT
        item_id, valid_from, updated_at, told_again, load_id,
        {{{", ".join(f"'{name}': CAST({name} AS {kind})" for name, kind in _VERSIONED.items())}}} AS content
    FROM item_versions
    SEMI JOIN told USING (item_id)
"""


def _tellings(present: frozenset[str]) -> str:
    """Date each row and complete it by the version in force then (`before`, NULL for an unknown item)."""
    named = {c.ATTRIBUTES: c.REST}
    default = {c.AVAILABLE: "TRUE"}
    values = (
        f"'{name}': CAST(dated.{name} AS {kind})"
        if named.get(name, name) in present
        else f"'{name}': coalesce(known.content.{name}, {default.get(name, 'NULL')})"
        for name, kind in _VERSIONED.items()
    )
    return f"""
        CREATE OR REPLACE TEMP TABLE tellings AS
        WITH latest AS (
            SELECT item_id, max(greatest(updated_at, coalesce(list_max(told_again), updated_at))) AS updated_at
            FROM known
            GROUP BY item_id
        ),
        dated AS (
            SELECT
                told.* EXCLUDE (updated_at),
                told.updated_at IS NULL AS undated,
                coalesce(told.updated_at, greatest($moment, latest.updated_at)) AS updated_at
            FROM told
            LEFT JOIN latest USING (item_id)
        )
        SELECT
            dated.item_id,
            dated.updated_at,
            dated.undated,
            dated.updated_at = known.updated_at OR list_contains(known.told_again, dated.updated_at) AS dated_so_before,
            known.content AS before,
            {{{", ".join(values)}}} AS content
        FROM dated
        ASOF LEFT JOIN known
            ON known.item_id = dated.item_id AND known.valid_from <= dated.updated_at
        QUALIFY row_number() OVER (PARTITION BY dated.item_id, dated.updated_at ORDER BY dated.line DESC) = 1
    """


# A new date for the same content is worth keeping, as it tells what held when another version turns up before it.
_FORGET_WHAT_IS_NOT_NEW = """
    DELETE FROM tellings
    WHERE before IS NOT DISTINCT FROM content AND (undated OR dated_so_before)
"""

# Every date under which something was told, known or new; where the content stays the same, a version goes on.
_TIMELINE = """
    CREATE OR REPLACE TEMP TABLE timeline AS
    WITH every AS (
        SELECT item_id, updated_at, content, $load_id AS load_id, TRUE AS new
        FROM tellings
        UNION ALL
        SELECT item_id, unnest(list_prepend(updated_at, coalesce(told_again, []))), content, load_id, FALSE
        FROM known
        SEMI JOIN tellings USING (item_id)
    ),
    single AS (
        SELECT *
        FROM every
        QUALIFY row_number() OVER (PARTITION BY item_id, updated_at ORDER BY new DESC) = 1
    ),
    marked AS (
        SELECT
            *,
            row_number() OVER each_item = 1 AS earliest,
            lag(content) OVER each_item IS DISTINCT FROM content AS starts
        FROM single
        WINDOW each_item AS (PARTITION BY item_id ORDER BY updated_at)
    )
    SELECT *, count_if(starts) OVER (PARTITION BY item_id ORDER BY updated_at) AS version
    FROM marked
"""

# A row is new when its content did not hold at its date, unless the row before it in the same file said the same.
_COUNT = """
    SELECT count(*)
    FROM tellings
    JOIN timeline USING (item_id, updated_at)
    WHERE tellings.before IS DISTINCT FROM tellings.content
        AND (timeline.starts OR coalesce(tellings.dated_so_before, FALSE))
"""

_DELETE_VERSIONS = """
    DELETE FROM item_versions
    WHERE item_id IN (SELECT item_id FROM tellings)
"""

_INSERT_VERSIONS = f"""
    INSERT INTO item_versions (item_id, valid_from, updated_at, {", ".join(_VERSIONED)}, told_again, load_id)
    SELECT
        item_id,
        CASE WHEN earliest THEN TIMESTAMP '1970-01-01' ELSE updated_at END,
        updated_at,
        {", ".join(f"content.{name}" for name in _VERSIONED)},
        again.dates,
        load_id
    FROM timeline
    LEFT JOIN (
        SELECT item_id, version, list(updated_at ORDER BY updated_at) AS dates
        FROM timeline
        WHERE NOT starts
        GROUP BY item_id, version
    ) AS again USING (item_id, version)
    WHERE starts
"""

_DELETE_ITEMS = """
    DELETE FROM items
    WHERE item_id IN (SELECT item_id FROM tellings)
"""

_INSERT_ITEMS = f"""
    INSERT INTO items (item_id, {", ".join(_VERSIONED)}, updated_at)
    SELECT item_id, {", ".join(f"content.{name}" for name in _VERSIONED)}, updated_at
    FROM timeline
    WHERE starts
    QUALIFY version = max(version) OVER (PARTITION BY item_id)
"""
