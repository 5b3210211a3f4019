"""Vectors of a catalogue are small, survive the disk, and only what changed is encoded again."""

import numpy as np
import pytest

from encoders.errors import ModelFolderError
from encoders.interest import InterestModel
from encoders.train import train
from encoders.vectors import CatalogueVectors, compressed, decompressed, encoder_fingerprint

TEXTS = {"a": "rose tulip", "b": "guitar drum", "c": "oven whisk", "d": ""}


@pytest.fixture(scope="module")
def folder(shop, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m"
    train(shop.folder, out, small, epochs=0)
    return out


@pytest.fixture
def model(folder):
    """A real encoder that notes what it was asked."""
    model = InterestModel.load(folder)
    encode, model.asked = model.encode, []

    def noting(texts):
        model.asked += texts
        return encode(texts)

    model.encode = noting
    return model


def of(model, texts=TEXTS, form="float16"):
    return CatalogueVectors.encode(model, list(texts), list(texts.values()), form)


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_rows_stay_near_and_keep_their_length(form):
    vectors = np.random.default_rng(3).normal(size=(200, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0
    back = decompressed(*compressed(vectors, form))
    step = {"float16": 2**-10, "int8": 1 / 127}[form] * np.abs(vectors).max(axis=1, keepdims=True)
    # half a step by rounding, and less than half by giving the row its length again
    assert (np.abs(back - vectors) <= step).all()
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), np.linalg.norm(vectors, axis=1), atol=1e-3)
    assert (back[7] == 0).all()


@pytest.mark.parametrize(("form", "bytes_a_row"), [("float16", 2 * 64), ("int8", 64 + 4)])
def test_form_is_as_small_as_it_says(form, bytes_a_row):
    rows, scales = compressed(np.ones((10, 64), np.float32), form)
    assert rows.nbytes + (0 if scales is None else scales.nbytes) == 10 * bytes_a_row


def test_another_form_is_refused():
    with pytest.raises(ValueError, match="wanted float16 or int8, got 'int4'"):
        compressed(np.ones((1, 2), np.float32), "int4")


def test_each_distinct_text_is_encoded_once(model):
    vectors = of(model, {**TEXTS, "e": TEXTS["a"]})
    assert sorted(model.asked) == sorted(TEXTS.values())
    np.testing.assert_array_equal(vectors.stored[0], vectors.stored[4])
    assert (vectors.floats()[3] == 0).all()


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_refresh_encodes_changed_and_new_texts_only(model, form):
    before = of(model, form=form)
    model.asked.clear()
    now = {"a0": "rose lawn", "a": TEXTS["a"], "c": "oven cake", "d": TEXTS["d"]}
    after, told = before.refresh(model, list(now), list(now.values()))
    assert sorted(model.asked) == ["oven cake", "rose lawn"]
    assert (told.encoded, told.kept, told.removed) == (2, 2, 1)
    assert after.ids == list(now)
    assert after.form == form
    np.testing.assert_array_equal(after.stored[[1, 3]], before.stored[[0, 3]])
    np.testing.assert_array_equal(after.stored, of(model, now, form).stored)
    np.testing.assert_array_equal(after.floats(), of(model, now, form).floats())


def test_text_that_moves_to_another_item_is_not_encoded_again(model):
    before = of(model)
    model.asked.clear()
    after, told = before.refresh(model, ["z"], [TEXTS["b"]])
    assert model.asked == []
    assert (told.encoded, told.kept, told.removed) == (0, 1, 4)
    np.testing.assert_array_equal(after.stored[0], before.stored[1])


def test_another_encoder_means_all_are_encoded(shop, small, model, tmp_path):
    from dataclasses import replace

    train(shop.folder, tmp_path / "m", replace(small, dim=8), epochs=0)
    other = InterestModel.load(tmp_path / "m")
    after, told = of(model).refresh(other, list(TEXTS), list(TEXTS.values()))
    assert (told.encoded, told.kept, told.removed) == (4, 0, 0)
    assert after.stored.shape == (4, 8)
    np.testing.assert_array_equal(after.stored, of(other).stored)


def test_the_user_tower_does_not_make_another_encoder(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with np.load(folder / "tower.npz") as tower:
        np.savez(tmp_path / "tower.npz", **{name: value * 2 for name, value in tower.items()})
    assert encoder_fingerprint(InterestModel.load(tmp_path)) == encoder_fingerprint(InterestModel.load(folder))


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_saved_vectors_come_back_bit_by_bit(model, form, tmp_path):
    vectors = of(model, form=form)
    vectors.save(tmp_path)
    model.asked.clear()
    loaded = CatalogueVectors.load(tmp_path)
    assert loaded.ids == vectors.ids
    np.testing.assert_array_equal(loaded.floats(), vectors.floats())
    assert loaded.refresh(model, vectors.ids, list(TEXTS.values()))[1].encoded == 0
    assert model.asked == []


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_rows_can_be_read_alone_and_all_of_them_cut(model, form):
    vectors = of(model, form=form)
    whole = vectors.floats()
    rows = np.array([[2, 0], [1, 1]])
    np.testing.assert_array_equal(vectors.at(rows), whole[rows])
    cut = vectors.floats(8)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), [1, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(cut * np.linalg.norm(whole[:, :8], axis=1, keepdims=True), whole[:, :8], atol=1e-6)


def test_empty_catalogue_can_be_kept_and_grow(model, tmp_path):
    of(model, {}).save(tmp_path)
    after, told = CatalogueVectors.load(tmp_path).refresh(model, ["a"], ["rose tulip"])
    assert told.encoded == len(after) == 1


@pytest.mark.parametrize("left", [0, 20])
@pytest.mark.parametrize("damage", ["vectors.json", "vectors.npy", "items.parquet"])
def test_load_of_a_damaged_folder_says_so(model, tmp_path, damage, left):
    of(model).save(tmp_path)
    (tmp_path / damage).write_bytes((tmp_path / damage).read_bytes()[:left])
    with pytest.raises(ModelFolderError, match="wanted vectors of a catalogue"):
        CatalogueVectors.load(tmp_path)
