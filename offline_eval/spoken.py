"""What does a person read on the terminal after an evaluation?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from offline_eval.report import printed

if TYPE_CHECKING:
    from offline_eval.evaluate import Evaluation


def evaluation_lines(evaluation: "Evaluation", width: int | None) -> Iterator[str]:
    """Draw one table a protocol, `width` characters or the terminal's: every segment, ours beside the baselines."""
    facts = evaluation.facts
    console = Console(width=width)
    for protocol, counts in facts.counts.items():
        headings, sections = printed(evaluation.metrics.filter(pl.col("protocol") == protocol), facts.ours)
        title = (
            f"{protocol}: {counts['queries']:,} queries from {facts.cutoff:%Y-%m-%d %H:%M} on; * best, [95 % interval]"
        )
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="left" if number in (0, 2) else "right", no_wrap=True)
        for lines in sections:
            for line in lines:
                table.add_row(*(cell.replace("[", "\\[") for cell in line), style="bold" if facts.ours in line else "")
            table.add_section()
        with console.capture() as drawn:
            console.print(table)
        yield drawn.get()
    yield f"report {evaluation.page}"
