"""How do checked items become part of the store? Each change is put at its moment; `items` keeps the present state.

A version is dated by the catalogue (`updated_at`), else by its load. It holds from its date until the next one's; the
earliest known holds from 1970 on, because nothing is known that was before it. So files with dates may come in any
order, and the same file twice changes nothing.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from ingest import columns as c
from ingest.stage import COLUMN_TYPES

if TYPE_CHECKING:
    import duckdb

_VERSIONED = {
    name: COLUMN_TYPES["items"][name]
    for name in (c.TITLE, c.DESCRIPTION, c.CATEGORIES, c.ATTRIBUTES, c.PUBLISHED_AT, c.AVAILABLE)
}
_TEMPORARY = ("known", "dated", "tellings", "timeline")


def merge_items(
    connection: "duckdb.DuckDBPyConnection", *, load_id: str, moment: datetime, present: frozenset[str]
) -> int:
    """Take over the temp table `staged`; return how many of its rows say something new. The caller drops `staged`.

    `present` names the columns that the file had (`rest` for those that become attributes); columns that it lacks keep
    the values of the version in force at the row's date. Of several rows with one item and date the last counts, and
    it replaces a version of the same date. A row without a date is always the present state: it is dated `moment`, or
    as the latest version known if that lies later.
    """
    connection.execute(_KNOWN)
    connection.execute(_DATED, {"moment": moment})
    connection.execute(_tellings(present))
    connection.execute(_TIMELINE, {"load_id": load_id})
    row = connection.execute(_COUNT).fetchone()
    for statement in (_DELETE_VERSIONS, _INSERT_VERSIONS, _DELETE_ITEMS, _INSERT_ITEMS):
        connection.execute(statement)
    for name in _TEMPORARY:
        connection.execute(f"DROP TABLE {name}")
    return int(row[0]) if row else 0


# What the store has of the items told; one struct holds all that a version can differ in.
_KNOWN = f"""
    CREATE OR REPLACE TEMP TABLE known AS
    SELECT
        item_id, valid_from, updated_at, told_again, load_id,
        {{{", ".join(f"'{name}': CAST({name} AS {kind})" for name, kind in _VERSIONED.items())}}} AS content
    FROM item_versions
    SEMI JOIN staged USING (item_id)
"""

# Which rows count, their dates, and the version in force then; by row numbers, as sorting texts is slow.
_DATED = """
    CREATE OR REPLACE TEMP TABLE dated AS
    WITH latest AS (
        SELECT item_id, max(greatest(updated_at, coalesce(list_max(told_again), updated_at))) AS updated_at
        FROM known
        GROUP BY item_id
    ),
    told AS (
        SELECT
            staged.rowid AS row,
            staged.item_id,
            staged.line,
            staged.updated_at IS NULL AS undated,
            coalesce(staged.updated_at, greatest($moment, latest.updated_at)) AS updated_at
        FROM staged
        LEFT JOIN latest USING (item_id)
    ),
    versions AS (
        SELECT rowid AS row, item_id, valid_from, list_prepend(updated_at, coalesce(told_again, [])) AS dates
        FROM known
    )
    SELECT
        told.row,
        told.item_id,
        told.undated,
        told.updated_at,
        versions.row AS known_row,
        list_contains(versions.dates, told.updated_at) AS dated_so_before
    FROM told
    ASOF LEFT JOIN versions
        ON versions.item_id = told.item_id AND versions.valid_from <= told.updated_at
    QUALIFY row_number() OVER (PARTITION BY told.item_id, told.updated_at ORDER BY told.line DESC, told.row DESC) = 1
"""


def _tellings(present: frozenset[str]) -> str:
    """Complete each row by the version in force at its date, and keep those that say what the store does not know.

    A new date for the same content is worth keeping: it tells what held should another version turn up before it.
    """
    named = {c.ATTRIBUTES: c.REST}
    default = {c.AVAILABLE: "TRUE"}
    values = (
        f"'{name}': CAST(staged.{name} AS {kind})"
        if named.get(name, name) in present
        else f"'{name}': coalesce(known.content.{name}, {default.get(name, 'NULL')})"
        for name, kind in _VERSIONED.items()
    )
    return f"""
        CREATE OR REPLACE TEMP TABLE tellings AS
        SELECT
            dated.item_id,
            dated.updated_at,
            dated.dated_so_before,
            {{{", ".join(values)}}} AS told,
            known.content IS DISTINCT FROM told AS differs
        FROM dated
        JOIN staged ON staged.rowid = dated.row
        LEFT JOIN known ON known.rowid = dated.known_row
        WHERE differs OR NOT (dated.undated OR dated.dated_so_before)
    """


# Every date under which something was told, known or new; where the content stays the same, a version goes on.
# Two contents of one item that follow each other and share a 64-bit hash would be taken for one: not to be expected.
_TIMELINE = """
    CREATE OR REPLACE TEMP TABLE timeline AS
    WITH every AS (
        SELECT item_id, updated_at, hash(told) AS hashed, $load_id AS load_id, TRUE AS new, rowid AS row
        FROM tellings
        UNION ALL
        SELECT
            item_id, unnest(list_prepend(updated_at, coalesce(told_again, []))), hash(content), load_id, FALSE, rowid
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
            lag(hashed) OVER each_item IS DISTINCT FROM hashed AS starts
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
    WHERE tellings.differs AND (timeline.starts OR coalesce(tellings.dated_so_before, FALSE))
"""

_DELETE_VERSIONS = """
    DELETE FROM item_versions
    WHERE item_id IN (SELECT item_id FROM tellings)
"""

_INSERT_VERSIONS = f"""
    INSERT INTO item_versions (item_id, valid_from, updated_at, {", ".join(_VERSIONED)}, told_again, load_id)
    SELECT
        timeline.item_id,
        CASE WHEN earliest THEN TIMESTAMP '1970-01-01' ELSE timeline.updated_at END,
        timeline.updated_at,
        {", ".join(f"contents.content.{name}" for name in _VERSIONED)},
        again.dates,
        timeline.load_id
    FROM timeline
    JOIN (
        SELECT TRUE AS new, rowid AS row, told AS content FROM tellings
        UNION ALL
        SELECT FALSE, rowid, content FROM known
    ) AS contents USING (new, row)
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
    SELECT item_id, {", ".join(_VERSIONED)}, updated_at
    FROM item_versions
    SEMI JOIN (
        SELECT item_id, max(updated_at) AS updated_at
        FROM timeline
        WHERE starts
        GROUP BY item_id
    ) AS latest USING (item_id, updated_at)
"""
