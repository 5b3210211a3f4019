"""Which lines of a text are JSON objects? Polars parses them in one stroke; a line it refuses costs only itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest import columns as c
from ingest.batches import BROKEN_SCHEMA, none_broken, not_utf8

CACHED_BYTES = 1 << 17
"""How much text is looked through at once."""
IS_OBJECT = "CASE WHEN json_valid(raw) THEN json_type(raw) = 'OBJECT' ELSE FALSE END"
"""Whether the text of the column `raw` is a JSON object, in SQL."""

_BLANK = b" \t\r"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class ObjectLines:
    """Whole lines that look like objects, or have been found to be some."""

    text: bytes
    """The lines one after another, each with its line break."""
    numbers: NDArray[np.int64]
    """The number of each line in its file, as an editor shows it."""
    broken: pl.DataFrame
    """The other lines: line, reason_code, detail, raw; blank ones are left out."""

    def texts(self, positions: pl.Series) -> pl.Series:
        """Return some lines as they stand, but for blanks around them."""
        octets = np.frombuffer(self.text, dtype=np.uint8)
        ends = _line_ends(octets)
        starts = np.concatenate([[0], ends[:-1] + 1])
        chosen = positions.to_numpy()
        found = [
            self.text[begin:end].strip(_BLANK).decode("utf-8")
            for begin, end in zip(starts[chosen], ends[chosen], strict=True)
        ]
        return pl.Series(c.RAW, found, dtype=pl.String)

    def chosen(self, kept: NDArray[np.bool]) -> "ObjectLines":
        """Return the lines for which `kept` is true, and the broken ones of all."""
        split = self.text.split(b"\n")
        text = b"".join(split[at] + b"\n" for at in np.flatnonzero(kept))
        return replace(self, text=text, numbers=self.numbers[kept])

    def first(self, n: int) -> "ObjectLines":
        """Return the first `n` lines, and the broken ones of all."""
        if n >= len(self.numbers):
            return self
        ends = np.flatnonzero(np.frombuffer(self.text, dtype=np.uint8) == ord("\n"))
        return replace(self, text=self.text[: ends[n - 1] + 1], numbers=self.numbers[:n])


def object_lines(chunk: bytes, *, first_line: int) -> tuple[ObjectLines, int]:
    """Set aside lines that do not begin with { and end with }; return also how many lines there were."""
    if not chunk.endswith(b"\n"):
        chunk += b"\n"
    octets = np.frombuffer(chunk, dtype=np.uint8)
    ends = _line_ends(octets)
    starts = np.concatenate([[0], ends[:-1] + 1])
    numbers = np.arange(first_line, first_line + len(ends))
    last = octets[np.maximum(ends - 1, 0)]
    if (octets[ends - 1] == ord("\r")).any():
        last = np.where(last == ord("\r"), octets[np.maximum(ends - 2, 0)], last)
    plain = (octets[starts] == ord("{")) & (last == ord("}"))
    broken = []
    for at in np.flatnonzero(~plain):
        line = chunk[starts[at] : ends[at]].strip(_BLANK)
        if line.startswith(b"{") and line.endswith(b"}"):
            plain[at] = True
        elif line:
            broken.append(_broken(int(numbers[at]), line))
    lines = ObjectLines(_joined(chunk, starts, ends, plain), numbers[plain], _frame_of(broken))
    return lines, len(ends)


def parsed_objects(lines: ObjectLines, names: Sequence[str]) -> tuple[pl.DataFrame, ObjectLines]:
    """Read the values of some keys as text; return them and the lines they came from, less those that are no objects.

    The frame has a String column for each name: null where the key is absent or null, JSON where the value is nested.
    """
    # Half a surrogate pair is no character: Polars lets it through.
    frame = None if b"\\" in lines.text and _SURROGATE.search(lines.text) else _read(lines, names)
    if frame is not None:
        return frame, lines
    lines = valid_objects(lines)
    frame = _read(lines, names)
    if frame is not None:
        return frame, lines
    return _halved(lines, names)


def valid_objects(lines: ObjectLines) -> ObjectLines:
    """Ask DuckDB which lines are objects: it judges each by itself, where Polars gives up at the first bad one."""
    import duckdb

    split = lines.text.removesuffix(b"\n").split(b"\n") if lines.text else []
    decoded = [_decoded(line) for line in split]
    raw = pl.DataFrame({c.RAW: decoded}, schema={c.RAW: pl.String})
    with duckdb.connect() as connection:
        connection.register("lines", raw.with_row_index("number").to_arrow())
        judged = connection.sql(
            f"""
            SELECT {IS_OBJECT} AS is_object
            FROM lines
            ORDER BY number
            """
        ).fetchnumpy()["is_object"]
    kept = np.asarray(judged, dtype=np.bool)
    bad = [_broken(int(lines.numbers[at]), split[at]) for at in np.flatnonzero(~kept)]
    text = b"".join(line + b"\n" for line, good in zip(split, kept, strict=True) if good)
    return _less(lines, text, kept, bad)


def object_keys(lines: ObjectLines) -> tuple[list[str], ObjectLines]:
    """Return all keys at the top of the objects, and the lines less those that turned out to be none."""
    import duckdb

    lines = valid_objects(lines)
    with duckdb.connect() as connection:
        connection.register("lines", line_texts(lines).to_arrow())
        found = connection.sql("SELECT DISTINCT unnest(json_keys(raw)) AS key FROM lines ORDER BY key").fetchall()
    return [key for (key,) in found], lines


def keys_by_line(lines: ObjectLines) -> list[frozenset[str]]:
    """Return the keys at the top of each line; all have been found to be objects."""
    import duckdb

    with duckdb.connect() as connection:
        connection.register("lines", line_texts(lines).with_row_index("number").to_arrow())
        found = connection.sql("SELECT json_keys(raw) FROM lines ORDER BY number").fetchall()
    return [frozenset(keys) for (keys,) in found]


def line_texts(lines: ObjectLines) -> pl.DataFrame:
    """Return one row a line, in the column `raw`."""
    return pl.DataFrame({c.RAW: lines.text.decode("utf-8").removesuffix("\n").split("\n") if lines.text else []})


def _line_ends(octets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Find the line breaks, block by block: what is compared stays in the processor's cache."""
    blocks = range(0, len(octets), CACHED_BYTES)
    return np.concatenate([np.flatnonzero(octets[at : at + CACHED_BYTES] == ord("\n")) + at for at in blocks])


