"""How does a person leave the store, byte for byte? It is written anew without them and renamed over the old one.

Deleting rows would leave their bytes in blocks that DuckDB reuses some day. The old file stays as it is until the new
one is whole, checked and on disk; a run killed before the renaming has changed nothing.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ingest import columns as c
from ingest.errors import StoreError
from ingest.held import lock_of, scratch
from ingest.mentions import Person
from ingest.progress import Progress, silent
from ingest.sql_text import identifier, literal
from ingest.store import MEMORY_LIMIT, Store
from ingest.store_errors import translated
from ingest.whole_file import WRITING, make_durable

if TYPE_CHECKING:
    import duckdb

_STEP = "write the store anew"

_SHAPE = """
    SELECT schema_name, table_name, column_name, data_type, is_nullable, column_default, comment
    FROM duckdb_columns()
    WHERE database_name = $name AND NOT internal
    UNION ALL
    SELECT schema_name, table_name, '', '', FALSE, '', comment
    FROM duckdb_tables()
    WHERE database_name = $name AND NOT internal
    UNION ALL
    SELECT schema_name, view_name, '', '', FALSE, sql, comment
    FROM duckdb_views()
    WHERE database_name = $name AND NOT internal
    ORDER BY ALL
"""


def rewrite_without(
    path: Path,
    person: Person,
    sign: Callable[["duckdb.DuckDBPyConnection", str, dict[str, int]], None],
    *,
    progress: Progress = silent,
) -> dict[str, int]:
    """Replace the store by one without the person; gives the rows removed, by table.

    `sign(connection, database, rows)` may add to the new store before it takes the old one's place. No job can write
    from the first read to the renaming. StoreError: a job is at work, or the disk has no room for a second store.
    """
    settle(path)
    path = path.resolve()  # a link would be replaced, and what it leads to would stay
    with scratch(path.parent, WRITING) as folder, translated(path):
        return _rewrite(path, folder / path.name, person, sign, progress)


def settle(path: Path) -> None:
    """Bring the store's write-ahead log into its file and remove what killed jobs left beside it; nobody else has it.

    New stores under way are made by jobs that hold the old one, and so does this: what lies there is left over for
    sure. Where the store is a link they lie beside what it leads to, and no other job looks there.
    """
    with Store.open(path) as store:
        path = path.resolve()
        for left in path.parent.glob(f".{path.name}.*.new*"):  # as earlier versions named them
            _remove(left)
        for left in path.parent.glob(f"{WRITING}*/{path.name}"):
            _remove(left.parent)
            lock_of(left.parent).unlink(missing_ok=True)
        spilled = path.with_name(path.name + ".tmp")
        for left in spilled.iterdir() if spilled.is_dir() else ():
            _remove(left)
        store.connection.execute("CHECKPOINT")


def _rewrite(
    path: Path,
    fresh: Path,
    person: Person,
    sign: Callable[["duckdb.DuckDBPyConnection", str, dict[str, int]], None],
    progress: Progress,
) -> dict[str, int]:
    import duckdb

    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": f"{fresh}.tmp"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        # Reading only still locks writers out, and closing it touches nothing, also once another file has its name.
        connection.execute(f"ATTACH {literal(path)} AS old (READ_ONLY)")
        if path.with_name(path.name + ".wal").exists():
            raise StoreError(f"{path}: another job wrote it just now; run it again")
        connection.execute(f"ATTACH {literal(fresh)} AS fresh")
        connection.execute("COPY FROM DATABASE old TO fresh (SCHEMA)")
        removed, kept = _copy_others(connection, person, progress)
        connection.execute("DETACH fresh")
        # Read back from the disk: what is compared is what will be there.
        connection.execute(f"ATTACH {literal(fresh)} AS fresh")
        if _shape(connection, "old") != _shape(connection, "fresh"):
            raise StoreError(f"{path}: the new store has other tables than the old one, which stays; report this")
        for number, (name, wanted) in enumerate(kept.items(), start=len(kept)):
            progress(_STEP, number, 2 * len(kept), "checking")
            if _sums(connection, f"fresh.{name}", "TRUE") != wanted:
                raise StoreError(f"{path}: table {name} was not copied whole, the old store stays; check the disk")
        sign(connection, "fresh", removed)
        connection.execute("DETACH fresh")
        shutil.copymode(path, fresh)
        make_durable(fresh)
        fresh.replace(path)
        make_durable(path.parent)
        progress(_STEP, 2 * len(kept), 2 * len(kept))
    return removed


def _copy_others(
    connection: "duckdb.DuckDBPyConnection", person: Person, progress: Progress
) -> tuple[dict[str, int], dict[str, tuple[int, int | None]]]:
    """Copy the rows of all others; return the rows left out by table, and the sums of what was to be copied by name."""
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'old' AND NOT internal"
    ).fetchall()
    removed: dict[str, int] = {}
    kept: dict[str, tuple[int, int | None]] = {}
    for number, (schema, table) in enumerate(tables):
        progress(_STEP, number, 2 * len(tables), table)
        name = f"{identifier(schema)}.{identifier(table)}"
        staying = f"NOT coalesce({_of_person(connection, schema, table, person)}, FALSE)"
        n_before = _count(connection, f"old.{name}")
        kept[name] = _sums(connection, f"old.{name}", staying)
        connection.execute(f"INSERT INTO fresh.{name} SELECT * FROM old.{name} AS it WHERE {staying}")
        if n_before > kept[name][0]:
            removed[table] = removed.get(table, 0) + n_before - kept[name][0]
    return removed, kept


def _of_person(connection: "duckdb.DuckDBPyConnection", schema: str, table: str, person: Person) -> str:
    """Return the condition under which a row of a table is the person's."""
    columns = {
        name
        for (name,) in connection.execute(
            """
            SELECT column_name
            FROM duckdb_columns()
            WHERE database_name = 'old' AND schema_name = ? AND table_name = ?
            """,
            [schema, table],
        ).fetchall()
    }
    ids = ", ".join(map(literal, person.ids))
    if table == "rejected_rows":
        # A row that was read names its user itself, perhaps within a list or an object, or with control characters; of
        # a line that could not be read, any mention counts. In between is a record without user_id, where a bare number
        # may be an item.
        read = "json_extract_string(CASE WHEN json_valid(it.raw) THEN it.raw END, '$.user_id')"
        user = f"coalesce(it.user_id, {read})" if c.USER_ID in columns else read
        mention = literal("|".join(filter(None, (person.sql_alone, person.sql_number_alone))))
        return f"""
            CASE
                WHEN {user} IS NOT NULL THEN
                    regexp_replace({user}, '\\.0$', '') IN ({ids})
                    OR trim(regexp_replace({user}, '[[:cntrl:]]', '', 'g')) IN ({ids})
                    OR (regexp_matches({user}, '^[[{{]') AND regexp_matches({user}, {mention}))
                WHEN json_valid(it.raw) THEN regexp_matches(it.raw, {literal(person.sql_alone)})
                ELSE regexp_matches(concat_ws(' ', it.raw, it.detail), {mention})
            END
        """
    if c.USER_ID in columns:
        return f"CAST(it.user_id AS VARCHAR) IN ({ids})"
    return "FALSE"


def _count(connection: "duckdb.DuckDBPyConnection", table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def _sums(connection: "duckdb.DuckDBPyConnection", table: str, condition: str) -> tuple[int, int | None]:
    """Count rows and sum their hashes: equal sums in another order of rows, other sums for any other content."""
    row = connection.execute(f"SELECT count(*), sum(hash(it)) FROM {table} AS it WHERE {condition}").fetchone()
    assert row is not None
    return row[0], row[1]


def _shape(connection: "duckdb.DuckDBPyConnection", database: str) -> list[tuple[object, ...]]:
    return connection.execute(_SHAPE, {"name": database}).fetchall()


def _remove(path: Path) -> None:
    """Remove a file or folder with DuckDB's companions: its write-ahead log and what it spilled."""
    for suffix in ("", ".wal", ".tmp"):
        left = path.with_name(path.name + suffix)
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
