"""Does the ranker compute the same in service as in batch, and how fast? Prints the figures beside their bars.

    python benchmarks/ranker.py [--parts parity batch single trees load train] [--work DIR] [--out ranker.json]

The shop is the simulator's: a log of `--log` events about `--items` items, whose last `--live` events come live after
the training. Its encoder has hardly learned, which changes what is recommended but not what an answer costs. Answers
are timed in this process, one at a time; what a service adds is measured by benchmarks/serving.py. The stages of an
answer are timed in a second round, so that their clocks lengthen no figure but their own.

- parity: features of `--requests` single requests, half after live events, beside a batch over the whole log
- batch: rows a second on `--cores` threads
- single: rank and recommend, by stage
- trees: scoring by LightGBM, and by ONNX Runtime, lleaves and TL2cgen where they are installed
- load: seconds until a fresh process has answered once, and the memory it holds then
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
import tempfile
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console

from benchmarks.figures import Figure, machine, table
from benchmarks.ranker_parts import Parts, Sizes

PARTS = ("parity", "batch", "single", "trees", "load", "train")


def main() -> None:
    """Measure the chosen parts and print what came out; exit status 1 when a bar is not met."""
    given = _arguments()
    sizes = Sizes(**{option.name: getattr(given, option.name) for option in fields(Sizes)})
    result: dict[str, Any] = {"machine": machine(("numpy", "scipy", "lightgbm")), "sizes": asdict(sizes), "figures": {}}
    met = True
    with tempfile.TemporaryDirectory(prefix="ranker-") as scratch:
        parts = Parts(sizes, given.work or Path(scratch))
        for name in given.parts:
            figures: list[Figure] = getattr(parts, name)()
            Console(width=120).print(table(f"Ranker: {name}", figures))
            met = met and all(figure.meets is not False for figure in figures)
            # Written after each part: what a later one breaks off does not take the earlier ones along.
            result["figures"][name] = [figure.as_json() for figure in figures]
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


if __name__ == "__main__":
    main()
