"""What is measured of ingest, and which bar must it meet? One method a part of benchmarks/ingest.py."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Figure
from benchmarks.ingest_logs import GrowingLog, growing_log, one_log, warm
from benchmarks.ingest_worker import in_fresh_process
from benchmarks.load_kills import kill_loads
from offline_eval.shop_files import Format

MIB = 1 << 20
Cost = dict[str, Any]
"""What one act took, as benchmarks/ingest_worker.py tells it."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured, and how often."""

    events: int = 2_000_000
    """Events of the log whose speed is measured."""
    large: int = 50_000_000
    """Lines of the large log; a tenth, a fifth and a fiftieth of it are measured too."""
    repeats: int = 5
    """Runs of each measurement."""
    large_repeats: int = 1
    """Runs of the loads above a fifth of the large log; each other size has `repeats`."""
    kills: int = 300
    """Loads killed at any moment; a fifth as many are killed from their commit on."""
    kill_events: int = 30_000
    """Lines of the log whose load is killed."""
    cores: int = 2
    """Cores that a load may use."""
    seed: int = 7
    """Seed of the moments of killing."""


class Parts:
    """One run of the benchmark; the large loads are done once, however many parts look at them."""

    def __init__(self, sizes: Sizes, work: Path) -> None:
        self.sizes = sizes
        self.details: dict[str, Any] = {}
        """Costs of every run, what became of the kills, and rows of the page on sizing."""
        self._logs = work / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._stores = Path(tempfile.mkdtemp(prefix="stores-", dir=work))
        self._large_store = self._stores / "large.duckdb"
        self._loads: dict[int, list[Cost]] = {}

    def close(self) -> None:
        """Remove the stores; logs stay."""
        shutil.rmtree(self._stores)

    def jsonl(self) -> list[Figure]:
        """Measure JSON lines, beside Polars that reads them alone; it refuses a file for one ill-formed line."""
        log, clean = self._log(), self._log(clean=True)
        ours, ours_clean, alone = self._in_turn(
            "jsonl",
            ours=lambda turn: self._load_new(log),
            none_ill_formed=lambda turn: self._load_new(clean),
            read_ndjson=lambda turn: self._act("read_ndjson", path=str(clean)),
        )
        beside = median(_rates(alone))
        return [
            Figure(what="JSON lines", unit="events/s", values=_rates(ours), bar=500_000),
            Figure(what="JSON lines, none ill-formed", unit="events/s", values=_rates(ours_clean)),
            Figure(what="pl.read_ndjson alone, none ill-formed", unit="events/s", values=_rates(alone)),
            Figure(what="JSON lines by read_ndjson", unit="times", values=[r / beside for r in _rates(ours)], bar=0.2),
        ]

    def parquet(self) -> list[Figure]:
        """Measure Parquet."""
        log = self._log("parquet")
        (ours,) = self._in_turn("parquet", ours=lambda turn: self._load_new(log))
        return [Figure(what="Parquet", unit="events/s", values=_rates(ours), bar=1_500_000)]

    def again(self) -> list[Figure]:
        """Measure the same file a second time: every row is a duplicate."""
        log, store = self._log(), self._stores / "again.duckdb"
        first, second = self._in_turn(
            "again", first=lambda turn: self._load_new(log, into=store), second=lambda turn: self._load(log, store)
        )
        if any(cost["rows_loaded"] for cost in second):
            raise RuntimeError(f"the same file again: wanted duplicates alone, got new rows: {second}")
        ratios = [two["seconds"] / one["seconds"] for one, two in zip(first, second, strict=True)]
        return [
            Figure(what="the same file again", unit="events/s", values=_rates(second)),
            Figure(what="again, time by first time", unit="times", values=ratios, bar=1.0, at_most=True),
        ]

    def memory(self) -> list[Figure]:
        """Measure peak memory of the large log, and how it grew from a tenth of it."""
        small, large = self.sizes.large // 10, self.sizes.large
        peaks = [cost["peak_bytes"] / MIB for cost in self._loads_of(large)]
        beside = median(cost["peak_bytes"] / MIB for cost in self._loads_of(small))
        ratios = [peak / beside for peak in peaks]
        return [
            Figure(what=f"peak memory, {large:,} events", unit="MiB", values=peaks, bar=3 * 1024, at_most=True),
            Figure(what=f"by that of {small:,}", unit="times", values=ratios, bar=1.3, at_most=True),
        ]

    def append(self) -> list[Figure]:
        """Measure what follows the large log, piece by piece: to its store, and each to an empty one."""
        self._loads_of(self.sizes.large)
        pieces = self._growing.later
        empty, full = self._in_turn(
            "append",
            to_empty=lambda turn: self._load_new(pieces[turn]),
            to_full=lambda turn: self._load(pieces[turn], self._large_store),
        )
        beside = median(cost["seconds"] for cost in empty)
        ratios = [cost["seconds"] / beside for cost in full]
        what = f"{self.sizes.large // 50:,} events to"
        return [
            Figure(what=f"{what} an empty store", unit="s", values=[cost["seconds"] for cost in empty]),
            Figure(what=f"{what} one of {self.sizes.large:,}", unit="s", values=[cost["seconds"] for cost in full]),
            Figure(what="append, time by that to an empty store", unit="times", values=ratios, bar=1.5, at_most=True),
        ]

    def kill(self) -> list[Figure]:
        """Kill loads at random moments, and at random moments from their commit on."""
        n = self.sizes.kill_events
        lines = one_log(self._logs, n * 2).read_bytes().splitlines(keepends=True)
        folder = self._stores / "kill"
        folder.mkdir()
        known, log = folder / "known.jsonl", folder / "log.jsonl"
        known.write_bytes(b"".join(lines[: n // 2]))
        log.write_bytes(b"".join(lines[n // 2 - n // 10 : n // 2 + n * 9 // 10]))  # a tenth of it is known already
        moments = {
            "any moment": ("", self.sizes.kills),
            "a moment from the commit on": ("committing", self.sizes.kills // 5),
        }
        figures = []
        for name, (since, kills) in moments.items():

            def tell(done: int, name: str = name, kills: int = kills) -> None:
                if done % 20 == 0 or done == kills:
                    say(f"kill at {name}: {done} of {kills}")

            done = kill_loads(folder, known=known, log=log, n=kills, seed=self.sizes.seed, since=since, tell=tell)
            self.details.setdefault("kills", {})[name] = asdict(done)
            for failure in done.failures:
                say(f"kill at {name}: {failure}")
            figures.append(Figure(what=f"killed at {name}: held", unit=f"of {kills}", values=[done.held], bar=kills))
        return figures

    def sizing(self) -> list[Figure]:
        """Measure loads of three sizes: what docs/sizing.md tells."""
        large = self.sizes.large
        by_size = {n: self._loads_of(n) for n in (large // 50, large // 5, large)}
        self.details["sizing"] = [
            {"events": n, **{name: median(cost[name] for cost in costs) for name in costs[0]}}
            for n, costs in by_size.items()
        ]
        figures = []
        for n, costs in by_size.items():
            stored = [cost["store_bytes"] / cost["rows_loaded"] for cost in costs]
            peaks = [cost["peak_bytes"] / MIB for cost in costs]
            figures += [
                Figure(what=f"{n:,} events", unit="events/s", values=_rates(costs)),
                Figure(what=f"{n:,} events, store", unit="bytes an event", values=stored),
                Figure(what=f"{n:,} events, peak memory", unit="MiB", values=peaks),
            ]
        return figures

    def _log(self, form: Format = "jsonl", *, clean: bool = False) -> Path:
        say(f"log of {self.sizes.events:,} events, {form}{', none ill-formed' if clean else ''}")
        return one_log(self._logs, self.sizes.events, form, clean=clean)

    @cached_property
    def _growing(self) -> GrowingLog:
        large = self.sizes.large
        say(f"log of {large:,} events, and {self.sizes.repeats} pieces that follow it")
        lengths = (large, large // 5, large // 10, large // 50)
        return growing_log(self._logs, lengths, piece=large // 50, n_pieces=self.sizes.repeats)

    def _loads_of(self, n: int) -> list[Cost]:
        """Load the first `n` lines of the large log into new stores; that of all of them stays for `append`."""
        if n not in self._loads:
            log = self._growing.beginnings[n]
            into = self._large_store if n == self.sizes.large else None
            times = self.sizes.large_repeats if n > self.sizes.large // 5 else self.sizes.repeats
            (self._loads[n],) = self._in_turn(
                f"{n:,} events", times=times, ours=lambda turn: self._load_new(log, into=into)
            )
        return self._loads[n]

    def _in_turn(self, name: str, *, times: int | None = None, **acts: Callable[[int], Cost]) -> tuple[list[Cost], ...]:
        """Do the acts one after another, all of them again and again; each is told the turn. Costs by act."""
        costs: dict[str, list[Cost]] = {act: [] for act in acts}
        n_times = times or self.sizes.repeats
        for turn in range(n_times):
            for what, act in acts.items():
                cost = act(turn)
                costs[what].append(cost)
                figures = f"{cost['rows_read'] / cost['seconds']:,.0f} events/s, {cost['peak_bytes'] / MIB:,.0f} MiB"
                figures += f", {cost['cpu_seconds']:.1f} s of processor"
                say(f"{name}, {what.replace('_', ' ')}, {turn + 1} of {n_times}: {figures}")
        self.details.setdefault("runs", {})[name] = costs
        return tuple(costs.values())

    def _load_new(self, log: Path, *, into: Path | None = None) -> Cost:
        """Load into a new store, which stays only where it is named."""
        store = into or self._stores / "new.duckdb"
        _remove(store)
        cost = self._load(log, store)
        if into is None:
            _remove(store)
        return cost

    def _load(self, log: Path, store: Path) -> Cost:
        warm(log)
        return self._act("load", store=str(store), files=[str(log)])

    def _act(self, act: str, **job: Any) -> Cost:
        return in_fresh_process(act, cores=self.sizes.cores, **job)


def say(line: str) -> None:
    """Tell how far it is, apart from the results."""
    print(line, file=sys.stderr, flush=True)


def _rates(costs: list[Cost]) -> list[float]:
    return [cost["rows_read"] / cost["seconds"] for cost in costs]


def _remove(store: Path) -> None:
    for path in store.parent.glob(f"{store.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
