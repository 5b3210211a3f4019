"""Which shop is small enough to train on in minutes? A simulated one, ingested, its log kept beside it."""

from pathlib import Path

from ingest.load import load_files
from ingest.store import Store
from ingest.workspace import Workspace
from offline_eval.simulate import Simulation, SimulationConfig, simulate


def small_shop(root: Path, n_events: int) -> tuple[Simulation, Workspace]:
    """Simulate a shop with impressions into `log` and ingest it into `shop`, both inside a folder."""
    log = simulate(SimulationConfig(n_events=n_events, interactions_format="parquet"), root / "log")
    workspace = Workspace.create(root / "shop", "")
    with Store.open(workspace.store_path) as store:
        load_files(store, log.files)
    return log, workspace
