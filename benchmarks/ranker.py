"""Does the ranker compute the same in service as in batch, and how fast? Prints the figures beside their bars.

    python benchmarks/ranker.py [--parts parity batch single trees train] [--work DIR] [--out ranker.json]

The shop is the simulator's: a log of `--log` events about `--items` items, whose last `--live` events come live after
the training. Its encoder has hardly learned, which changes what is recommended but not what an answer costs. Answers
are timed in this process, one at a time; what a service adds is measured by benchmarks/serving.py. The stages of an
answer are timed in a second round, so that their clocks lengthen no figure but their own.

- parity: features of `--requests` single requests, half after live events, beside a batch over the whole log
- batch: rows a second on `--cores` threads
- single: rank and recommend, by stage
- trees: scoring by LightGBM, and by ONNX Runtime, lleaves and TL2cgen where they are installed
- train (only if asked for): `readrank train` with its defaults on `--events` events; minutes and peak memory

Shop and bundle stay in `--work` for the next time; without it everything is removed.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the room `ranker` behind this file
sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.ingest_parts import Figure
from benchmarks.ranker_parts import Parts, Sizes

PARTS = ("parity", "batch", "single", "trees", "train")


def main() -> None:
    """Measure the chosen parts and print what came out; exit status 1 when a bar is not met."""
    given = _arguments()
    sizes = Sizes(**{option.name: getattr(given, option.name) for option in fields(Sizes)})
    result: dict[str, Any] = {"machine": _machine(), "sizes": asdict(sizes), "figures": {}}
    met = True
    with tempfile.TemporaryDirectory(prefix="ranker-") as scratch:
        parts = Parts(sizes, given.work or Path(scratch))
        for name in given.parts:
            figures: list[Figure] = getattr(parts, name)()
            Console(width=120).print(_table(name, figures))
            met = met and all(figure.meets is not False for figure in figures)
            # Written after each part: what a later one breaks off does not take the earlier ones along.
            result["figures"][name] = [
                {**asdict(figure), "measured": figure.measured, "meets": figure.meets} for figure in figures
            ]
            if given.out:
                given.out.write_text(json.dumps({**result, "details": parts.details}, indent=1) + "\n")
    if differ := parts.details.get("parity", {}).get("features"):
        print(f"differed: {', '.join(differ)}")
    if missing := parts.details.get("not installed"):
        print(f"not installed: {', '.join(dict.fromkeys(missing))}")
    sys.exit(not met)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1], metavar="PART", help=" ".join(PARTS))
    for option in fields(Sizes):
        parser.add_argument(f"--{option.name}", type=int, default=option.default, help=f"default {option.default:,}")
    parser.add_argument("--work", type=Path, help="keep shop and bundle here; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    return parser.parse_args()


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / (1 << 30)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "lightgbm")},
    }


def _table(part: str, figures: list[Figure]) -> Table:
    table = Table(title=f"Ranker: {part}")
    table.add_column("what", min_width=44)
    for name in ("measured", "bar"):
        table.add_column(name, justify="right", min_width=9)
    for name in ("unit", "meets"):
        table.add_column(name)
    for figure in figures:
        bar = "" if figure.bar is None else f"{'<=' if figure.at_most else '>='} {_number(figure.bar)}"
        meets = {None: "", True: "yes", False: "NO"}[figure.meets]
        table.add_row(figure.what, _number(figure.measured), bar, figure.unit, meets)
    return table


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1e}"


if __name__ == "__main__":
    main()
