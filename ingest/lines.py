"""Which lines does a piece of text hold? Numbered as an editor numbers them, undecodable ones set aside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from ingest import columns as c
from ingest.as_read import frame_as_read
from ingest.batches import BROKEN_SCHEMA, none_broken, not_utf8


@dataclass(frozen=True)
class Records:
    """Some megabytes of a text file as rows, under the file's own column names."""

    frame: pl.DataFrame
    lines: pl.Series
    """Line in which each row begins."""
    broken: pl.DataFrame
    """Lines that could not be read as rows: line, reason_code, detail, raw."""
    bytes_done: int
    texts: Callable[[pl.Series], pl.Series] | None = None
    """Positions of rows -> how they stood in the file; None where the frame says that."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Lines that were understood and tell nothing that any table holds: how many of what."""

    def as_read(self, positions: pl.Series) -> pl.Series:
        """Return some rows as they stood in the file: a JSON object of the file's own columns each."""
        return self.texts(positions) if self.texts else frame_as_read(self.frame, positions)


def numbered_lines(
    chunk: bytes, *, first_line: int, else_latin_1: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Split whole lines; return (line, raw), undecodable lines, and how many lines there were.

    With `else_latin_1` a line that is not UTF-8 is read as Latin-1 instead, in which every byte is a character.
    """
    try:
        frame = pl.read_lines(chunk).select(
            pl.int_range(first_line, first_line + pl.len(), dtype=pl.Int64).alias(c.LINE),
            pl.col("line").alias(c.RAW),
        )
        broken = none_broken()
        n_lines = frame.height
    except pl.exceptions.PolarsError:
        frame, broken, n_lines = _line_by_line(chunk, first_line, else_latin_1)
    return frame, broken, n_lines


def _line_by_line(chunk: bytes, first_line: int, else_latin_1: bool) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    good, bad = [], []
    lines = chunk.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, first_line):
        try:
            good.append((number, line.removesuffix(b"\r").decode("utf-8")))
        except UnicodeDecodeError as error:
            if else_latin_1:
                good.append((number, line.removesuffix(b"\r").decode("latin-1")))
                continue
            bad.append(not_utf8(number, line, error))
    frame = pl.DataFrame(good, schema={c.LINE: pl.Int64, c.RAW: pl.String}, orient="row")
    return frame, pl.DataFrame(bad, schema=BROKEN_SCHEMA, orient="row"), len(lines)
