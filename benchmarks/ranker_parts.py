"""What is measured of the ranker, and which bar must it meet? One method a part of benchmarks/ranker.py."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from benchmarks.figures import Figure
from benchmarks.ranker_load import load_figures
from benchmarks.ranker_parity import served_and_batch
from benchmarks.ranker_shop import Shop, open_shop, some_items, some_queries, workspace_of
from benchmarks.ranker_stages import Timed, timed
from benchmarks.ranker_trees import milliseconds, scorers
from ingest.moments import to_microseconds
from ranker.arrays import Floats
from ranker.blend import Trees
from ranker.bundle import live_folder
from ranker.candidates import CandidatesConfig, blocks, propose
from ranker.features import compute
from ranker.initial_score import NO_INITIAL
from ranker.moments import Moments
from ranker.query import Query
from ranker.rules import RulesConfig, allowed_items

GIB_IN_MIB = 1024
TRAIN_MINUTES, TRAIN_GIB = 20, 8
BUDGET_ITEMS = 100_000
"""Of so large a catalogue the budget speaks; larger ones are measured without a bar."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured, and how often."""

    log: int = 1_000_000
    """Events of the log behind every part but train."""
    events: int = 10_000_000
    """Events of the log that part train learns from."""
    items: int = 100_000
    """Items of the catalogue."""
    live: int = 20_000
    """Latest events of the log that no bundle has: they come live."""
    requests: int = 10_000
    """Requests whose features are compared with those of the batch."""
    batch: int = 400
    """Queries scored in batch."""
    queries: int = 500
    """Single queries timed, of each sort."""
    given: int = 100
    """Items of a ranking."""
    k: int = 20
    """Items of a recommendation."""
    cores: int = 2
    """Threads of the batch."""
    repeats: int = 3
    """Runs of what is timed as a whole."""
    seed: int = 7
    """Seed of the shop and of what is drawn."""


