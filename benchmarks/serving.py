"""How fast does the service answer? Starts it on a workspace's bundle and asks it over HTTP.

    python benchmarks/serving.py --workspace DIR [--workers 2] [--seconds 10] [--out serving.json]

Latency is what one client sees that asks one question at a time over a kept connection; throughput is what several
clients get together, each with a connection of its own. Clients share the cores with the service: they are threads with
the standard library's client, which takes a third of a millisecond for a question. `CPU ms` is what an answer costs the
service's processes: the figure that stays when the machine is busy with other things. The budgets stand beside the
figures.
"""

import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the package of the same name as a neighbour
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import polars as pl
import psutil

from ingest import columns as c
from ingest.workspace import Workspace
from ranker.bundle import live_folder

BUDGETS = {
    "start to ready": "5 s",
    "rank 100 given items": "p50 3 ms, p99 8 ms",
    "recommend 20": "p50 10 ms, p99 25 ms, 150 requests/s",
    "recommend 20, explained": "",
    "accept 1 event": "",
}

Ask = Callable[[], tuple[str, dict[str, Any]]]


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("."), help="a workspace whose bundle serves")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service")
    parser.add_argument("--clients", type=int, default=4, help="questions at once while throughput is measured")
    parser.add_argument("--seconds", type=float, default=10, help="time for each measurement")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = live_folder(Workspace.open(options.workspace).bundles_path)
    asks = questions(folder, random.Random(options.seed))
    with running(options.workspace, options.workers) as (url, ready_s, service):
        rows = [{"what": "start to ready", "seconds": ready_s}]
        for what, ask in asks.items():
            latency = alone(url, ask, options.seconds, service)
            together = at_once(url, ask, options.seconds, options.clients)
            rows.append({"what": what, **latency, **together})
    n_items = pl.scan_parquet(folder / "items.parquet").select(pl.len()).collect().item()
    result = {
        "items": n_items,
        "workers": options.workers,
        "clients": options.clients,
        "cores": os.cpu_count(),
        "bundle": folder.name,
        "rows": rows,
    }
    print_table(result)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def questions(folder: Path, rng: random.Random) -> dict[str, Ask]:
    """Return what is asked, by name: each call draws another user, one in ten unknown, and other items."""
    items = pl.read_parquet(folder / "items.parquet", columns=[c.ITEM_ID])[c.ITEM_ID].to_list()
    users = pl.read_parquet(folder / "history" / "users.parquet")[c.USER_ID].to_list() or ["nobody"]

    def user() -> str:
        return f"unknown-{rng.random()}" if rng.random() < 0.1 else rng.choice(users)

    def given() -> list[dict[str, str]]:
        return [{c.ITEM_ID: item} for item in rng.sample(items, min(100, len(items)))]

    def event() -> dict[str, str]:
        # Only newcomers act: the users asked for keep the history that they have in the bundle.
        return {c.USER_ID: f"newcomer-{rng.randrange(1_000)}", c.ITEM_ID: rng.choice(items)}

    return {
        "rank 100 given items": lambda: ("/v1/rankings", {c.USER_ID: user(), "items": given()}),
        "recommend 20": lambda: ("/v1/recommendations", {c.USER_ID: user(), "k": 20}),
        "recommend 20, explained": lambda: ("/v1/recommendations", {c.USER_ID: user(), "k": 20, "explain": True}),
        "accept 1 event": lambda: ("/v1/events", {"events": [event()]}),
    }


@contextmanager
def running(workspace: Path, workers: int) -> Iterator[tuple[str, float, psutil.Process]]:
    """Run `readrank serve` on a free port; yields its URL, the seconds until it was ready, and its process."""
    program = Path(__file__).parents[1] / "readrank.py"
    command = [sys.executable, str(program), "serve", "--json", "--workspace", str(workspace)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--port", "0", "--workers", str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "READRANK_LOG_LEVEL": "warning"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit(process.wait())
        url = json.loads(line)["url"]
        while not is_ready(url):
            time.sleep(0.02)
        yield url, time.perf_counter() - started, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    """Say whether the service answers that it is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def cpu_seconds(service: psutil.Process) -> float:
    """Return the CPU time that a process and its children have used."""
    family = [service, *service.children(recursive=True)]
    return float(sum(sum(process.cpu_times()[:2]) for process in family))


def alone(url: str, ask: Ask, seconds: float, service: psutil.Process) -> dict[str, float]:
    """Ask one question after another; milliseconds by quantile."""
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=30)) as client:
        for _ in range(20):
            post(client, *ask())
        used, end, answers = cpu_seconds(service), time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            answers.append(post(client, *ask()))
    cpu_ms = (cpu_seconds(service) - used) / len(answers) * 1e3
    times, degraded = zip(*answers, strict=True)
    p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
    return {
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "cpu_ms": cpu_ms,
        "asked": len(answers),
        "degraded": sum(degraded),
    }


def at_once(url: str, ask: Ask, seconds: float, clients: int) -> dict[str, float]:
    """Ask from several clients at once; answers a second in all."""
    end = time.perf_counter() + seconds

    def one(_: int) -> list[bool]:
        degraded = []
        with closing(HTTPConnection(urlsplit(url).netloc, timeout=30)) as client:
            while time.perf_counter() < end:
                degraded.append(post(client, *ask())[1])
        return degraded

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        answers = [degraded for client in threads.map(one, range(clients)) for degraded in client]
    return {"per_second": len(answers) / (time.perf_counter() - started), "degraded_at_once": sum(answers)}


def post(client: HTTPConnection, path: str, body: dict[str, Any]) -> tuple[float, bool]:
    """Ask once; return the seconds until the answer was read, and whether it is a degraded one."""
    content = json.dumps(body)
    started = time.perf_counter()
    client.request("POST", path, content, {"Content-Type": "application/json"})
    answer = client.getresponse()
    said = answer.read()
    took = time.perf_counter() - started
    if answer.status not in (200, 202):
        sys.exit(f"{path}: wanted an answer, got status {answer.status}: {said.decode()[:200]}")
    return took, b'"degraded":true' in said


def print_table(result: dict[str, Any]) -> None:
    """Print the figures, the budget beside each."""
    print(
        f"{result['items']:,} items, {result['workers']} workers, {result['clients']} clients at once, "
        f"{result['cores']} cores (shared with the clients)\n"
    )
    print(f"{'':26}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'a second':>10}{'degraded':>10}   budget")
    for row in result["rows"]:
        budget = BUDGETS[row["what"]]
        if "seconds" in row:
            print(f"{row['what']:26}{row['seconds']:>9.1f} s{'':36}   {budget}")
            continue
        degraded = row["degraded"] + row["degraded_at_once"]
        quantiles = f"{row['p50_ms']:>9.1f}{row['p99_ms']:>9.1f}{row['cpu_ms']:>9.1f}"
        print(f"{row['what']:26}{quantiles}{row['per_second']:>10.0f}{degraded:>10.0f}   {budget}")


if __name__ == "__main__":
    main()
