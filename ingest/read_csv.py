"""How does CSV come in batches? Polars parses whole chunks; a chunk it refuses is read record by record instead."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest import columns as c
from ingest.as_read import AsRead
from ingest.batches import BROKEN_SCHEMA, Batch, ParsedRows, nameless, none_broken, not_utf8, with_names
from ingest.errors import InputFileError
from ingest.lines import Records
from ingest.mapping import ColumnsConfig, layout
from ingest.sources import MAX_LINE_BYTES, Source

_SEPARATORS = ",\t;|"
_BLANK_LINES = re.compile(rb"\A(?:[ \t\r]*\n)+")
_MAX_TRIES = 1000
_MAX_CARRIED_BYTES = 4 << 20

csv.field_size_limit(MAX_LINE_BYTES)  # Python's own 128 KiB would refuse a long text as badly quoted


def read_csv(source: Source, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of a CSV file with a header; separators are told by the header; all values are strings.

    A value in double quotes may hold separators, doubled quotes and line breaks. A row needs as many values as the
    header has names, empty ones too; lines without any value are skipped.
    """
    csv_file = OpenCsv.of(source)
    if not csv_file.names:
        return
    here = layout(csv_file.names, config, path=source.path)
    for records in csv_file.records():
        rows, present = with_names(records.frame, here, records.lines)
        as_read = AsRead(records.as_read, here.user_columns, layout=here)
        yield Batch(here.table, present, rows, records.broken, records.bytes_done, as_read)


@dataclass(frozen=True)
class OpenCsv:
    """A CSV file whose header has been read."""

    source: Source
    names: list[str]
    separator: str
    first_line: int
    chunks: Iterator[bytes]

    @classmethod
    def of(cls, source: Source, *, headless: Sequence[str] = ()) -> "OpenCsv":
        """Read the header, after blank lines if need be; a file of these alone has no columns.

        `headless` names the columns of a file that has none, with commas between its values. Even then a first line
        that holds two of these names, spelled one way or another, is a header.
        """
        chunks = source.chunks()
        n_blank = 0
        for chunk in chunks:
            first = _BLANK_LINES.sub(b"", chunk, count=1)
            n_blank += chunk.count(b"\n") - first.count(b"\n")
            if first.strip():
                break
        else:
            return cls(source, list(headless), ",", 1, iter(()))
        header, _, body = first.partition(b"\n")
        if headless and not _is_header(header, headless):
            return cls(source, list(headless), ",", 1 + n_blank, chain([first], chunks))
        names, separator = _header(header, source)
        return cls(source, names, separator, 2 + n_blank, chain([body], chunks))

    def records(self) -> Iterator[Records]:
        """Yield all rows as strings, empty values as null."""
        next_line = self.first_line
        for text in _whole_records(self.chunks):
            read = _fast(text, self.names, self.separator, next_line)
            frame, lines, broken = read or _record_by_record(text, self.names, self.separator, next_line)
            next_line += text.count(b"\n")
            empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
            if empty.any():
                frame, lines = frame.filter(~empty), lines.filter(~empty)
            yield Records(frame, lines, broken, self.source.bytes_done)


def _is_header(line: bytes, names: Sequence[str]) -> bool:
    def spelled(name: str) -> str:
        return "".join(filter(str.isalpha, name)).lower()

    cells = {spelled(cell) for cell in line.decode("utf-8", "replace").split(",")}
    return len(cells & {spelled(name) for name in names}) > 1


def _header(line: bytes, source: Source) -> tuple[list[str], str]:
    try:
        text = line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"{source.path}: wanted CSV in UTF-8, got other bytes in its header; convert it"
        ) from error
    separator = max(_SEPARATORS, key=text.count)
    try:
        names = [name.strip() for name in next(csv.reader([text], delimiter=separator), [])]
    except csv.Error as error:
        if "\r" in text:
            raise InputFileError(
                f"{source.path}: wanted lines that end in a line feed, got carriage returns alone; convert it "
                "(tr '\\r' '\\n' < FILE)"
            ) from error
        raise InputFileError(
            f"{source.path}: wanted a header of column names, got {text[:60]!r} ({error}); mend the first line"
        ) from error
    twice = sorted(name for name, n in Counter(names).items() if name and n > 1)
    if twice:
        raise InputFileError(f"{source.path}: the column '{twice[0]}' stands twice in the header; rename one")
    # Unnamed columns (a data frame's index) get names that nobody else has, so that rows still fit.
    return [name or nameless(at) for at, name in enumerate(names)], separator


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
    octets = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero((octets == ord("\n")) & _outside_quotes(text))
    last = int(ends[-1]) + 1 if len(ends) else 0
    return text[last:] if len(text) - last <= _MAX_CARRIED_BYTES else b""


def _outside_quotes(text: bytes) -> NDArray[np.bool]:
    """Tell for each byte whether the quotes before it are balanced."""
    # Each quotation mark turns it over: five times as fast as counting them.
    quotes = np.frombuffer(text, dtype=np.uint8) == ord('"')
    return np.logical_not(np.bitwise_xor.accumulate(quotes.view(np.uint8)).view(np.bool))