def _joined(chunk: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], kept: NDArray[np.bool]) -> bytes:
    if kept.all():
        return chunk
    # Runs of kept lines are copied at once: where a run begins and where it is over.
    edges = np.flatnonzero(np.diff(kept.astype(np.int8), prepend=0, append=0))
    runs = edges.reshape(-1, 2)
    view = memoryview(chunk)
    return b"".join(view[starts[begin] : ends[end - 1] + 1] for begin, end in runs)


def _read(lines: ObjectLines, names: Sequence[str]) -> pl.DataFrame | None:
    schema = dict.fromkeys(names, pl.String)
    if not len(lines.numbers):
        return pl.DataFrame(schema=schema)
    try:
        frame = pl.read_ndjson(lines.text, schema=schema).rechunk()
    except pl.exceptions.PolarsError:
        return None
    return frame if frame.height == len(lines.numbers) else None


def _halved(lines: ObjectLines, names: Sequence[str]) -> tuple[pl.DataFrame, ObjectLines]:
    """Read what DuckDB calls an object and Polars does not (a number beyond all bounds) by halving around it."""
    frame = _read(lines, names)
    if frame is not None:
        return frame, lines
    n_lines = len(lines.numbers)
    if n_lines == 1:
        bad = [_broken(int(lines.numbers[0]), lines.text.removesuffix(b"\n"))]
        nothing = _less(lines, b"", np.zeros(1, dtype=np.bool), bad)
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String)), nothing
    split = lines.text.removesuffix(b"\n").split(b"\n")
    half = n_lines // 2
    first, first_lines = _halved(
        ObjectLines(b"\n".join(split[:half]) + b"\n", lines.numbers[:half], none_broken()), names
    )
    second, second_lines = _halved(
        ObjectLines(b"\n".join(split[half:]) + b"\n", lines.numbers[half:], none_broken()), names
    )
    whole = ObjectLines(
        first_lines.text + second_lines.text,
        np.concatenate([first_lines.numbers, second_lines.numbers]),
        pl.concat([lines.broken, first_lines.broken, second_lines.broken]).sort(c.LINE),
    )
    return pl.concat([first, second]), whole


def _less(lines: ObjectLines, text: bytes, kept: NDArray[np.bool], bad: list[tuple[int, str, str, str]]) -> ObjectLines:
    broken = pl.concat([lines.broken, _frame_of(bad)]).sort(c.LINE)
    return replace(lines, text=text, numbers=lines.numbers[kept], broken=broken)


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _broken(number: int, line: bytes) -> tuple[int, str, str, str]:
    """Say what is wrong with a line that is no object."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(number, line, error)
    looks_whole = text.lstrip()[:1] in ("[", '"') or text.lstrip()[:1].isdigit()
    detail = "wanted one JSON object a line, got another JSON value" if looks_whole else "is not a JSON object"
    return number, "invalid_json", detail, text


def _frame_of(broken: list[tuple[int, str, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(broken, schema=BROKEN_SCHEMA, orient="row")
