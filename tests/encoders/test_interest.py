import json
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


KINDS = ("view", "like", "follow")


def _tower_and_model(seed=0, layers=2, cut_dims=(), reads=True):
    torch.manual_seed(seed)
    tower = UserTower(12, width=8, heads=2, layers=layers, read_kinds_and_ages=reads, kinds=len(KINDS))
    with torch.no_grad():
        for value in tower.parameters():
            value.add_(0.3 * torch.randn_like(value))
    config = {"dim": 12, "kind": "static", "history": 6, "heads": 2, "layers": layers, "cut_dims": list(cut_dims)}
    config |= {"read_kinds_and_ages": reads, "kinds": KINDS}
    arrays = {name: value.numpy() for name, value in tower_arrays(tower).items()}
    return tower.eval(), InterestModel(None, config, arrays)


def _torch_users(tower, v, weights, ages, codes):
    with torch.no_grad():
        between = age_bucket(ages[:, None, :].astype(float) - ages[:, :, None])
        mean, state = tower.states(
            torch.from_numpy(v), torch.from_numpy(weight_bucket(weights)), torch.from_numpy(codes.astype(int)),
            torch.from_numpy(between), torch.ones(v.shape[:2], dtype=torch.bool),
        )  # fmt: skip
        return tower.users(mean[:, -1], state[:, -1], torch.from_numpy(age_bucket(ages[:, -1]))).numpy()


def _events(rng, count, dim=12):
    v = rng.normal(size=(1, count, dim)).astype(np.float32)
    weights = rng.choice([-1.0, 0.5, 1.0, 4.0, 10.0], size=(1, count)).astype(np.float32)
    ages = np.sort(rng.integers(0, 10**6, size=(1, count)))[:, ::-1].astype(np.float32)
    return v, weights, ages, rng.integers(0, len(KINDS) + 1, size=(1, count)).astype(np.uint8)


@pytest.mark.parametrize(
    ("side", "layers", "reads"),
    [
        ("left", 2, True),
        ("right", 2, True),
        ("left", 1, True),
        ("left", 3, True),
        ("left", 0, True),
        ("left", 2, False),
    ],
)
def test_numpy_tower_gives_what_torch_gives(side, layers, reads):
    """Whatever its depth, and also when it reads neither kinds nor ages."""
    tower, model = _tower_and_model(layers=layers, reads=reads)
    rng = np.random.default_rng(1)
    for count in range(1, 7):
        v, weights, ages, codes = _events(rng, count)
        wanted = _torch_users(tower, v, weights, ages, codes)
        pad = ((0, 0), (3, 0)) if side == "left" else ((0, 0), (0, 3))
        got = model.user_vectors(
            np.pad(v, (*pad, (0, 0)), constant_values=7), np.pad(weights, pad), np.pad(ages, pad),
            np.pad(np.ones((1, count), bool), pad), np.pad(codes, pad, constant_values=3),
        )  # fmt: skip
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


def test_users_in_a_batch_get_what_each_gets_alone():
    """Also where events stand on either side of gaps, and where there are more of them than the tower reads."""
    _, model = _tower_and_model()
    rng = np.random.default_rng(4)
    q, length = 150, 9
    v, weights = rng.normal(size=(q, length, 12)).astype(np.float32), rng.choice([-1.0, 1.0, 4.0], size=(q, length))
    ages, mask = np.sort(rng.integers(0, 10**6, size=(q, length)))[:, ::-1], rng.random((q, length)) < 0.7
    codes = rng.integers(0, len(KINDS) + 1, size=(q, length)).astype(np.uint8)
    together = model.user_vectors(v, weights, ages, mask, codes)
    rows = [(v[n, None], weights[n, None], ages[n, None], mask[n, None], codes[n, None]) for n in range(q)]
    alone = [model.user_vectors(*row)[0] for row in rows]
    np.testing.assert_allclose(together, alone, atol=1e-5 * np.abs(together).max())


def test_cut_model_gives_the_first_numbers_of_whole_histories():
    _, model = _tower_and_model(cut_dims=[4, 8])
    v, weights, ages, codes = _events(np.random.default_rng(5), 5)
    ones = np.ones((1, 5), bool)
    whole = model.user_vectors(v, weights, ages, ones, codes)
    np.testing.assert_allclose(model.cut(8).user_vectors(v, weights, ages, ones, codes), whole[:, :8], rtol=1e-6)
    assert model.cut(12) is model


def test_cut_model_reads_cut_histories_as_if_the_rest_were_zeros():
    tower, model = _tower_and_model(cut_dims=[4, 8])
    v, weights, ages, codes = _events(np.random.default_rng(6), 5)
    v[:, :, 8:] = 0
    wanted = _torch_users(tower, v, weights, ages, codes)[:, :8]
    got = model.cut(8).user_vectors(v[:, :, :8], weights, ages, np.ones((1, 5), bool), codes)
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


def test_untrained_length_is_refused_with_those_that_there_are():
    _, model = _tower_and_model(cut_dims=[4, 8])
    with pytest.raises(ModelFolderError, match="trained for, 4, 8, 12, got 5; choose one"):
        model.cut(5)
    with pytest.raises(ModelFolderError, match="trained for, 4, got 8"):
        model.cut(4).cut(8)


def test_cut_texts_are_the_first_numbers_at_length_one(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"cut_dims": [8]}))
    texts = ["rose tulip", "", "train hotel island"]
    whole, cut = InterestModel.load(model).encode(texts), InterestModel.load(model, dim=8).encode(texts)
    (model / "config.json").write_text(json.dumps(config))
    wanted = whole[:, :8] / np.maximum(np.linalg.norm(whole[:, :8], axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(cut, wanted, atol=1e-6)


def test_newcomers_gain_what_training_found_but_not_from_users_without_events():
    tower, model = _tower_and_model()
    users = np.array([[1] * 12, [0] * 12], np.float32)
    shared = np.array([[0, 0.5], [0, 0.5]], np.float32)
    assert not model.newcomers
    assert not model.newcomers.of(users, shared).any()
    arrays = {name: value.numpy() for name, value in tower_arrays(tower).items()}
    told = InterestModel(None, model.config | {"newcomers": {"always": 1.5, "words": 4.0}}, arrays)
    assert told.newcomers.of(users, shared).tolist() == [[1.5, 3.5], [0, 0]]
    earlier = InterestModel(None, model.config | {"newcomers": 1.5}, arrays)
    assert earlier.newcomers.of(users, shared).tolist() == [[1.5, 1.5], [0, 0]]


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


@pytest.mark.parametrize("stored", [{"always": 1.0}, {"always": 1.0, "words": "many"}, "much"])
def test_load_of_a_damaged_gain_says_so(model, tmp_path, stored):
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"newcomers": stored}))
    with pytest.raises(ModelFolderError, match="wanted a complete encoder"):
        InterestModel.load(tmp_path)
