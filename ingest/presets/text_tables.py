"""How are text tables read whose columns have no names in the file? Cut at a separator, or as CSV."""

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from ingest import columns as c
from ingest.batches import BROKEN_SCHEMA
from ingest.errors import InputFileError
from ingest.lines import Records, numbered_lines
from ingest.mapping import listed
from ingest.read_csv import OpenCsv
from ingest.sources import Source


def cut_lines(
    separator: str, names: Sequence[str], *, unkept: Sequence[str] = ()
) -> Callable[[Source], Iterator[Records]]:
    """Make a reader of lines with a separator between values and no quotation; text is UTF-8, else Latin-1.

    Values of the names in `unkept` are left out.
    """
    chosen = [(at, name) for at, name in enumerate(names) if name not in unkept]

    def read(source: Source) -> Iterator[Records]:
        n_lines = 0
        for chunk in source.chunks():
            lines, broken, n_new = numbered_lines(chunk, first_line=n_lines + 1, else_latin_1=True)
            n_lines += n_new
            text = lines.filter(pl.col(c.RAW).str.strip_chars() != "")
            values = text[c.RAW].str.split(separator)
            fits = values.list.len() == len(names)
            frame = values.filter(fits).to_frame().select(_value(at, name) for at, name in chosen)
            odd = text.filter(~fits).select(
                c.LINE,
                pl.lit("field_count").alias(c.REASON_CODE),
                (pl.lit(f"wanted {len(names)} values, got ") + values.filter(~fits).list.len().cast(pl.String)).alias(
                    c.DETAIL
                ),
                c.RAW,
            )
            broken = pl.concat([broken, odd.cast(BROKEN_SCHEMA)])  # type: ignore[arg-type]
            yield Records(frame, text[c.LINE].filter(fits), broken, source.bytes_done)

    return read


def csv_rows(*headless: str, needs: Sequence[str] = ()) -> Callable[[Source], Iterator[Records]]:
    """Make a reader of CSV; the names are those of the columns where the file may come without a header.

    `needs` names the columns without which the file is another one, `a|b` meaning one of the two: InputFileError.
    """

    def read(source: Source) -> Iterator[Records]:
        table = OpenCsv.of(source, headless=headless)
        lacking = [need for need in needs if not set(need.split("|")) & set(table.names)]
        if table.names and lacking:
            raise InputFileError(
                f"{source.path}: wanted the columns {', '.join(needs)}, found {listed(table.names)}; "
                "name files of that data set as they were published, or load this one without --preset"
            )
        yield from table.records()

    return read


def _value(at: int, name: str) -> pl.Expr:
    value = pl.col(c.RAW).list.get(at)
    return pl.when(value != "").then(value).alias(name)
