"""What all rooms share: how many threads the tests and their children use, and one shop, trained once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Pools of threads that wait for each other by spinning are slow on a busy machine, and all that tests multiply is tiny.
# It is read when a library is first imported, here and in every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from encoders.train import EncoderConfig
from ingest.load import load_files
from ingest.store import Store
from ingest.workspace import Workspace
from offline_eval.simulate import SimulationConfig, simulate
from ranker.boost import BlendConfig
from ranker.bundle import promote
from ranker.examples import ExamplesConfig
from ranker.rank import Ranker
from ranker.train import train
from ranker.train_config import TrainConfig

hypothesis.settings.register_profile("busy machine", deadline=None)  # speed is measured in benchmarks, never here
hypothesis.settings.load_profile("busy machine")

SHOP = TrainConfig(
    encoder=EncoderConfig(base="catalogue", dim=32, epochs=1, continue_epochs=1, pairs_per_epoch=2_000),
    examples=ExamplesConfig(share=0.25),
    blend=BlendConfig(trees=60, leaves=15, patience=10, compiled=False),
)
"""How the shop is trained."""


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tiny shop, trained: nobody changes it."""
    files = simulate(SimulationConfig(n_events=6_000, n_users=300, n_items=200), tmp_path_factory.mktemp("log"))
    workspace = Workspace.create(tmp_path_factory.mktemp("shop") / "workspace", "[kinds]\nwave = 3.0\n")
    with Store.open(workspace.store_path) as store:
        load_files(store, [files.items, files.interactions, files.impressions])
    trained = train(workspace, SHOP)
    promote(workspace.bundles_path, trained.folder.name)
    return workspace


@pytest.fixture(scope="session")
def ranker(shop: Workspace) -> Ranker:
    (folder,) = [path for path in shop.bundles_path.iterdir() if path.is_dir()]
    return Ranker.load(folder)


@contextmanager
def held_store(path: Path) -> Iterator[int]:
    """Let another process have a store open meanwhile, and tell its number."""
    program = "import sys; from ingest.store import Store; s = Store.open(sys.argv[1]); print(flush=True); input()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as job:
        assert job.stdout is not None
        job.stdout.readline()
        try:
            yield job.pid
        finally:
            job.communicate(b"\n")
