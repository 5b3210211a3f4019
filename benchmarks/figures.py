"""What was measured, on which machine, and does it meet its bar? Figures for a table and for JSON."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import median
from typing import Any

from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured thing and its bar."""

    what: str
    unit: str
    values: list[float]
    bar: float | None = None
    """None where there is none to meet."""
    at_most: bool = False
    """True where less is better."""

    @property
    def measured(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def meets(self) -> bool | None:
        """Whether the median meets the bar."""
        if self.bar is None:
            return None
        return self.measured <= self.bar if self.at_most else self.measured >= self.bar

    def as_json(self) -> dict[str, Any]:
        """Return the figure with what follows from it."""
        return {**asdict(self), "measured": self.measured, "meets": self.meets}


def machine(libraries: Sequence[str], *, cores: int | None = None) -> dict[str, Any]:
    """Tell where and with which libraries something was measured; `cores` are those used, by default all."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    there = os.cpu_count() or 1
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "cores": min(cores or there, there),
        "memory_gib": round(memory / (1 << 30)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


def table(title: str, figures: Sequence[Figure], *, spread: bool = False) -> Table:
    """Lay figures beside their bars; with `spread` also the lowest and the highest value of each."""
    laid = Table(title=title)
    laid.add_column("what", min_width=44)
    for name in ("measured", *(("lowest", "highest") if spread else ()), "bar"):
        laid.add_column(name, justify="right", min_width=9)
    for name in ("unit", "meets"):
        laid.add_column(name)
    for figure in figures:
        bar = "" if figure.bar is None else f"{'<=' if figure.at_most else '>='} {_number(figure.bar)}"
        meets = {None: "", True: "yes", False: "NO"}[figure.meets]
        values = [figure.measured, *((min(figure.values), max(figure.values)) if spread else ())]
        laid.add_row(figure.what, *map(_number, values), bar, figure.unit, meets)
    return laid


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1e}"
