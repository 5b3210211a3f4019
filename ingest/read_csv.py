"""How does CSV come in batches? Polars parses whole chunks; a chunk it refuses is read record by record instead."""

import csv
import io
from collections.abc import Iterator
from itertools import chain

import numpy as np
import polars as pl

from ingest import columns as c
from ingest.batches import BROKEN_SCHEMA, Batch, named, none_broken
from ingest.checks import RAW_LENGTH
from ingest.errors import InputFileError
from ingest.lines import numbered_lines
from ingest.mapping import ColumnsConfig, layout
from ingest.sources import Source

_SEPARATORS = ",\t;|"
_MAX_RECORD_LINES = 1000
_MAX_CARRIED_BYTES = 4 << 20


def read_csv(source: Source, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of a CSV file with a header; separators are told by the header; all values are strings.

    A value in double quotes may hold separators, doubled quotes and line breaks. Lines without any value are skipped.
    """
    chunks = source.chunks()
    first = next(chunks, b"")
    header, _, body = first.partition(b"\n")
    names, separator = _header(header, source)
    table = layout(names, config, path=source.path)
    next_line = 2
    for records in _whole_records(chain([body], chunks)):
        parsed = _fast(records, names, separator, next_line)
        frame, lines, broken = parsed or _record_by_record(records, names, separator, next_line)
        next_line += records.count(b"\n")
        empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
        if empty.any():
            frame, lines = frame.filter(~empty), lines.filter(~empty)
        rows, present = named(frame, table, lines)
        yield Batch(table.table, present, rows, broken, source.bytes_done)


def _header(line: bytes, source: Source) -> tuple[list[str], str]:
    try:
        text = line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"{source.path}: wanted CSV in UTF-8, got other bytes in its header; convert it"
        ) from error
    separator = max(_SEPARATORS, key=text.count)
    names = [name.strip() for name in next(csv.reader([text], delimiter=separator), [])]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputFileError(f"{source.path}: the column '{twice[0]}' stands twice in the header; rename one")
    # Unnamed columns (a data frame's index) get names that nobody else has, so that rows still fit.
    return [name or f"__index_level_{at}__" for at, name in enumerate(names)], separator


def _whole_records(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut the text where no quotation is open; a chunk whose quotes never balance comes as it is."""
    carried = b""
    for chunk in chunks:
        text = carried + chunk
        carried = _left_over(text)
        whole = text[: len(text) - len(carried)]
        if whole:
            yield whole if whole.endswith(b"\n") else whole + b"\n"
    if carried:
        yield carried if carried.endswith(b"\n") else carried + b"\n"


def _left_over(text: bytes) -> bytes:
    """Return what follows the last line break outside quotes, or nothing when that is too much to be one record."""
    if text.count(b'"') % 2 == 0:
        return b""
    ends, outside = _line_ends(text)
    last = int(ends[outside][-1]) + 1 if outside.any() else 0
    return text[last:] if len(text) - last <= _MAX_CARRIED_BYTES else b""


def _line_ends(
    text: bytes,
) -> tuple["np.ndarray[tuple[int], np.dtype[np.intp]]", "np.ndarray[tuple[int], np.dtype[np.bool]]"]:
    """Positions of line breaks, and whether each lies outside quotes."""
    octets = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(octets == ord("\n"))
    # Counting modulo 256 keeps the parity and an eighth of the memory.
    quotes = np.cumsum(octets == ord('"'), dtype=np.uint8)
    return ends, quotes[ends] % 2 == 0


def _fast(
    records: bytes, names: list[str], separator: str, first_line: int
) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame] | None:
    quoted = b'"' in records
    try:
        frame = pl.read_csv(
            records,
            has_header=False,
            schema=dict.fromkeys(names, pl.String),
            separator=separator,
            quote_char='"' if quoted else None,
        )
    except pl.exceptions.PolarsError:
        return None
    if quoted:
        _, outside = _line_ends(records)
        starts = np.concatenate([[0], np.flatnonzero(outside)[:-1] + 1]) + first_line
    else:
        starts = np.arange(first_line, first_line + records.count(b"\n"))
    if len(starts) != frame.height:
        return None
    return frame, pl.Series(c.LINE, starts), none_broken()


def _record_by_record(
    records: bytes, names: list[str], separator: str, first_line: int
) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
    """Read what Polars refused: every record that can be read is kept, every other one is explained."""
    lines, broken, _ = numbered_lines(records, first_line=first_line)
    numbers, texts = lines[c.LINE].to_list(), lines[c.RAW].to_list()
    good: list[list[str | None]] = []
    good_lines: list[int] = []
    bad: list[tuple[int, str, str, str]] = []
    at = 0
    while at < len(texts):
        n_lines, fields = _one_record(texts, at, separator)
        raw = texts[at][:RAW_LENGTH]
        if fields is None:
            bad.append((numbers[at], "bad_quoting", "a quotation mark opens or closes where none can; double it", raw))
        elif len(fields) > len(names):
            detail = f"wanted {len(names)} values, got {len(fields)}; put values with separators in quotes"
            bad.append((numbers[at], "field_count", detail, raw))
        else:
            good.append([value or None for value in fields] + [None] * (len(names) - len(fields)))
            good_lines.append(numbers[at])
        at += n_lines
    frame = pl.DataFrame(good, schema=dict.fromkeys(names, pl.String), orient="row")
    rejected = pl.DataFrame(bad, schema=BROKEN_SCHEMA, orient="row")
    return frame, pl.Series(c.LINE, good_lines, dtype=pl.Int64), pl.concat([broken, rejected]).sort(c.LINE)


def _one_record(texts: list[str], at: int, separator: str) -> tuple[int, list[str] | None]:
    """Parse the record that begins at line `at`; return how many lines it took and its values, None if it is bad."""
    text = texts[at]
    for n_lines in range(1, min(_MAX_RECORD_LINES, len(texts) - at) + 1):
        if n_lines > 1:
            text += "\n" + texts[at + n_lines - 1]
            if '"' not in texts[at + n_lines - 1]:
                continue
        try:
            return n_lines, next(csv.reader(io.StringIO(text), delimiter=separator, strict=True), [])
        except csv.Error as error:
            if "unexpected end of data" not in str(error):
                return 1, None
    return 1, None
