import pytest
import torch
from threadpoolctl import threadpool_limits

from encoders.train import EncoderConfig
from ingest.load import load_files
from ingest.store import Store
from ingest.workspace import Workspace
from offline_eval.simulate import SimulationConfig, simulate
from ranker.bundle import promote
from ranker.examples import ExamplesConfig
from ranker.rank import Ranker
from ranker.train import TrainConfig, train


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tiny shop, trained: nobody changes it."""
    files = simulate(SimulationConfig(n_events=6_000, n_users=300, n_items=200), tmp_path_factory.mktemp("log"))
    workspace = Workspace.create(tmp_path_factory.mktemp("shop") / "workspace", "[kinds]\nwave = 3.0\n")
    with Store.open(workspace.store_path) as store:
        load_files(store, [files.items, files.interactions, files.impressions])
    encoder = EncoderConfig(base="catalogue", dim=32, epochs=1, continue_epochs=1, pairs_per_epoch=2_000)
    # Pools of threads that wait for each other by spinning are slow on a busy machine, and this shop is tiny.
    torch.set_num_threads(1)
    with threadpool_limits(1):
        trained = train(workspace, TrainConfig(encoder=encoder, examples=ExamplesConfig(share=0.25)))
    promote(workspace.bundles_path, trained.folder.name)
    return workspace


@pytest.fixture(scope="session")
def ranker(shop: Workspace) -> Ranker:
    (folder,) = [path for path in shop.bundles_path.iterdir() if path.is_dir()]
    return Ranker.load(folder)
