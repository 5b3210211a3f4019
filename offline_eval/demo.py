"""What does the demo walk through? A simulated year up to today, each command once, and two questions at the end."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ingest.errors import InputFileError
from ingest.progress import Progress, silent
from offline_eval.simulate import Simulation, SimulationConfig, simulate

SIMULATE: Final = "1/5  simulate a shop of a year and its customers: about {n_events:,} interactions"
ASK: Final = "5/5  start the service and ask it for a customer it knows and for one it has never seen"


def commands(shop: Path, log: Sequence[Path]) -> Iterator[tuple[str, list[str]]]:
    """Give the commands between simulating and asking, with what is said before each; the shop is a workspace."""
    at = ["--workspace", str(shop)]
    yield "2/5  make a workspace and ingest catalogue, interactions and impressions", ["init", str(shop)]
    yield "", ["ingest", *map(str, log), *at]
    yield (
        "3/5  tune encoder and ranker on all but the last tenth, and compare there with baselines",
        ["evaluate", *at],
    )
    yield "4/5  train on everything, for the service", ["train", *at]


def write_demo_log(folder: Path, n_events: int, *, progress: Progress = silent) -> Simulation:
    """Simulate about `n_events` interactions of the year that ends today into `log` inside the folder.

    What an earlier demo left in the folder is removed. A folder that holds anything else, or a file of its name, is
    refused with InputFileError, and stays as it is.
    """
    if folder.exists() and not folder.is_dir():
        raise InputFileError(f"{folder}: wanted a new folder or an earlier demo's, it is a file; name another")
    if folder.exists() and any(folder.iterdir()) and not (folder / "log" / "truth").exists():
        raise InputFileError(f"{folder}: wanted a new folder or an earlier demo's, it holds other files; name another")
    shutil.rmtree(folder, ignore_errors=True)
    today = datetime.now(UTC).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    config = SimulationConfig(n_events=n_events, start=today - timedelta(days=365))
    return simulate(config, folder / "log", progress=progress)
