import subprocess
import sys

import numpy as np
import pytest
import torch

from encoders.buckets import age_bucket, weight_bucket
from encoders.errors import ModelFolderError
from encoders.interest import InterestModel
from encoders.tower import UserTower, tower_arrays
from encoders.train import train


@pytest.fixture(scope="module")
def model(shop, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m"
    train(shop.folder, out, small, epochs=1)
    return out


def _tower_and_model(seed=0):
    torch.manual_seed(seed)
    tower = UserTower(12, width=8, heads=2)
    with torch.no_grad():
        for value in tower.parameters():
            value.add_(0.3 * torch.randn_like(value))
    config = {"dim": 12, "kind": "static", "history": 6, "heads": 2, "layers": 2}
    arrays = {name: value.numpy() for name, value in tower_arrays(tower).items()}
    return tower.eval(), InterestModel(None, config, arrays)


@pytest.mark.parametrize("side", ["left", "right"])
def test_numpy_tower_gives_what_torch_gives(side):
    tower, model = _tower_and_model()
    rng = np.random.default_rng(1)
    for count in range(1, 7):
        v = rng.normal(size=(1, count, 12)).astype(np.float32)
        weights = rng.choice([-1.0, 0.5, 1.0, 4.0, 10.0], size=(1, count)).astype(np.float32)
        ages = np.sort(rng.integers(0, 10**6, size=(1, count)))[:, ::-1].astype(np.float32)
        with torch.no_grad():
            between = age_bucket(ages[:, None, :].astype(float) - ages[:, :, None])
            mean, state = tower.states(
                torch.from_numpy(v), torch.from_numpy(weight_bucket(weights)), torch.from_numpy(between),
                torch.ones(1, count, dtype=torch.bool),
            )  # fmt: skip
            wanted = tower.users(mean[:, -1], state[:, -1], torch.from_numpy(age_bucket(ages[:, -1]))).numpy()
        pad = ((0, 0), (3, 0)) if side == "left" else ((0, 0), (0, 3))
        got = model.user_vectors(
            np.pad(v, (*pad, (0, 0)), constant_values=7), np.pad(weights, pad), np.pad(ages, pad),
            np.pad(np.ones((1, count), bool), pad),
        )  # fmt: skip
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


def test_user_without_events_gets_zeros_beside_one_with():
    _, model = _tower_and_model()
    mask = np.array([[False, False], [True, False]])
    out = model.user_vectors(np.ones((2, 2, 12), np.float32), np.ones((2, 2)), np.zeros((2, 2)), mask)
    assert (out[0] == 0).all()
    assert (out[1] != 0).any()


def test_only_the_last_events_count():
    _, model = _tower_and_model()
    rng = np.random.default_rng(2)
    v, ones, mask = rng.normal(size=(1, 9, 12)).astype(np.float32), np.ones((1, 9), np.float32), np.ones((1, 9), bool)
    changed = v.copy()
    changed[:, : 9 - 6] = 5
    np.testing.assert_array_equal(
        model.user_vectors(v, ones, ones, mask), model.user_vectors(changed, ones, ones, mask)
    )


def test_encode_gives_unit_rows_and_zeros_for_no_text(model):
    vectors = InterestModel.load(model).encode(["rose tulip", "", "train hotel island"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-6)
    assert vectors.dtype == np.float32


def test_serving_imports_no_torch(model):
    code = (
        "import sys, numpy as np\n"
        "from encoders.interest import InterestModel\n"
        f"m = InterestModel.load({str(model)!r})\n"
        "v = m.encode(['rose tulip'])[None]\n"
        "m.user_vectors(v, np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1), bool))\n"
        "bad = {'torch', 'transformers', 'sentence_transformers', 'polars', 'duckdb'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_load_of_another_format_says_so(model, tmp_path):
    (tmp_path / "config.json").write_text('{"format": 99}')
    with pytest.raises(ModelFolderError, match="wanted encoder format 1, got 99"):
        InterestModel.load(tmp_path)
    with pytest.raises(ModelFolderError, match=r"no config\.json"):
        InterestModel.load(tmp_path / "nowhere")


def test_load_of_a_damaged_folder_says_so(model, tmp_path):
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 100 if file.name == "tower.npz" else None])
    with pytest.raises(ModelFolderError, match="wanted a complete encoder"):
        InterestModel.load(tmp_path)
