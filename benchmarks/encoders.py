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
import importlib.util
import json
import tempfile
import time
from dataclasses import dataclass, fields, replace
from datetime import datetime
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from encoders.export import export_frames
from encoders.interest import InterestModel
from encoders.lexical import Words
from encoders.sequences import microseconds
from encoders.text import item_texts
from encoders.train import EncoderConfig, train
from ingest import columns as c

WEIGHTS = {"view": 1.0, "click": 2.0, "like": 4.0, "comment": 5.0, "share": 6.0, "purchase": 10.0, "hide": -1.0}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set as the judge cuts it."""

    data: str
    protocol: str
    events: tuple[str, ...] | None = None
    min_weight: float | None = None


CASES = {
    "amazon_beauty": Case(data="amazon_beauty", protocol="cutoff"),
    "online_retail_2y": Case(data="online_retail_2y", protocol="cutoff", events=("purchase",)),
    "movielens_small": Case(data="movielens_small", protocol="replay", events=("rating",), min_weight=4.0),
    "mind_ctr_lite": Case(data="mind_ctr_lite", protocol="rank"),
}


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
    case = CASES[name]
    source = _known_part(case, data / case.data, scratch / "known") if given.inner else data / case.data
    rank = case.protocol == "rank"
    if rank:
        asked = _rank_case(source, scratch / "case")
    else:
        made = _module(judge / "case.py").build(
            source, scratch / "case", case.events, case.min_weight, 0.9, case.protocol
        )
        asked = Asked.read(scratch / "case", made["cutoff"])
    texts = item_texts(asked.items)
    export_frames(
        asked.items, asked.log, scratch / "train", before=asked.cutoff, impressions=asked.impressions, texts=texts
    )
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
            figures = _module(judge / "score_rank.py").report(pl.read_parquet(scratch / "case/truth.parquet"), scored)
        else:
            found = _module(judge / "score.py").report(scratch / "case", scored)
            figures = {
                "ndcg@10": found["all"]["ndcg@10"],
                "warm": found["warm users"]["ndcg@10"] if "warm users" in found else None,
                "recall@10": found["all"]["recall@10"],
                "cold items' recall@10": found["cold items"]["recall@10"],
                "coverage": found["coverage"],
            }
        rows.append({"case": name, "system": system, **figures, "train s": round(seconds)})
    return rows


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What may be known, and what is asked: one row a query."""

    items: pl.DataFrame
    log: pl.DataFrame
    queries: pl.DataFrame
    """query_id, user_id, as_of; for ranking also item_id."""
    cutoff: datetime
    impressions: pl.DataFrame | None = None

    @classmethod
    def read(cls, folder: Path, cutoff: str) -> "Asked":
        """Read a case that the judge made."""
        return cls(
            items=_items(folder / "items.parquet"),
            log=_log(pl.read_parquet(folder / "interactions.parquet")),
            queries=pl.read_parquet(folder / "queries.parquet"),
            cutoff=datetime.fromisoformat(cutoff),
        )


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


def _rank_case(source: Path, out: Path) -> Asked:
    out.mkdir(parents=True)
    requests = pl.read_parquet(source / "requests.parquet")
    pl.read_parquet(source / "truth.parquet").write_parquet(out / "truth.parquet")
    shown = pl.read_parquet(source / "impressions.parquet")
    shown = shown.with_columns(occurred_at=pl.from_epoch("timestamp").cast(pl.Datetime("us")))
    log = pl.read_parquet(source / "interactions.parquet")
    log = log.select("user_id", "item_id", kind="event", occurred_at=pl.from_epoch("timestamp"))
    moments = requests[c.OCCURRED_AT].cast(pl.Datetime("us"))
    return Asked(
        items=_items(source / "items.parquet"),
        log=_log(log),
        queries=requests.select(query_id="request_id", user_id="user_id", item_id="item_id", as_of=moments),
        cutoff=datetime.max,
        impressions=shown,
    )


def _known_part(case: Case, source: Path, out: Path) -> Path:
    """Write what the case lets be known, as a data set of its own."""
    out.mkdir(parents=True)
    pl.read_parquet(source / "items.parquet").write_parquet(out / "items.parquet")
    log = pl.read_parquet(source / "interactions.parquet").filter(pl.col("timestamp").is_not_null())
    if case.events:
        log = log.filter(pl.col("event").is_in(case.events))
    if case.min_weight is not None:
        log = log.filter(pl.col("weight") >= case.min_weight)
    if case.protocol != "rank":
        cutoff = log["timestamp"].quantile(0.9, "nearest")
        log.filter(pl.col("timestamp") < cutoff).write_parquet(out / "interactions.parquet")
        return out
    # the last third of the known readers' requests is asked; their impressions leave the known part
    shown = pl.read_parquet(source / "impressions.parquet").with_columns(at=pl.from_epoch("timestamp"))
    asked = shown["user_id"].unique().sort().sample(fraction=0.33, seed=7)
    held = shown.filter(pl.col("user_id").is_in(asked.implode()))
    shown.filter(~pl.col("user_id").is_in(asked.implode())).drop("at").write_parquet(out / "impressions.parquet")
    held.select("request_id", "user_id", "item_id", occurred_at="at").write_parquet(out / "requests.parquet")
    held.select("request_id", "item_id", "clicked").write_parquet(out / "truth.parquet")
    later = log.join(held.select("request_id").unique(), on="request_id", how="anti")
    later.write_parquet(out / "interactions.parquet")
    return out


def _items(path: Path) -> pl.DataFrame:
    """Read a catalogue as the store would: unknown columns are attributes."""
    raw = pl.read_parquet(path)
    core = [name for name in (c.TITLE, c.DESCRIPTION, c.CATEGORIES) if name in raw.columns]
    rest = [name for name in raw.columns if name not in (c.ITEM_ID, *core)]
    packed = [json.dumps({name: row[name] for name in rest if row[name] is not None}) for row in raw.to_dicts()]
    return raw.select(c.ITEM_ID, *core).with_columns(pl.Series(c.ATTRIBUTES, packed, dtype=pl.String)).sort(c.ITEM_ID)


def _log(raw: pl.DataFrame) -> pl.DataFrame:
    weight = pl.col(c.KIND).replace_strict(WEIGHTS, default=1.0, return_dtype=pl.Float64)
    moment = pl.col(c.OCCURRED_AT).cast(pl.Datetime("us"))
    return raw.with_columns(weight.alias(c.WEIGHT), moment).sort(c.OCCURRED_AT, maintain_order=True)


def _with(config: EncoderConfig, changes: list[str]) -> EncoderConfig:
    types = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    given = dict(change.split("=", 1) for change in changes)
    return replace(config, **{name: types[name](value) for name, value in given.items()})


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _progress() -> Any:
    started = time.monotonic()

    def show(step: str, done: int, total: int | None = None, note: str = "") -> None:
        if step == "tune encoder" and note:
            print(f"  {time.monotonic() - started:6.0f} s  epoch {done} of {total}  {note}", flush=True)

    return show


if __name__ == "__main__":
    main()
