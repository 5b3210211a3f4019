"""How often does the gate say the right thing? Nights of simulated shops, with models as good and with worse ones.

    python benchmarks/nights.py [--shops 8] [--events 20000] [--out nights.json]

Each shop trains a model on the first four fifths of its log, which then serves. The rest of the log arrives, and three
nights follow, each from that same state: one with the settings as they are, one with an encoder that is not tuned, and
one with hardly anything learned at all. The first should be promoted, the last refused; nobody knows what the second
deserves, and its differences tell.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide rooms behind benchmarks of their name
sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import shutil
import tempfile
from typing import Any

import polars as pl
from threadpoolctl import threadpool_limits

from ingest.load import load_files
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from offline_eval.gate import Check
from offline_eval.nightly import LIVE, nightly
from offline_eval.simulate import SimulationConfig, simulate
from offline_eval.windows import choose_cutoff
from ranker import bundle
from ranker.train import train
from ranker.train_config import TrainConfig

UNTUNED = '[encoder]\ntuning = "none"\nepochs = 0\n'
NIGHTS = {
    "the same settings": "",
    "an untuned encoder": UNTUNED,
    "next to nothing": UNTUNED + "[blend]\ntrees = 1\n[neighbours]\nsize = 1\n[factors]\nsize = 1\n",
}
SERVED = 0.8
"""Share of the log that the serving model has learned from."""


def main() -> None:
    """Print what each night of each shop came to, and how often each sort did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shops", type=int, default=8)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    for seed in range(given.shops):
        with tempfile.TemporaryDirectory(prefix="nights-") as scratch, threadpool_limits(1, "blas"):
            shop = served_shop(Path(scratch), given.events, seed)
            for name, settings in NIGHTS.items():
                found.append({"shop": seed, "night": name, **night_of(shop, settings)})
                print(found[-1], flush=True)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(pl.DataFrame(found).group_by("night", "decision", maintain_order=True).len())


def served_shop(folder: Path, events: int, seed: int) -> Workspace:
    """Simulate a shop whose model has learned from the earlier part of its log, and load the rest."""
    config = SimulationConfig(
        n_events=events, n_users=events // 20, n_items=1_000, seed=seed, interactions_format="parquet"
    )
    log = simulate(config, folder / "log")
    workspace = Workspace.create(folder / "shop", "")
    with Store.open(workspace.store_path) as store:
        load_files(store, log.files)
        served = choose_cutoff(store.interactions(before=END_OF_TIME), SERVED)
    model = train(workspace, TrainConfig.of(workspace), until=served).folder
    bundle.promote(workspace.bundles_path, model.name)
    return workspace


def night_of(shop: Workspace, settings: str) -> dict[str, Any]:
    """Let a night come over a copy of the shop; gives its decision and how the whole compares with what serves."""
    copy = shop.root.with_name("night")
    shutil.copytree(shop.root, copy)
    (copy / "readrank.toml").write_text(settings, encoding="utf-8")
    night = nightly(Workspace.open(copy))
    shutil.rmtree(copy)
    checks = night.comparison.checks if night.comparison else ()
    whole = next((check for check in checks if check.against == LIVE and check.segment == "all"), None)
    worse = [check.segment for check in checks if check.verdict == "worse"]
    return {"decision": night.decision, **(_figures(whole) if whole else {}), "worse": ", ".join(worse)}


def _figures(check: Check) -> dict[str, Any]:
    low, high = (None if each is None else round(each, 4) for each in (check.low, check.high))
    return {
        "n": check.n,
        "difference": round(check.value, 4),
        "low": low,
        "high": high,
        "allowed": round(check.allowed, 4),
    }


if __name__ == "__main__":
    main()