class Parts:
    """One run of the benchmark; the shop is made and trained once, however many parts look at it."""

    def __init__(self, sizes: Sizes, work: Path) -> None:
        self.sizes = sizes
        self.details: dict[str, Any] = {}
        """What the figures leave out: milliseconds by stage, which features differed, versions of compilers."""
        self._work = work
        # As the service does: threads of BLAS wait for each other by spinning.
        self._limits = threadpool_limits(1)

    def parity(self) -> list[Figure]:
        """Compare the features of single requests with those of a batch."""
        found = served_and_batch(self._shop, self.sizes.requests, self._rng())
        self.details["parity"] = asdict(found)
        share = 100 * found.equal / max(found.requests, 1)
        apart = min(found.largest, float(np.finfo(np.float32).max))
        return [
            Figure(what=f"equal of {found.requests:,} requests", unit="%", values=[share], bar=100),
            Figure(what="largest difference", unit="of a value or of 1", values=[apart], bar=1e-6, at_most=True),
            Figure(what="requests with live events", unit="requests", values=[found.with_live_events]),
            Figure(what="values compared", unit="values", values=[found.values]),
        ]

    def batch(self) -> list[Figure]:
        """Measure features and scores of candidates that are known, and whole recommendations, in batch."""
        shop = self._shop
        queries = some_queries(shop, self.sizes.batch, self.sizes.k, self._rng())
        blend = shop.ranker.model.blend

        def scored(features: Callable[[], Floats]) -> int:
            return len(blend.score(features()))

        def whole(block: slice) -> int:
            return scored(self._candidates(queries, block))

        parts = list(blocks(len(queries), len(shop.ranker.catalogue)))
        at_once = 2 * self.sizes.cores  # each block holds the scores of its queries for the whole catalogue
        known, all_of_it = [], []
        with ThreadPoolExecutor(self.sizes.cores) as pool:
            for _ in range(self.sizes.repeats):
                rows, spent = 0, 0.0
                for start in range(0, len(parts), at_once):
                    ready = [self._candidates(queries, block) for block in parts[start : start + at_once]]
                    started = time.perf_counter()
                    rows += sum(pool.map(scored, ready))
                    spent += time.perf_counter() - started
                known.append(rows / spent)
                started = time.perf_counter()
                rows = sum(pool.map(whole, parts))
                all_of_it.append(rows / (time.perf_counter() - started))
        what = f"{self.sizes.cores} threads"
        return [
            Figure(what=f"features and scores, {what}", unit="rows/s", values=known, bar=100_000),
            Figure(what=f"with sources and candidates, {what}", unit="rows/s", values=all_of_it),
        ]

    def single(self) -> list[Figure]:
        """Measure one answer at a time in this process, without HTTP."""
        shop, sizes, rng = self._shop, self.sizes, self._rng()
        queries = some_queries(shop, sizes.queries, sizes.k, rng)
        items = [some_items(shop, sizes.given, rng) for _ in queries]
        history = shop.live
        rank = timed([_asking(shop.ranker.rank, *both, history) for both in zip(queries, items, strict=True)])
        recommend = timed([_asking(shop.ranker.recommend, query, history) for query in queries])
        n_items = len(shop.ranker.catalogue)
        bars = (10.0, 25.0) if n_items <= BUDGET_ITEMS else (None, None)
        named = {
            f"rank {sizes.given} given items": (rank, 3.0, 8.0),
            f"recommend {sizes.k} of {n_items:,}": (recommend, *bars),
        }
        self.details["stages"] = {name: one.stages for name, (one, _, _) in named.items()}
        return [figure for name, one in named.items() for figure in _answer_figures(name, *one)]

    def load(self) -> list[Figure]:
        """Measure how long a service takes to load the bundle, and how much memory it holds."""
        open_shop(self._workspace, self.sizes.live)
        return load_figures(self._workspace, self.sizes.repeats)

    def trees(self) -> list[Figure]:
        """Measure the bundle's own trees by LightGBM and by what compiles them."""
        rng, folder = self._rng(), live_folder(self._workspace.bundles_path)
        models = [path for path in (folder / "ranker.txt", folder / "ranker_given.txt") if path.is_file()]
        figures = []
        for model in models:
            queries = some_queries(self._shop, 20, self.sizes.k, rng)
            few = self._candidates(queries, slice(None))()
            trees = Trees.load(model, initial=NO_INITIAL)
            n_trees = trees.booster.num_trees()
            for scorer in scorers(model, few[:500]):
                if scorer.score is None:
                    self.details.setdefault("not installed", []).append(scorer.name)
                    continue
                for n in (100, 500, 50_000):
                    rows = few[rng.integers(len(few), size=n)]
                    took = [milliseconds(scorer.score, rows) for _ in range(self.sizes.repeats)]
                    figures.append(Figure(what=f"{n_trees} trees, {n:,} rows: {scorer.name}", unit="ms", values=took))
                if scorer.compile_s:
                    made = [scorer.compile_s]
                    figures.append(Figure(what=f"{n_trees} trees: {scorer.name} compiles", unit="s", values=made))
        self.details["compilers"] = {name: _version(name) for name in ("lightgbm", "onnxruntime", "lleaves", "tl2cgen")}
        return figures

    def train(self) -> list[Figure]:
        """Train by the command line on the large log: minutes, and the peak memory of that process and its children."""
        workspace = workspace_of(self._work, self.sizes.events, self.sizes.items, self.sizes.seed)
        program = Path(__file__).resolve().parents[1] / "readrank.py"
        command = [sys.executable, str(program), "train", "--no-promote", "--json", "--workspace", str(workspace.root)]
        started = time.perf_counter()
        process = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
        peak = _peak_memory(process)
        self.details["trained"] = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        minutes = (time.perf_counter() - started) / 60
        if status:
            raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
        what = f"{self.sizes.events:,} events"
        return [
            Figure(what=f"train, {what}", unit="min", values=[minutes], bar=TRAIN_MINUTES, at_most=True),
            Figure(what="time of the processor", unit="min", values=[(usage.ru_utime + usage.ru_stime) / 60]),
            Figure(
                what="peak memory, all processes",
                unit="MiB",
                values=[peak],
                bar=TRAIN_GIB * GIB_IN_MIB,
                at_most=True,
            ),
        ]

    @cached_property
    def _workspace(self) -> Any:
        return workspace_of(self._work, self.sizes.log, self.sizes.items, self.sizes.seed)

    @cached_property
    def _shop(self) -> Shop:
        return open_shop(self._workspace, self.sizes.live)

    def _candidates(self, queries: list[Query], block: slice) -> Callable[[], Floats]:
        """Propose the candidates of some queries, asked of the live history; return what computes their features."""
        shop, sources = self._shop, self._shop.ranker.model.sources
        asked = queries[block]
        moments = Moments(
            users=shop.live.user_rows([query.user_id for query in asked]),
            as_of=np.full(len(asked), to_microseconds(shop.live_until)),
        )
        situation = sources.situation(shop.live, moments)
        allowed = allowed_items(shop.live, moments, sources.catalogue, RulesConfig())
        pairs = propose(sources, situation, allowed, CandidatesConfig())
        return lambda: compute(situation, sources.everything, pairs, sources)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.sizes.seed)


def _peak_memory(process: psutil.Popen) -> float:
    """Look each second, until it ends, how much memory a process and its children hold; MiB.

    What they share, such as libraries, counts for each.
    """
    peak = 0.0
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            held = 0
            for each in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    held += each.memory_info().rss
            peak = max(peak, held / 2**20)
            time.sleep(1)
    return peak


def _asking(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _answer_figures(name: str, took: Timed, p50: float | None, p99: float | None) -> list[Figure]:
    stages = [
        Figure(what=f"  of it {stage}", unit="ms, median", values=[spent])
        for stage, spent in took.stages.items()
        if spent >= 0.005
    ]
    return [
        Figure(what=f"{name}: p50", unit="ms", values=[median(took.whole)], bar=p50, at_most=True),
        Figure(what=f"{name}: p99", unit="ms", values=[took.quantile(0.99)], bar=p99, at_most=True),
        Figure(what=f"{name}: processor", unit="ms, mean", values=[took.processor]),
        *stages,
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
