"""Which log does the demo walk with? A simulated year up to today, in a folder that is the demo's own."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.errors import InputFileError
from ingest.progress import Progress, silent
from offline_eval.simulate import Simulation, SimulationConfig, simulate


def write_demo_log(folder: Path, n_events: int, *, progress: Progress = silent) -> Simulation:
    """Simulate about `n_events` interactions of the year that ends today into `log` inside the folder.

    What an earlier demo left in the folder is removed. A folder that holds anything else is refused with
    InputFileError, and stays as it is.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "log" / "truth").exists():
        raise InputFileError(f"{folder}: wanted a new folder or an earlier demo's, it holds other files; name another")
    shutil.rmtree(folder, ignore_errors=True)
    today = datetime.now(UTC).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    config = SimulationConfig(n_events=n_events, start=today - timedelta(days=365))
    return simulate(config, folder / "log", progress=progress)
