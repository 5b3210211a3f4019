"""How good are the recommendations? Real cases, walked through the command line and judged from outside.

    python benchmarks/quality.py --data DIR --judge DIR [--case NAME ...] [--out FILE] [--encoder static]

For each case: make it with the judge's case.py, `readrank init`, `ingest`, `train --until` its cutoff, `recommend` (or
`rank`), then the judge's score.py. Defaults only, the same settings for every case. Prints a table beside the best peer
and the bar, and writes JSON. The judge tells warm and cold users apart; those with one event are put to it once more,
alone. `--parts` also recommends by each source alone, and has the judge compare.
"""

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

READRANK = [sys.executable, "-m", "readrank"]
ONE_EVENT = "users with one event"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set, how the judge cuts it, and what there is to beat."""

    name: str
    data: str
    arguments: tuple[str, ...] = ()
    peer: float | None = None
    """Best peer's figure on exactly this case; None where none has been measured."""
    bar: float | None = None
    ranking: bool = False
    """True for a ranking of given items, judged by AUC; else NDCG@10."""


CASES = (
    Case(name="amazon_beauty", data="amazon_beauty", peer=0.0274, bar=0.050),
    Case(
        name="online_retail_2y",
        data="online_retail_2y",
        arguments=("--event", "purchase"),
        peer=0.0998,
        bar=round(0.0998 * 1.25, 4),
    ),
    Case(
        name="movielens_small",
        data="movielens_small",
        arguments=("--event", "rating", "--min-weight", "4", "--protocol", "replay"),
        peer=0.0485,
        bar=round(0.0485 * 1.6, 4),
    ),
    Case(name="mind_ctr_lite", data="mind_ctr_lite", peer=0.632, bar=0.68, ranking=True),
    Case(name="deskdrop_events_only", data="deskdrop_events_only", arguments=("--protocol", "replay")),
    Case(name="deskdrop_events_only_cutoff", data="deskdrop_events_only"),
    Case(name="amazon_beauty_replay", data="amazon_beauty", arguments=("--protocol", "replay")),
    Case(
        name="online_retail_2y_replay",
        data="online_retail_2y",
        arguments=("--event", "purchase", "--protocol", "replay"),
    ),
)
COLD_ITEMS_PEER = {"amazon_beauty": 0.0112, "online_retail_2y": 0.0599, "movielens_small": 0.0440}


