"""Measure text interest alone: no LightGBM, no counts, only the user tower's dot product with item vectors.

    python benchmarks/encoders.py --data DIR --judge DIR [--case NAME ...] [--inner] [--set NAME=VALUE ...] [--out FILE]

`--judge` holds `case.py`, `score.py` and `score_rank.py`; `--data` the data sets. With `--inner` each case is cut from
what was known before its cutoff, which is where settings are chosen; without it the figures are the final ones. Each
row stands beside the untuned encoder and a TF-IDF profile of the same history.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the package of the same name
sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import tempfile
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.encoder_parts.cases import CASES, Asked, judge_module, prepare
from encoders.interest import InterestModel
from encoders.lexical import Words
from encoders.sequences import microseconds
from encoders.train import EncoderConfig, train
from ingest import columns as c


def main() -> None:
    """Run the cases asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--case", nargs="*", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--inner", action="store_true", help="cut each case from the known part of its log")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="encoder settings other than default"
    )
    parser.add_argument("--refit", action="store_true", help="continue on the whole known log before measuring")
    parser.add_argument("--no-baselines", action="store_true", help="measure the tuned encoder alone")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    config = _with(EncoderConfig(), given.set)
    rows = []
    for name in given.case:
        with tempfile.TemporaryDirectory(prefix="readrank-encoders-") as scratch:
            for row in run_case(name, given.data, given.judge, Path(scratch), config, given):
                rows.append(row)
                print(" | ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1))


def run_case(
    name: str, data: Path, judge: Path, scratch: Path, config: EncoderConfig, given: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return one row a system: the judge's figures and the seconds that training took."""
    prepared = prepare(name, data=data, judge=judge, scratch=scratch, inner=given.inner)
    texts, asked, rank = prepared.texts, prepared.asked, prepared.rank
    systems: dict[str, Any] = {}
    if not given.no_baselines:
        train(scratch / "train", scratch / "untuned", config, epochs=0)
        systems["TF-IDF profile"] = (None, 0.0)
        systems["untuned"] = (scratch / "untuned", 0.0)
    report = train(scratch / "train", scratch / "tuned", config, progress=_progress())
    systems["tuned"] = (scratch / "tuned", report.seconds)
    print(f"{name}: epoch {report.best_epoch} kept, epochs " + ", ".join(f"{e.seconds:.0f} s" for e in report.epochs))
    if given.refit:
        again = train(scratch / "train", scratch / "refit", config, init_from=scratch / "tuned", progress=_progress())
        systems["tuned, continued on all"] = (scratch / "refit", again.seconds)
    rows = []
    for system, (folder, seconds) in systems.items():
        scored = _scores(folder, texts, asked, rank)
        if rank:
            figures = judge_module(judge / "score_rank.py").report(
                pl.read_parquet(scratch / "case/truth.parquet"), scored
            )
        else:
            found = judge_module(judge / "score.py").report(scratch / "case", scored)
            figures = {
                "ndcg@10": found["all"]["ndcg@10"],
                "warm": found["warm users"]["ndcg@10"] if "warm users" in found else None,
                "recall@10": found["all"]["recall@10"],
                "cold items' recall@10": found["cold items"]["recall@10"],
                "coverage": found["coverage"],
            }
        rows.append({"case": name, "system": system, **figures, "train s": round(seconds)})
    return rows


def _scores(folder: Path | None, texts: list[str], asked: Asked, rank: bool) -> pl.DataFrame:
    """Return recommendations (query_id, item_id, rank), or scores of the requests' items when `rank`."""
    place = {item: row for row, item in enumerate(asked.items[c.ITEM_ID])}
    events = asked.log.filter(pl.col(c.ITEM_ID).is_in(asked.items[c.ITEM_ID].implode())).sort(
        c.OCCURRED_AT, maintain_order=True
    )
    by_user = {
        user: (
            np.array([place[item] for item in group[c.ITEM_ID]]),
            group[c.WEIGHT].to_numpy(),
            group[c.OCCURRED_AT].dt.epoch("us").to_numpy(),
        )
        for (user,), group in events.group_by(c.USER_ID, maintain_order=True)
    }
    queries = asked.queries.unique([c.QUERY_ID], maintain_order=True).sort(c.QUERY_ID)
    model = InterestModel.load(folder) if folder else None
    vectors = model.encode(texts) if model else None
    words = Words.fit(texts).matrix(texts) if model is None else None
    wanted: dict[str, list[str]] = {}
    if rank:
        for query, item in asked.queries.select(c.QUERY_ID, c.ITEM_ID).iter_rows():
            wanted.setdefault(query, []).append(item)
    ids = asked.items[c.ITEM_ID].to_numpy()
    parts = []
    for chunk in queries.iter_slices(500):
        histories = [
            _history(by_user.get(user), microseconds(moment))
            for user, moment in chunk.select(c.USER_ID, c.AS_OF).iter_rows()
        ]
        interest = _interest(model, vectors, histories) if model else _profile(words, histories)
        for row, query in enumerate(chunk[c.QUERY_ID]):
            if rank:
                chosen = np.array([place[item] for item in wanted[query]])
                parts.append(
                    pl.DataFrame({"request_id": query, "item_id": ids[chosen], "score": interest[row, chosen]})
                )
                continue
            seen = histories[row][3]
            interest[row, seen] = -np.inf
            best = np.argpartition(-interest[row], 10)[:10]
            best = best[np.argsort(-interest[row, best], kind="stable")]
            best = best[np.isfinite(interest[row, best])] if len(histories[row][0]) else best[:0]
            parts.append(pl.DataFrame({"query_id": query, "item_id": ids[best], "rank": np.arange(1, len(best) + 1)}))
    return pl.concat(part for part in parts if part.height)


History = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def _history(events: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None, moment: int) -> History:
    """Return items, weights, ages in seconds of the last 50 events, and all items taken, strictly before the moment."""
    if events is None:
        none = np.zeros(0, dtype=np.int64)
        return none, none, none, none
    items, weights, times = events
    end = int(np.searchsorted(times, moment))
    last = slice(max(end - 50, 0), end)
    return items[last], weights[last], (moment - times[last]) / 1e6, items[:end]


def _interest(model: InterestModel, vectors: Any, histories: list[History]) -> NDArray[np.float32]:
    n, length = len(histories), max(1, *(len(h[0]) for h in histories))
    recent = np.zeros((n, length, model.dim), np.float32)
    weights, ages = np.ones((n, length), np.float32), np.zeros((n, length), np.float32)
    mask = np.zeros((n, length), bool)
    for row, (items, weight, age, _) in enumerate(histories):
        k = len(items)
        recent[row, :k], weights[row, :k], ages[row, :k], mask[row, :k] = vectors[items], weight, age, True
    out: NDArray[np.float32] = model.user_vectors(recent, weights, ages, mask) @ vectors.T
    return out


def _profile(words: Any, histories: list[History]) -> NDArray[np.float32]:
    """Mean of the last 20 items' TF-IDF rows with decay 0.9."""
    from scipy.sparse import csr_matrix

    rows = np.concatenate([np.full(min(len(h[0]), 20), row) for row, h in enumerate(histories)])
    columns = np.concatenate([h[0][-20:] for h in histories])
    values = np.concatenate([0.9 ** np.arange(min(len(h[0]), 20))[::-1] for h in histories])
    taken = csr_matrix((values, (rows, columns)), shape=(len(histories), words.shape[0]))
    out: NDArray[np.float32] = ((taken @ words) @ words.T).toarray().astype(np.float32)
    return out


def _with(config: EncoderConfig, changes: list[str]) -> EncoderConfig:
    types = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    given = dict(change.split("=", 1) for change in changes)
    return replace(config, **{name: types[name](value) for name, value in given.items()})


def _progress() -> Any:
    started = time.monotonic()

    def show(step: str, done: int, total: int | None = None, note: str = "") -> None:
        if step == "tune encoder" and note:
            print(f"  {time.monotonic() - started:6.0f} s  epoch {done} of {total}  {note}", flush=True)

    return show


if __name__ == "__main__":
    main()
