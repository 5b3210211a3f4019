"""What does one act of the ingest benchmark cost? Does it once in this fresh process, and prints the cost as JSON.

    python benchmarks/ingest_worker.py '{"act": "load", "store": "s.duckdb", "files": ["log.jsonl"]}'

Imports are done before the clock starts. `cpu_seconds` is the processor time of all threads, which says more than the
clock on a machine that is shared. Memory is the high-water mark of this process (VmHWM), which also counts pages
of mapped files and libraries; `ru_maxrss` would carry over what the parent held when it started this process.
"""

import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the room `ingest` behind benchmarks/ingest.py
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import ingest  # noqa: F401  sets Polars' allocator, so it comes before Polars


def in_fresh_process(act: str, *, cores: int | None = None, **job: Any) -> dict[str, Any]:
    """Do one act in a process of its own and return what it cost; RuntimeError with its last words when it fails."""
    os.sync()  # what an earlier act left to be written is not this act's work
    command = [sys.executable, str(Path(__file__).resolve()), json.dumps({"act": act, "cores": cores, **job})]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{act} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    cost: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return cost


def load(store: str, files: list[str]) -> dict[str, Any]:
    """Load files into a store, from its opening to its closing, so that what counts is safe on disk."""
    import duckdb  # noqa: F401
    import polars  # noqa: F401
    import pyarrow  # noqa: F401

    from ingest.load import load_files
    from ingest.store import Store

    scratch = _Scratch(Path(store))
    started, worked = time.perf_counter(), time.process_time()
    with Store.open(store) as opened:
        reports = load_files(opened, files)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "rows_read": sum(report.rows_read for report in reports),
        "rows_loaded": sum(report.rows_loaded for report in reports),
        "rows_duplicate": sum(report.rows_duplicate for report in reports),
        "rows_rejected": sum(report.rows_rejected for report in reports),
        "store_bytes": Path(store).stat().st_size,
        "scratch_bytes": scratch.stop(),
    }


def read_ndjson(path: str) -> dict[str, Any]:
    """Read JSON lines with Polars alone: no checks, no duplicates, no database."""
    import polars as pl

    started, worked = time.perf_counter(), time.process_time()
    frame = pl.read_ndjson(path)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
        "rows_read": frame.height,
    }


def simulate(folder: str, **config: Any) -> dict[str, Any]:
    """Write the simulator's files into a folder."""
    from offline_eval.simulate import SimulationConfig
    from offline_eval.simulate import simulate as write

    started = time.perf_counter()
    made = write(SimulationConfig(**config), Path(folder))
    return {"seconds": time.perf_counter() - started, "path": str(made.interactions), "counts": made.counts}


def peak_bytes() -> int:
    """Return the most memory that this process has held, plus the most that any one child of it has."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    status = Path("/proc/self/status").read_text()
    return (int(status.partition("VmHWM:")[2].split()[0]) + children) * 1024


class _Scratch:
    """Watches the most that lies beside the store while it is written: write-ahead log and spilled data."""

    def __init__(self, store: Path) -> None:
        self._folder, self._name = store.parent, store.name
        self._most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """End watching; return bytes."""
        self._ended.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            beside = [path for path in self._folder.glob(f"{self._name}.*") for path in (path, *path.glob("**/*"))]
            self._most = max(self._most, sum(_size(path) for path in beside))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # it went while we looked
        return 0


ACTS: dict[str, Callable[..., dict[str, Any]]] = {"load": load, "read_ndjson": read_ndjson, "simulate": simulate}


def main() -> None:
    """Do what the first argument says."""
    job = json.loads(sys.argv[1])
    act, cores = job.pop("act"), job.pop("cores")
    if cores and hasattr(os, "sched_setaffinity"):
        # DuckDB and Polars start as many threads as there are cores that they may use.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    cost = ACTS[act](**job)
    print(json.dumps({**cost, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
