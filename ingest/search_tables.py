"""Which columns of a DuckDB database, a Parquet file or an SQLite database name this person?"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingest import columns as c
from ingest.erase_outbox import empty_log
from ingest.held import scratch
from ingest.mentions import Person
from ingest.sql_text import identifier, literal

if TYPE_CHECKING:
    import duckdb

_TEXTUAL = ("VARCHAR", "JSON", "ENUM", "BLOB", "UUID", "VARIANT")
SEARCHING = ".searching-"
"""How the folder of a search's own copy begins."""

_CHUNK = 1 << 22
_LOOKS = 3
"""How often a running service may have changed the outbox between two readings of it before we believe the bytes."""


@dataclass(frozen=True, kw_only=True)
class ColumnHits:
    """What one column holds."""

    place: str
    """`table.column`."""
    certain: int
    """Values that name the person."""
    doubtful: int
    """Values that may: a bare number in free text, or an item of the same id."""


@dataclass(frozen=True, kw_only=True)
class TableHits:
    """What the tables of one file hold."""

    columns: tuple[ColumnHits, ...]
    somewhere: bool
    """Whether any value holds the id, also inside a longer one: then bytes alone tell nothing."""
    free_bytes: int = 0
    """How often the bytes hold the id more often than the rows do: deleted rows whose bytes are still there."""


def search_duckdb(path: Path, person: Person) -> TableHits:
    """Search every text column of every table; duckdb.Error when the file is locked or damaged."""
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary ORDER BY ALL"
        ).fetchall()
        parts = [
            _search_relation(connection, f"{identifier(schema)}.{identifier(table)}", table, person)
            for schema, table in tables
        ]
    return TableHits(
        columns=tuple(hits for part in parts for hits in part.columns), somewhere=any(part.somewhere for part in parts)
    )


def search_parquet(path: Path, person: Person) -> TableHits:
    """Search every text column of one file; duckdb.Error when it is damaged."""
    import duckdb

    with duckdb.connect() as connection:
        return _search_relation(connection, f"read_parquet({literal(path)}, hive_partitioning = false)", "", person)


def search_sqlite(path: Path, person: Person) -> TableHits:
    """Search every column of every table, and what deleted rows left; sqlite3.Error when the file is damaged.

    Cells lie side by side in an SQLite file, so bytes do not show where an id ends. They are counted instead, in the
    file and in a fresh copy that has no free space: what is there more often stands in free space.
    """
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        hits, somewhere = [], False
        for table, column in _sqlite_columns(connection):
            certain = doubtful = 0
            for value in _sqlite_candidates(connection, table, column, person.spellings):
                somewhere = True
                if column == c.USER_ID:
                    certain += value in person.ids
                elif column != c.ITEM_ID and person.is_named_in(value):
                    certain += 1
                elif person.may_be_named_in(value):
                    doubtful += 1
            if certain or doubtful:
                hits.append(ColumnHits(place=f"{table}.{column}", certain=certain, doubtful=doubtful))
        free = 0
        for _ in range(_LOOKS):
            empty_log(connection, wait=5)
            free = _count(path, person) - _count_in_copy(connection, path, person)
            if free <= 0:
                break
    return TableHits(columns=tuple(hits), somewhere=somewhere, free_bytes=max(free, 0))


def _search_relation(connection: "duckdb.DuckDBPyConnection", relation: str, table: str, person: Person) -> TableHits:
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    columns = [
        name
        for name, kind, *_ in described
        if name == c.USER_ID or any(textual in kind.upper() for textual in _TEXTUAL)
    ]
    spelled = {f"spelled{number}": form for number, form in enumerate(person.spellings)}
    near = {name: "(" + " OR ".join(f"contains({_text_of(name)}, ${key})" for key in spelled) + ")" for name in columns}
    holding = _counts(connection, relation, near, spelled)
    hits = []
    # The rule costs a lot more than looking for the characters, and most columns do not even hold those.
    for name in [name for name in columns if holding[name]]:
        conditions = _conditions(name, near[name], person)
        found = _counts(connection, relation, conditions, {**spelled, "ids": list(person.ids)})
        if any(found.values()):
            hits.append(ColumnHits(place=f"{table}.{name}" if table else name, **found))
    return TableHits(columns=tuple(hits), somewhere=any(holding.values()))


def _conditions(name: str, near: str, person: Person) -> dict[str, str]:
    """Return when a value of a column names the person for certain, and when it is only doubtful."""
    text = _text_of(name)
    if name == c.USER_ID:
        return {"certain": f"list_contains($ids, {text})", "doubtful": "FALSE"}
    alone = f"({near} AND regexp_matches({text}, {literal(person.sql_alone)}))"
    number = person.sql_number_alone
    bare = f"({near} AND regexp_matches({text}, {literal(number)}))" if number else "FALSE"
    if name == c.ITEM_ID:
        return {"certain": "FALSE", "doubtful": f"({alone} OR {bare})"}
    return {"certain": alone, "doubtful": f"({bare} AND NOT {alone})"}


def _counts(
    connection: "duckdb.DuckDBPyConnection", relation: str, conditions: dict[str, str], parameters: Mapping[str, object]
) -> dict[str, int]:
    """Count the rows of a relation under each condition, in one scan."""
    if not conditions:
        return {}
    counted = ", ".join(f"count_if({condition})" for condition in conditions.values())
    used = {key: value for key, value in parameters.items() if f"${key}" in counted}
    row = connection.execute(f"SELECT {counted} FROM {relation}", used).fetchone()
    assert row is not None
    return dict(zip(conditions, row, strict=True))


def _text_of(column: str) -> str:
    return f"CAST({identifier(column)} AS VARCHAR)"


def _sqlite_columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute(
        """
        SELECT tables.name, columns.name
        FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table'
        """
    ).fetchall()


def _sqlite_candidates(
    connection: sqlite3.Connection, table: str, column: str, spellings: Sequence[str]
) -> Iterator[str]:
    text = f"CAST({identifier(column)} AS TEXT)"
    near = " OR ".join(f"instr({text}, ?)" for _ in spellings)
    connection.text_factory = lambda value: value.decode("utf-8", "replace")
    for (value,) in connection.execute(f"SELECT {text} FROM {identifier(table)} WHERE {near}", list(spellings)):
        yield value


def _count_in_copy(connection: sqlite3.Connection, path: Path, person: Person) -> int:
    with scratch(path.parent, SEARCHING) as folder:
        copy = folder / "copy.sqlite"
        connection.execute("VACUUM INTO ?", (str(copy),))
        return _count(copy, person)


def _count(path: Path, person: Person) -> int:
    """Count the id in the bytes of a file, wherever it stands."""
    overlap = max(map(len, person.literals))
    found, rest = 0, b""
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            block = rest + block
            last = 0
            for match in person.exact.finditer(block):
                found, last = found + 1, match.end()
            rest = block[max(last, len(block) - overlap + 1) :]
    return found
