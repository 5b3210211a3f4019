"""Is a load whole or nothing, whenever it is killed? Kills one at random moments, and lets the next one finish it."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.killing import Ended, Snapshot, Victims, snapshot

NOT_YET = {"waiting", "opening", "loading"}
"""Phases in which nothing of the load may be in the store yet."""
SURELY = {"committed", "closing", "ended"}
"""Phases in which all of it must be: the load has said so."""


@dataclass(frozen=True, kw_only=True)
class Kills:
    """What became of the store each time."""

    kills: int
    held: int
    """Kills after which the store was as before or as after, and the next load led to exactly the full state."""
    as_after: int
    """Of those held, how often the load was already in the store."""
    phases: dict[str, int]
    """Kills by the last phase that the load had entered."""
    window_seconds: float
    """The moments are spread evenly over so long a time."""
    failures: list[str] = field(default_factory=list)
    """What was wrong, one sentence a kill that did not hold."""


def kill_loads(
    folder: Path,
    *,
    known: Path,
    log: Path,
    n: int,
    seed: int,
    since: str = "",
    tell: Callable[[int], None] = lambda done: None,
) -> Kills:
    """Kill `n` loads of `log` into copies of a store that holds `known`, each at a random moment from start to end.

    With `since` the moments lie between that phase and the end. A load that is done before its moment came is not
    counted, and another moment is drawn.
    """
    from ingest.load import load_files
    from ingest.store import Store

    rng = random.Random(seed)
    base, store = folder / "base.duckdb", folder / "store.duckdb"
    phases: Counter[str] = Counter()
    failures: list[str] = []
    as_after = 0
    with Victims() as victims:
        _clear(base)
        with Store.open(base) as opened:
            load_files(opened, [known])
            before = snapshot(opened)
        shutil.copyfile(base, store)
        with Store.open(store) as opened:
            load_files(opened, [log])
            after = snapshot(opened)
            load_files(opened, [log])
            twice = snapshot(opened)
        whole_runs = [_again(victims, base, store, log) for _ in range(3)]
        window = median(run.entered["ended"] - run.entered.get(since, 0.0) for run in whole_runs)
        while phases.total() < n:
            ended = _again(victims, base, store, log, kill_after=rng.uniform(0, window), kill_in=since)
            if not ended.killed:
                continue
            phases[ended.phase] += 1
            with Store.open(store) as opened:
                found = snapshot(opened)
                load_files(opened, [log])
                finished = snapshot(opened)
            wrong = _wrong(ended, found, finished, before=before, after=after, twice=twice)
            if wrong:
                failures.append(wrong)
                shutil.copyfile(store, folder / f"wrong-{len(failures)}.duckdb")
            as_after += not wrong and found == after
            tell(phases.total())
    return Kills(
        kills=n,
        held=n - len(failures),
        as_after=as_after,
        phases=dict(phases.most_common()),
        window_seconds=window,
        failures=failures,
    )


def _again(
    victims: Victims, base: Path, store: Path, log: Path, *, kill_after: float | None = None, kill_in: str = ""
) -> Ended:
    """Load into a fresh copy of the store; what an earlier victim left beside it is cleared."""
    _clear(store)
    shutil.copyfile(base, store)
    return victims.run("load", kill_after=kill_after, kill_in=kill_in, store=str(store), log=str(log))


def _clear(store: Path) -> None:
    for left in store.parent.glob(f"{store.name}*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _wrong(
    ended: Ended, found: Snapshot, finished: Snapshot, *, before: Snapshot, after: Snapshot, twice: Snapshot
) -> str:
    """Say what is wrong with what the dead load left, or with what the next one made of it; empty when nothing is."""
    at = f"killed after {ended.seconds:.3f} s while {ended.phase}"
    if found not in (before, after):
        return f"{at}: wanted the state before or after, got {_differing(found, before)}"
    if found == after and ended.phase in NOT_YET:
        return f"{at}: wanted the state before, got the state after"
    if found == before and ended.phase in SURELY:
        return f"{at}: the load was said to be in the store, and is not"
    whole = after if found == before else twice
    if finished != whole:
        return f"{at}: the next load was to lead to the full state, and differs in {_differing(finished, whole)}"
    return ""


def _differing(found: Snapshot, wanted: Snapshot) -> str:
    names = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    return ", ".join(
        f"{name} ({found.get(name, (0, ''))[0]} rows, not {wanted.get(name, (0, ''))[0]})" for name in names
    )
