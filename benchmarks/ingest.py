"""How fast, how large and how safe is ingest? Loads the simulator's logs and prints the figures beside their bars.

    python benchmarks/ingest.py [--parts jsonl parquet again memory append kill sizing] [--out ingest.json]
    python benchmarks/ingest.py --parts sizing --sizing-page docs/sizing.md

Each load runs in a fresh process on `--cores` cores. Its clock runs from the opening of the store to its closing, so
that rows are checked, rid of duplicates, committed and safe on disk; imports come before. The log has just been read,
so it lies in the page cache as far as it fits. Figures are medians of `--repeats` runs, and what is compared takes
turns, so that a busy moment of the machine falls on both. Memory is the high-water mark of the loading process.

jsonl, parquet and again use logs of `--events`. memory, append and sizing use one log of `--large` lines, its
beginnings, and the pieces that follow it: the simulator's log of somewhat more, cut by lines. Appending puts these
pieces one after another into the store of the large log, and each into an empty one. With 50 million lines keep 25 GB
free. Logs stay in `--work` for the next time; without it everything is removed.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the room `ingest` behind this file
sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import tempfile
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console

from benchmarks.figures import Figure, machine, table
from benchmarks.ingest_parts import Parts, Sizes
from benchmarks.sizing_page import sizing_page

PARTS = ("jsonl", "parquet", "again", "memory", "append", "kill", "sizing")


def main() -> None:
    """Measure the chosen parts and print what came out; exit status 1 when a bar is not met."""
    given = _arguments()
    sizes = Sizes(**{option.name: getattr(given, option.name) for option in fields(Sizes)})
    result: dict[str, Any] = {
        "machine": machine(("duckdb", "polars", "pyarrow"), cores=sizes.cores),
        "sizes": asdict(sizes),
        "figures": {},
    }
    met = True
    with tempfile.TemporaryDirectory(prefix="ingest-") as scratch:
        parts = Parts(sizes, given.work or Path(scratch))
        try:
            for name in given.parts:
                figures: list[Figure] = getattr(parts, name)()
                Console(width=130).print(table(f"Ingest: {name}", figures, spread=True))
                met = met and all(figure.meets is not False for figure in figures)
                # Written after each part: what a later one breaks off does not take the earlier ones along.
                result["figures"][name] = [figure.as_json() for figure in figures]
                if given.out:
                    given.out.write_text(json.dumps({**result, "details": parts.details}, indent=1) + "\n")
        finally:
            parts.close()
    for name, kills in parts.details.get("kills", {}).items():
        print(f"killed at {name}: {kills['phases']}; {kills['as_after']} of {kills['kills']} were in the store already")
    if given.sizing_page:
        command = "python benchmarks/ingest.py --parts sizing --sizing-page docs/sizing.md"
        if sizes.large != Sizes.large:
            command += f" --large {sizes.large}"
        page = sizing_page(parts.details["sizing"], result["machine"], command)
        given.sizing_page.write_text(page, encoding="utf-8")
    sys.exit(not met)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=" ".join(PARTS))
    for option in fields(Sizes):
        name = f"--{option.name.replace('_', '-')}"
        parser.add_argument(name, type=int, default=option.default, help=f"default {option.default:,}")
    parser.add_argument("--work", type=Path, help="keep logs here; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--sizing-page", type=Path, help="write the page on sizing; needs part sizing")
    given = parser.parse_args()
    if given.sizing_page and "sizing" not in given.parts:
        parser.error("--sizing-page: wanted part sizing among --parts; add it")
    return given


if __name__ == "__main__":
    main()
