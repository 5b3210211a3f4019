"""What may an encoder know of a data set, and what is it asked? Cases as the judge cuts them, as training folders."""

import importlib.util
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType

import polars as pl

from encoders.export import export_frames
from encoders.text import item_texts
from ingest import columns as c

WEIGHTS = {"view": 1.0, "click": 2.0, "like": 4.0, "comment": 5.0, "share": 6.0, "purchase": 10.0, "hide": -1.0}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set as the judge cuts it."""

    data: str
    protocol: str
    """`cutoff`, `replay`, or `rank`: given items are ordered."""
    events: tuple[str, ...] | None = None
    min_weight: float | None = None


CASES = {
    "amazon_beauty": Case(data="amazon_beauty", protocol="cutoff"),
    "online_retail_2y": Case(data="online_retail_2y", protocol="cutoff", events=("purchase",)),
    "movielens_small": Case(data="movielens_small", protocol="replay", events=("rating",), min_weight=4.0),
    "mind_ctr_lite": Case(data="mind_ctr_lite", protocol="rank"),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What may be known, and what is asked: one row a query."""

    items: pl.DataFrame
    """Sorted by item_id, as in the training folder."""
    log: pl.DataFrame
    """Sorted by time; a query reads what lies strictly before its own moment."""
    queries: pl.DataFrame
    """query_id, user_id, as_of; for a ranking of given items also item_id."""
    cutoff: datetime
    """Training uses nothing from this moment on."""
    impressions: pl.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A case ready to train on and to be judged."""

    name: str
    rank: bool
    """True for a ranking of given items."""
    training: Path
    """The training folder: all that a training reads."""
    judged: Path
    """What the judge reads: truth, and for recommendations queries, log and cutoff."""
    asked: Asked
    texts: list[str]
    """One text an item, in the order of `asked.items`."""


def prepare(name: str, *, data: Path, judge: Path, scratch: Path, inner: bool = False) -> Prepared:
    """Write the case's training folder and what the judge reads into `scratch`, which should be empty.

    `data` holds the data sets, `judge` its programs. With `inner`, the case is cut from what was known before its
    cutoff: the place to choose settings.
    """
    case = CASES[name]
    rank = case.protocol == "rank"
    source = _known_part(case, data / case.data, scratch / "known") if inner else data / case.data
    judged = scratch / "case"
    if rank:
        asked = _rank_case(source, judged)
    else:
        made = judge_module(judge / "case.py").build(source, judged, case.events, case.min_weight, 0.9, case.protocol)
        asked = Asked(
            items=_items(judged / "items.parquet"),
            log=_log(pl.read_parquet(judged / "interactions.parquet")),
            queries=pl.read_parquet(judged / "queries.parquet"),
            cutoff=datetime.fromisoformat(made["cutoff"]),
        )
    texts = item_texts(asked.items, None)
    training = scratch / "train"
    export_frames(asked.items, asked.log, training, before=asked.cutoff, impressions=asked.impressions, texts=texts)
    return Prepared(name=name, rank=rank, training=training, judged=judged, asked=asked, texts=texts)


def judge_module(path: Path) -> ModuleType:
    """Import one of the judge's programs from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rank_case(source: Path, out: Path) -> Asked:
    out.mkdir(parents=True)
    requests = pl.read_parquet(source / "requests.parquet")
    pl.read_parquet(source / "truth.parquet").write_parquet(out / "truth.parquet")
    shown = pl.read_parquet(source / "impressions.parquet")
    moment = pl.from_epoch("timestamp").cast(pl.Datetime("us"))
    shown = shown.with_columns(occurred_at=moment, clicked_at=pl.when("clicked").then(moment))
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
    # a third of the known readers are asked; their requests and clicks leave the known part
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