def _are_misleading(octets: NDArray[np.uint8], separator: str) -> bool:
    """Whether a quotation mark within a value, as of inches, makes separators or line breaks after it look quoted."""
    quotes = np.flatnonzero(octets == ord('"'))
    opening, closing = quotes[::2], np.append(quotes[1::2], len(octets))
    # Before the first byte stands, as Python counts, the line break at the end.
    within = ~np.isin(octets[opening - 1], [ord(separator), ord("\n"), ord('"')])
    if not within.any():
        return False
    edges = np.flatnonzero((octets == ord(separator)) | (octets == ord("\n")))
    n_before = (np.searchsorted(edges, marks[: len(opening)][within]) for marks in (opening, closing))
    return bool(np.not_equal(*n_before).any())


def _fast(text: bytes, names: list[str], separator: str, first_line: int) -> ParsedRows | None:
    quoted = b'"' in text
    octets = np.frombuffer(text, dtype=np.uint8)
    if quoted and _are_misleading(octets, separator):
        return None
    try:
        frame = pl.read_csv(
            text,
            has_header=False,
            schema=dict.fromkeys(names, pl.String),
            separator=separator,
            quote_char='"' if quoted else None,
        )
    except pl.exceptions.PolarsError:
        return None
    if b'""' in text:  # nothing in quotes is nothing, too
        frame = frame.with_columns(pl.when(frame[name] != "").then(frame[name]).alias(name) for name in names)
    if quoted:
        outside = _outside_quotes(text)
        ends_records = outside[octets == ord("\n")]
        numbers = np.concatenate([[0], np.flatnonzero(ends_records)[:-1] + 1]) + first_line
        n_separators = int(np.count_nonzero((octets == ord(separator)) & outside))
    else:
        numbers = np.arange(first_line, first_line + text.count(b"\n"))
        n_separators = text.count(separator.encode())
    if len(numbers) != frame.height:
        return None
    lines = pl.Series(c.LINE, numbers)
    if n_separators == frame.height * (len(names) - 1):
        return ParsedRows(frame, lines, none_broken())
    return _without_short_rows(text, frame, lines, separator)


def _without_short_rows(text: bytes, frame: pl.DataFrame, lines: pl.Series, separator: str) -> ParsedRows | None:
    """Set aside the rows that Polars filled up with nulls; the others have exactly one value a column."""
    octets, outside = np.frombuffer(text, dtype=np.uint8), _outside_quotes(text)
    ends = np.flatnonzero((octets == ord("\n")) & outside)
    separators = np.flatnonzero((octets == ord(separator)) & outside)
    n_values = np.diff(np.searchsorted(separators, ends), prepend=0) + 1
    if (n_values > frame.width).any():
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    bad = []
    for at in np.flatnonzero(n_values < frame.width):
        raw = text[starts[at] : ends[at]].strip()
        if raw:  # a blank line is no row
            bad.append(_wrong_width(lines[int(at)], frame.width, int(n_values[at]), raw.decode("utf-8")))
    whole = pl.Series(n_values == frame.width)
    broken = pl.DataFrame(bad, schema=BROKEN_SCHEMA, orient="row")
    return ParsedRows(frame.filter(whole), lines.filter(whole), broken)


def _record_by_record(text: bytes, names: list[str], separator: str, first_line: int) -> ParsedRows:
    """Read what Polars refused, value for value as it would: what can be read is kept, everything else explained."""
    numbers: list[int] = []
    texts: list[str] = []
    good: list[list[str | None]] = []
    good_lines: list[int] = []
    bad: list[tuple[int, str, str, str]] = []
    for number, line in enumerate(text.removesuffix(b"\n").split(b"\n"), first_line):
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            bad.append(not_utf8(number, line, error))
        else:
            numbers.append(number)
    at = 0
    while at < len(texts):
        n_lines, fields = _one_record(texts, at, separator)
        raw = "\n".join(line.removesuffix("\r") for line in texts[at : at + n_lines])
        if fields is None:
            bad.append((numbers[at], "bad_quoting", "a quotation mark opens or closes where none can; double it", raw))
        elif len(fields) == len(names):
            good.append([value or None for value in fields])
            good_lines.append(numbers[at])
        elif raw.strip():
            bad.append(_wrong_width(numbers[at], len(names), len(fields), raw))
        at += n_lines
    frame = pl.DataFrame(good, schema=dict.fromkeys(names, pl.String), orient="row")
    broken = pl.DataFrame(bad, schema=BROKEN_SCHEMA, orient="row").sort(c.LINE)
    return ParsedRows(frame, pl.Series(c.LINE, good_lines, dtype=pl.Int64), broken)


def _wrong_width(line: int, n_wanted: int, n_values: int, raw: str) -> tuple[int, str, str, str]:
    way_out = "put values with separators in quotes" if n_values > n_wanted else "write empty values, too"
    return line, "field_count", f"wanted {n_wanted} values, got {n_values}; {way_out}", raw


def _one_record(texts: list[str], at: int, separator: str) -> tuple[int, list[str] | None]:
    """Parse the record that begins at line `at`; return how many lines it took and its values, None if it is bad."""
    text = texts[at]
    if '"' not in text:
        return 1, text.removesuffix("\r").split(separator)
    n_tries = 0
    for n_lines in range(1, len(texts) - at + 1):
        if n_lines > 1:
            text += "\n" + texts[at + n_lines - 1]
            if '"' not in texts[at + n_lines - 1]:
                continue
        if n_tries == _MAX_TRIES or len(text) > _MAX_CARRIED_BYTES:
            break
        n_tries += 1
        try:
            return n_lines, next(csv.reader(io.StringIO(text), delimiter=separator, strict=True), [])
        except csv.Error as error:
            if "unexpected end of data" not in str(error):
                break
    return 1, None
