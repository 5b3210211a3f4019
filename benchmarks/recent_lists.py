"""What does a list of what was most taken in the last hours find? The plainest rival, where a log lives on news.

    python benchmarks/recent_lists.py CASE --judge DIR [--hours 6 24 72]

CASE is a folder that the judge's case.py wrote, `--judge` holds its score.py. Each query is answered by what was most
taken in the hours before its own moment, less what its user took before it; of equals the first by id come first.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl

K = 50
HOURS = (6, 24, 72)


def main() -> None:
    """Print the judge's first line for each list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("--judge", type=Path, required=True, help="folder with score.py")
    parser.add_argument("--hours", type=float, nargs="+", default=HOURS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lists-") as scratch:
        out = Path(scratch) / "answers.parquet"
        for hours in given.hours:
            most_taken(given.case, hours).write_parquet(out)
            judged = [sys.executable, str(given.judge / "score.py"), str(given.case), str(out)]
            done = subprocess.run(judged, capture_output=True, text=True, check=True)
            print(f"{hours:g} h: {done.stdout.splitlines()[0]}")


def most_taken(case: Path, hours: float) -> pl.DataFrame:
    """Return query_id, item_id and rank: up to `K` items a query, the most taken first."""
    log = _by_time(case / "interactions.parquet", "occurred_at").select("user_id", "item_id", "second").rows()
    queries = _by_time(case / "queries.parquet", "as_of").select("query_id", "user_id", "second").rows()
    taken: defaultdict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    answers, first, end = [], 0, 0
    for query, user, moment in queries:
        while end < len(log) and log[end][2] < moment:
            taken[log[end][0]].add(log[end][1])
            counts[log[end][1]] += 1
            end += 1
        while first < end and log[first][2] < moment - hours * 3600:
            counts[log[first][1]] -= 1
            first += 1
        open_items = [(-count, item) for item, count in counts.items() if count and item not in taken[user]]
        answers += [(query, item, place + 1) for place, (_, item) in enumerate(sorted(open_items)[:K])]
    return pl.DataFrame(answers, schema=["query_id", "item_id", "rank"], orient="row")


def _by_time(path: Path, moment: str) -> pl.DataFrame:
    seconds = pl.col(moment).dt.epoch("us") / 1_000_000
    return pl.read_parquet(path).with_columns(seconds.alias("second")).sort("second", maintain_order=True)


if __name__ == "__main__":
    main()
