"""How long does a service take to load a bundle, and how much memory does it hold then? Asked of a fresh process."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.figures import Figure
from ingest.workspace import Workspace


def load_figures(workspace: Workspace, repeats: int) -> list[Figure]:
    """Load the bundle that serves, each time in a process of its own, until it has answered once."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.ranker_load", str(workspace.bundles_path)]
    told = [
        json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats)
    ]
    return [
        Figure(what="bundle ready", unit="s", values=[one["seconds"] for one in told]),
        Figure(what="memory held then", unit="MiB", values=[one["mib"] for one in told]),
        Figure(what="of it not read from files", unit="MiB", values=[one["own_mib"] for one in told]),
        Figure(what="bundle on disk", unit="MiB", values=[told[0]["disk_mib"]]),
    ]


def _load(bundles: Path) -> dict[str, float]:
    started = time.perf_counter()
    from api.recommender import load_ranker, warm_up
    from ranker.bundle import live_folder

    folder = live_folder(bundles)
    ranker = load_ranker(folder)
    warm_up(ranker)
    seconds = time.perf_counter() - started
    held = psutil.Process().memory_info()
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    mib = 1 << 20
    own = held.rss - held.shared
    return {"seconds": seconds, "mib": held.rss / mib, "own_mib": own / mib, "disk_mib": disk / mib}


if __name__ == "__main__":
    print(json.dumps(_load(Path(sys.argv[1]))))
