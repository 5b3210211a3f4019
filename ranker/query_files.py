"""What is asked in a file, and where does the answer go? Queries and requests in; Parquet, CSV or JSON lines out."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl

from ingest import columns as c
from ingest.binary_columns import as_utf8
from ingest.errors import first_line
from ingest.times import parse_times
from ingest.values import as_id, as_text, is_absent
from ingest.whole_file import written_whole
from ranker.errors import QueryFileError

QUERY: Final = (c.QUERY_ID, c.USER_ID, c.AS_OF)
"""Columns of a query; `as_of` may be left out."""
REQUEST: Final = (c.REQUEST_ID, c.USER_ID, c.ITEM_ID, c.OCCURRED_AT)
"""Columns of an item of a request."""
_STORED = (c.USER_ID, c.ITEM_ID)
"""Ids that must read as `ingest` has stored them; others come back with the answer as they were, of the type that they
have in Parquet, as text from the other formats."""
FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson")
_FIRST_LINES: Final = 100
"""So many JSON lines are asked which columns they have."""


def read_queries(path: Path) -> pl.DataFrame:
    """Read query_id, user_id and, if there, as_of (naive UTC); null there stands for the end of the bundle's history.

    Each row is a query of its own: an id in two rows is refused, as nothing would tell their answers apart.
    """
    frame = _read(path, QUERY[:2])
    twice = frame[c.QUERY_ID].filter(frame[c.QUERY_ID].is_duplicated())
    if len(twice):
        raise QueryFileError(
            f"{path}: wanted a '{c.QUERY_ID}' of its own in every row, got {twice[0]!r:.60} in several; number the rows"
        )
    if c.AS_OF not in frame.columns:
        return frame.select(c.QUERY_ID, c.USER_ID)
    return frame.select(c.QUERY_ID, c.USER_ID, _moments(path, frame, c.AS_OF))


def read_requests(path: Path) -> pl.DataFrame:
    """Read request_id, user_id, item_id and occurred_at (naive UTC): one row for each item of a request."""
    frame = _read(path, REQUEST)
    moments = _moments(path, frame, c.OCCURRED_AT)
    missing = moments.is_null().sum()
    if missing:
        raise QueryFileError(f"{path}: wanted '{c.OCCURRED_AT}' in every row, got {missing} rows without; fill them in")
    return frame.select(c.REQUEST_ID, c.USER_ID, c.ITEM_ID).with_columns(moments)


def columns_not_read(path: Path, read: Sequence[str]) -> list[str]:
    """Return the other columns of a file that has been read: one of them may be a name that was mistyped."""
    if path.suffix == ".parquet":
        names = list(pl.read_parquet_schema(path))
    elif path.suffix == ".csv":
        names = pl.read_csv(path, n_rows=0, infer_schema=False).columns
    else:
        names = list(dict.fromkeys(name for line in _first_lines(path) for name in line))
    return [name for name in names if name not in read]


def check_answers(path: Path, questions: Path) -> None:
    """Raise QueryFileError where answers cannot be written: known before hours have gone into them."""
    if path.suffix not in FORMATS:
        raise QueryFileError(f"{path}: wanted a name ending in {', '.join(FORMATS)}, got '{path.suffix}'; choose one")
    if not path.parent.is_dir():
        raise QueryFileError(f"{path}: wanted an existing folder, found none; make {path.parent} first")
    if path.is_dir():
        raise QueryFileError(f"{path}: wanted a file to write, found a folder; choose another name")
    if path.exists() and questions.exists() and path.samefile(questions):
        raise QueryFileError(f"{path}: wanted another file for the answers, got that of the questions; rename it")
    if not os.access(path.parent, os.W_OK):
        raise QueryFileError(f"{path}: wanted a folder to write in, got one without permission; choose another")


def write_answers(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame in the format of the file's name, whole or not at all; the path is one that was checked."""
    try:
        with written_whole(path) as unfinished:
            if path.suffix == ".parquet":
                frame.write_parquet(unfinished)
            elif path.suffix == ".csv":
                frame.write_csv(unfinished)
            else:
                frame.write_ndjson(unfinished)
    except OSError as error:
        raise QueryFileError(f"{path}: could not write there ({error}); choose another place") from error


def _read(path: Path, wanted: Sequence[str]) -> pl.DataFrame:
    if not path.is_file():
        raise QueryFileError(f"{path}: wanted a file, found none; check the path")
    try:
        if path.suffix == ".parquet":
            frame = as_utf8(pl.read_parquet(path))
        elif path.suffix == ".csv":
            frame = pl.read_csv(path, infer_schema=False)
        elif path.suffix in FORMATS:
            frame = _read_lines(path, [*wanted, c.AS_OF])
        else:
            raise QueryFileError(f"{path}: wanted one of {', '.join(FORMATS)}, got '{path.suffix}'; convert the file")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise QueryFileError(
            f"{path}: wanted {path.suffix[1:]}, could not read it as that ({first_line(error)}); "
            "convert it, or give it the ending of its format"
        ) from error
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise QueryFileError(
            f"{path}: wanted columns {', '.join(wanted)}, found {', '.join(frame.columns)}; "
            f"rename or add {', '.join(missing)}"
        )
    ids = [name for name in wanted if name != c.OCCURRED_AT]
    for name in ids:
        if frame[name].dtype.is_nested():
            raise QueryFileError(f"{path}: wanted one '{name}' in every row, got {frame[name].dtype}; write a row each")
    frame = frame.with_columns(_ids(frame[name]) for name in ids)
    empty = [name for name in ids if frame[name].null_count()]
    if empty:
        raise QueryFileError(f"{path}: wanted '{empty[0]}' in every row, got rows without; fill them in")
    return frame


def _ids(asked: pl.Series) -> pl.Series:
    if asked.name in _STORED:
        return as_id(asked)
    return asked if asked.dtype.is_integer() else as_text(asked)


def _read_lines(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Read the columns, each value as it is written: numbers may stand beside texts. Without one of those wanted, what
    the first lines hold is returned, to be told."""
    frame = pl.read_ndjson(path, schema=dict.fromkeys(columns, pl.String))
    if frame.is_empty():  # nobody to ask for: without a line nothing tells of columns
        return frame
    for line in _first_lines(path):
        for name in columns:
            if isinstance(line.get(name), list | dict):
                raise QueryFileError(
                    f"{path}: wanted one '{name}' in every line, got {line[name]!r:.60}; write a line each"
                )
    missing = [name for name in columns if frame[name].null_count() == len(frame)]
    if any(name != c.AS_OF for name in missing):
        return pl.read_ndjson(path)
    return frame.drop(missing)


def _first_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects among the first lines; what else there is the reader of the whole file tells."""
    found = []
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for line in islice(lines, _FIRST_LINES):
            with suppress(ValueError, RecursionError):
                found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


def _moments(path: Path, frame: pl.DataFrame, column: str) -> pl.Series:
    moments = parse_times(frame[column])
    bad = (moments.is_null() & ~is_absent(frame[column])).arg_true()
    if len(bad):
        got = frame[column].gather(bad[:1]).item()
        raise QueryFileError(
            f"{path}: column '{column}' must hold times, got {got!r} in row {bad[0] + 1}; "
            "write them as ISO 8601 or as Unix seconds"
        )
    return moments.alias(column)