def main() -> None:
    """Run the chosen cases and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a data set")
    parser.add_argument("--judge", type=Path, required=True, help="folder with case.py, score.py and score_rank.py")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="default: all")
    parser.add_argument("--encoder", choices=("static", "transformer"), default="static")
    parser.add_argument("--models", type=Path, help="take the encoders in MODELS/<case>, tuned elsewhere with --pair")
    parser.add_argument("--without-text", action="store_true", help="also train on behaviour alone, and compare")
    parser.add_argument("--parts", action="store_true", help="also recommend by each source alone, and compare")
    parser.add_argument("--work", type=Path, help="keep workspaces here; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    given = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch:
        for case in CASES:
            if given.case is None or case.name in given.case:
                work = (given.work or Path(scratch)) / case.name
                wishes = {"blind": given.without_text, "parts": given.parts}
                encoder = ["--encoder", given.encoder]
                if given.models:
                    encoder = ["--encoders", str(given.models / case.name)]
                results.append(run_case(case, given.data / case.data, given.judge, work, encoder, **wishes))
                Console(width=150).print(_table(results))
    if given.out:
        given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def run_case(
    case: Case, data: Path, judge: Path, work: Path, encoder: list[str], *, blind: bool = False, parts: bool = False
) -> dict[str, Any]:
    """Walk one case from raw files to the judge's figures; seconds and peak memory of our own commands beside them.

    `encoder` are the options of `readrank train` that say which.

    `blind` also trains without text, `parts` also recommends by each source alone; the judge compares both with ours.
    """
    work.mkdir(parents=True, exist_ok=True)
    workspace = work / "workspace"
    _run([*READRANK, "init", str(workspace)])
    at = ["--workspace", str(workspace)]
    if case.ranking:
        files = [data / f"{name}.parquet" for name in ("items", "interactions", "impressions")]
        until: list[str] = []
    else:
        _run([sys.executable, str(judge / "case.py"), str(data), str(work / "case"), *case.arguments])
        files = [work / "case" / f"{name}.parquet" for name in ("items", "interactions")]
        until = ["--until", json.loads((work / "case" / "case.json").read_text())["cutoff"]]
    steps = {
        "ingest": [*READRANK, "ingest", *map(str, files), *at],
        "train": [*READRANK, "train", *encoder, *until, *at],
    }
    out = work / "answers.parquet"
    if case.ranking:
        steps["rank"] = [*READRANK, "rank", "--requests", str(data / "requests.parquet"), "--out", str(out), *at]
        judged = [sys.executable, str(judge / "score_rank.py"), str(data / "truth.parquet"), str(out)]
    else:
        queries = work / "case" / "queries.parquet"
        steps["recommend"] = [*READRANK, "recommend", "--queries", str(queries), "-k", "50", "--out", str(out), *at]
        judged = [sys.executable, str(judge / "score.py"), str(work / "case"), str(out)]
    spent = {name: _measured(command) for name, command in steps.items()}
    found = _judged(_run(judged))
    if not case.ranking and of_one_event(work / "case", work / "case_of_one_event"):
        alone = [*judged[:-2], str(work / "case_of_one_event"), str(out)]
        found[ONE_EVENT] = _judged(_run(alone))["all"]
    by_source = _by_source(workspace, steps["recommend"], judged, work) if parts and not case.ranking else None
    unread = _without_text(steps, judged, work) if blind else None
    return {"case": case.name, "encoder": " ".join(encoder), "peer": case.peer, "bar": case.bar} | {
        "judged": found,
        "without_text": unread,
        "parts": by_source,
        "seconds": {name: seconds for name, (seconds, _) in spent.items()},
        "peak_mib": {name: mib for name, (_, mib) in spent.items()},
    }


def of_one_event(case: Path, part: Path) -> bool:
    """Write the part of a case that is asked by users with exactly one event before; False where there is none."""
    queries, truth = (pl.read_parquet(case / f"{name}.parquet") for name in ("queries", "truth"))
    log = pl.read_parquet(case / "interactions.parquet", columns=["user_id", "occurred_at"])
    before = queries.join(log, on="user_id").filter(pl.col("occurred_at") < pl.col("as_of"))
    asked = queries.join(before.group_by("query_id").len().filter(len=1), on="query_id", how="semi")
    part.mkdir(exist_ok=True)
    for name in ("items.parquet", "interactions.parquet", "case.json"):
        shutil.copy(case / name, part / name)
    asked.write_parquet(part / "queries.parquet")
    truth.join(asked, on="query_id", how="semi").write_parquet(part / "truth.parquet")
    return not asked.is_empty()


def _by_source(workspace: Path, recommend: list[str], judged: list[str], work: Path) -> dict[str, Any]:
    """Recommend by each source alone; `against` is the judge's line, with ours minus the source's."""
    queries, folder = recommend[recommend.index("--queries") + 1], work / "parts"
    _run([sys.executable, str(Path(__file__).with_name("quality_parts.py")), str(workspace), queries, str(folder)])
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        own = _judged(_run([*judged[:-1], str(path)]))["all"]["ndcg@10"]
        found[path.stem] = {"ndcg@10": own, "against": _run([*judged, "--against", str(path)]).splitlines()[-1]}
    return found


def _without_text(steps: dict[str, list[str]], judged: list[str], work: Path) -> dict[str, Any]:
    """Train on behaviour alone and answer again; `against` is the judge's line, with text minus without."""
    out, answers = work / "answers_without_text.parquet", str(work / "answers.parquet")
    train = steps["train"]
    blind = [word for n, word in enumerate(train) if "--encoders" not in (word, train[n - 1])]
    _run([*blind, "--without-text", "--promote"])
    ask = next(step for name, step in steps.items() if name in {"rank", "recommend"})
    _run([str(out) if part == answers else part for part in ask])
    found = _judged(_run([str(out) if part == answers else part for part in judged]))
    if "rank" in steps:  # the judge of rankings compares nothing
        return found
    against = _run([*judged, "--against", str(out)]).splitlines()[-1]
    return {**found, "against": against}


def _judged(printed: str) -> dict[str, Any]:
    lines = [line for line in printed.splitlines() if "{" in line or line.startswith("coverage")]
    if len(lines) == 1:
        found: dict[str, Any] = ast.literal_eval(lines[0])
        return found
    return {line[:11].strip(): ast.literal_eval(line[11:].strip()) for line in lines}


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _measured(command: list[str]) -> tuple[float, int]:
    """Run a command; return its wall seconds and peak memory in MiB."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return round(time.monotonic() - started, 1), usage.ru_maxrss // 1024


def _table(results: list[dict[str, Any]]) -> Table:
    table = Table(title="Quality on real cases")
    segments = ("warm users", ONE_EVENT, "cold users")
    for name in ("case", "measure", "ours", "best peer", "bar", *segments, "cold items r@10 (peer)"):
        table.add_column(name)
    table.add_column("seconds", justify="right")
    table.add_column("peak MiB", justify="right")
    for result in results:
        judged = result["judged"]
        if "auc" in judged:
            measure, ours = "AUC", f"{judged['auc']:.4f} {judged['auc_interval']}"
            of_segment, items = [""] * len(segments), ""
        else:
            measure, ours = "NDCG@10", f"{judged['all']['ndcg@10']:.4f}"
            of_segment = [f"{judged.get(segment, {}).get('ndcg@10', '')}" for segment in segments]
            items = f"{judged['cold items']['recall@10']} ({COLD_ITEMS_PEER.get(result['case'], '-')})"
        spent, peak = sum(result["seconds"].values()), max(result["peak_mib"].values())
        peer, bar = ("-" if figure is None else str(figure) for figure in (result["peer"], result["bar"]))
        row = (result["case"], measure, ours, peer, bar, *of_segment, items)
        table.add_row(*row, f"{spent:.0f}", str(peak))
    return table


if __name__ == "__main__":
    main()
