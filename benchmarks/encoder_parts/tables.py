"""How are the figures read? Rows beside their bars, a table for the terminal, Markdown for a page."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.encoder_parts.judging import AUC, COLD_RECALL, NDCG, ONE_EVENT, Difference, Judge, Judged
from benchmarks.encoder_parts.systems import TUNED, WITH_WORDS, System

SECONDS = "training seconds"
BARS = {
    ("amazon_beauty", NDCG, "static"): 0.039,
    ("amazon_beauty", NDCG, "transformer"): 0.044,
    ("amazon_beauty", COLD_RECALL, "static"): 0.02,
    ("amazon_beauty", SECONDS, "static"): 360.0,
    ("movielens_small", NDCG, "static"): 0.066,
    ("mind_ctr_lite", AUC, "static"): 0.635,
    ("mind_ctr_lite", AUC, "transformer"): 0.67,
}
"""What text interest alone must reach, by case, figure and kind of encoder; of seconds, at most."""
_IN_MARKDOWN = (NDCG, AUC, f"{NDCG}, {ONE_EVENT}", f"{AUC}, {ONE_EVENT}", COLD_RECALL)

Row = dict[str, Any]


def rows_of(
    case: str, system: System, judge: Judge, ours: Judged, other: tuple[str, Judged] | None, *, inner: bool
) -> list[Row]:
    """Return one row a figure: value, interval, n, difference from the other system, bar and whether it is met.

    Bars are for tuned systems on the cases as the judge cuts them, not on inner windows.
    """
    rows = []
    for name, line in ours.lines.items():
        low, high = line.interval
        row: Row = {"case": case, "system": system.name, "kind": system.kind, "figure": name, "n": line.n}
        row |= {"value": line.value, "low": low, "high": high}
        if other is not None and other[0] != system.name:
            row |= {"against": other[0]} | _difference(judge.difference(name, ours, other[1]))
        rows.append(row)
    if system.seconds is not None:
        row = {"case": case, "system": system.name, "kind": system.kind, "figure": SECONDS, "n": 1}
        rows.append(row | {"value": system.seconds})
    if system.name in (TUNED, WITH_WORDS) and not inner:
        for row in rows:
            bar = BARS.get((case, row["figure"], system.kind))
            if bar is not None:
                met = row["value"] <= bar if row["figure"] == SECONDS else row["value"] >= bar
                row |= {"bar": bar, "met": bool(met)}
    return rows


def table(case: str, rows: Sequence[Row], *, inner: bool) -> Table:
    """Return all systems of a case, one line a figure."""
    against = next((row["against"] for row in rows if "against" in row), None)
    drawn = Table(title=f"{case}: text interest alone" + (", inner window" if inner else ""))
    for heading in ("system", "figure"):
        drawn.add_column(heading)
    for heading in ("value [95 %]", "n", f"against {against} [95 %]" if against else "", "bar", ""):
        drawn.add_column(heading, justify="right")
    last = None
    for row in rows:
        if last is not None and row["system"] != last:
            drawn.add_section()
        met = ("yes" if row["met"] else "NO") if "met" in row else ""
        name = row["system"] if row["system"] != last else ""
        drawn.add_row(name, row["figure"], _value(row), f"{row['n']:,}", _gained(row), f"{row.get('bar', '')}", met)
        last = row["system"]
    return drawn


def markdown(case: str, rows: Sequence[Row], command: str) -> str:
    """Return a section of a page: one line a system, with command, date and machine."""
    names = [name for name in _IN_MARKDOWN if any(row["figure"] == name for row in rows)]
    against = next((row["against"] for row in rows if "against" in row), None)
    headings = ["system"]
    for name in names:
        headings += [name, f"against {against}"] if against else [name]
    lines = [
        f"{case}, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPU cores, Python {platform.python_version()}:",
        "",
        f"    {command}",
        "",
        f"| {' | '.join([*headings, 'seconds'])} |",
        f"|{' --- |' * (len(headings) + 1)}",
    ]
    for system in dict.fromkeys(row["system"] for row in rows):
        own = {row["figure"]: row for row in rows if row["system"] == system}
        cells = [system]
        for name in names:
            cells += [_value(own[name]), _gained(own[name])] if against else [_value(own[name])]
        cells.append(f"{own[SECONDS]['value']:.0f}" if SECONDS in own else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def put_into(page: Path, case: str, section: str) -> None:
    """Write the section between the page's marks for the case, or at its end with marks of its own.

    The marks are `<!-- encoders: CASE -->` and `<!-- end of CASE -->`; a page that is not there is made.
    """
    begin, end = f"<!-- encoders: {case} -->", f"<!-- end of {case} -->"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    if begin not in text or end not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    head, rest = text.split(begin, 1)
    _, tail = rest.split(end, 1)
    page.write_text(f"{head}{begin}\n\n{section}\n{end}{tail}", encoding="utf-8")


def _difference(found: Difference) -> Row:
    return {"gained": found.value, "gained_low": found.low, "gained_high": found.high}


def _value(row: Row) -> str:
    if row["figure"] == SECONDS:
        return f"{row['value']:.0f}"
    return f"{row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"


def _gained(row: Row) -> str:
    if "gained" not in row:
        return ""
    return f"{row['gained']:+.4f} [{row['gained_low']:+.4f}, {row['gained_high']:+.4f}]"
