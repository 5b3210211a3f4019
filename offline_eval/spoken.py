"""What does a person read on the terminal after an evaluation or a night, and a machine after a night?"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingest.spoken import retention_lines
from offline_eval.report import as_json, printed

if TYPE_CHECKING:
    from offline_eval.evaluate import Evaluation
    from offline_eval.nightly import Night
    from offline_eval.report import ReportFacts

_WIDEST: Final = 10_000


def evaluation_lines(evaluation: "Evaluation", width: int | None) -> Iterator[str]:
    """Draw the comparison, `width` characters wide or as the terminal: every segment, ours beside the baselines.

    One table a protocol where it fits, else one a segment with the metrics that there is room for; those left out are
    named. No number and no name is ever cut: where even the first metric is too wide, the terminal has to wrap.
    """
    yield from _tables(evaluation.facts, evaluation.metrics, width)
    yield f"report {evaluation.page}"


def night_lines(night: "Night", width: int | None) -> Iterator[str]:
    """Draw the comparison of the new model with the one that serves, and say what decided and what serves now."""
    comparison = night.comparison
    if comparison is not None:
        yield from _tables(comparison.facts, comparison.metrics, width)
        yield f"report {comparison.page}"
    yield from night.why
    if night.decision == "promoted":
        before = f", instead of {night.before}; `readrank rollback` is the way back" if night.before else ""
        yield f"bundle {night.live} serves now{before}"
    else:
        judged = f"bundle {comparison.facts.bundle_version}" if comparison is not None else "the night"
        told = "is refused" if night.decision == "refused" else "waits"
        yield f"{judged} {told}; {f'{night.live} goes on serving' if night.live else 'no model serves'}"
    yield from retention_lines(night.retained)


def night_values(night: "Night") -> dict[str, Any]:
    """Give a night as plain values."""
    comparison = night.comparison
    return {
        "decision": night.decision,
        "why": list(night.why),
        "live": night.live,
        "before": night.before,
        "candidate": comparison and comparison.facts.bundle_version,
        "checks": [{**asdict(check), "verdict": check.verdict} for check in comparison.checks] if comparison else [],
        "comparison": comparison
        and {
            **as_json(comparison.facts, comparison.metrics),
            "page": str(comparison.page),
            "data": str(comparison.data),
        },
        "retention": asdict(night.retained),
    }


def _tables(facts: "ReportFacts", metrics: pl.DataFrame, width: int | None) -> Iterator[str]:
    room = Console(width=width).width
    for protocol, counts in facts.counts.items():
        headings, sections = printed(metrics.filter(pl.col("protocol") == protocol), facts.ours)
        asked = f"{counts['queries']:,} queries from {facts.cutoff:%Y-%m-%d %H:%M} on"
        yield f"{protocol}: {asked}; * best, [95 % interval]"
        whole = _table(headings, sections, facts.ours)
        if _width(whole) <= room:
            yield from ("", _drawn(whole, room), "")
            continue
        left_out: dict[str, None] = {}
        for lines in sections:
            table, others = _segment_table(headings, lines, facts.ours, room)
            yield from ("", f"{lines[0][0]}, n = {lines[0][1]}", _drawn(table, room))
            left_out |= dict.fromkeys(others)
        yield from [f"\nleft out for want of room: {', '.join(left_out)}"] if left_out else []
        yield ""


def _segment_table(
    headings: Sequence[str], lines: Sequence[Sequence[str]], ours: str, room: int
) -> tuple[Table, Sequence[str]]:
    """Return a segment's systems with as many of its metrics, from the first on, as there is room for, and the rest.

    The first one stays in any room; where nobody has a value, the systems stand alone.
    """
    system = headings.index("system")
    told = [number for number in range(system + 1, len(headings)) if any(line[number] for line in lines)]
    for n in range(len(told), -1, -1):
        columns = [system, *told[:n]]
        kept = [[line[number] for number in columns] for line in lines]
        table = _table([headings[number] for number in columns], [kept], ours)
        if n <= 1 or _width(table) <= room:
            break
    return table, [headings[number] for number in told[n:]]


def _table(headings: Sequence[str], sections: Sequence[Sequence[Sequence[str]]], ours: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("segment", "system") else "right", no_wrap=True)
    for lines in sections:
        for line in lines:
            table.add_row(*map(Text, line), style="bold" if ours in line else "")
        table.add_section()
    return table


def _width(table: Table) -> int:
    """Return how wide a table is that nobody squeezes."""
    return Console(width=_WIDEST).measure(table).maximum


def _drawn(table: Table, room: int) -> str:
    console = Console(width=max(room, _width(table)))
    with console.capture() as drawn:
        console.print(table)
    return drawn.get().rstrip()
