"""Encoders tuned elsewhere for a ranker: what each of the two knows, and what they bring along."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from encoders.errors import ModelFolderError
from encoders.interest import InterestModel
from encoders.pair import train_pair
from encoders.sequences import read_sequences
from encoders.vectors import encoder_fingerprint


@pytest.fixture(scope="module")
def pair(shop, small, tiny_transformer, tmp_path_factory):
    """Early and final transformers of the shop."""
    out = tmp_path_factory.mktemp("pair")
    config = replace(small, kind="transformer", base=str(tiny_transformer), epochs=1, pairs_per_epoch=200)
    config = replace(config, validation_queries=0)  # whatever an epoch has learned is kept
    return out, *train_pair(shop.folder, out, config)


def test_the_early_one_knows_what_the_ranker_does_not_learn_from_and_the_final_one_everything(pair, shop):
    out, early, final = pair
    times = np.sort(read_sequences(shop.folder).times)
    assert InterestModel.load(out / "early").trained_before <= np.quantile(times, 0.9, method="nearest")
    assert InterestModel.load(out / "final").trained_before == times[-1] + 1
    assert early.best_epoch == 1
    assert early.events < final.events == len(times)


def test_texts_of_the_catalogue_go_through_no_model_again(pair, shop, monkeypatch):
    texts = pl.read_parquet(shop.folder / "items.parquet")["text"].to_list()
    for name in ("early", "final"):
        model = InterestModel.load(pair[0] / name)
        encoded = model._encode_new(texts)
        with monkeypatch.context() as patch:
            patch.setattr("encoders.transformer.encode_served", None)  # whoever calls it fails
            kept = model.encode(texts[::-1])[::-1]
        np.testing.assert_allclose(kept, encoded, atol=1e-3)
        mixed = model.encode([texts[5], "rose guitar", ""])
        np.testing.assert_array_equal(mixed[0], kept[5])
        np.testing.assert_allclose(mixed[1], model._encode_new(["rose guitar"])[0], atol=1e-6)
        assert not mixed[2].any()


def test_vectors_alone_tell_encoders_apart_and_cannot_read_anything_new(pair, tmp_path):
    prints = []
    for name in ("early", "final"):
        for file in ("config.json", "tower.npz", "item_vectors"):
            target = tmp_path / name / file
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(pair[0] / name / file)
        model = InterestModel.load(tmp_path / name)
        prints.append(encoder_fingerprint(model))
        with pytest.raises(ModelFolderError, match="1 texts that it has no vectors of"):
            model.encode(["rose guitar"])
    assert prints[0] != prints[1]


def test_static_encoders_bring_no_vectors(shop, small, tmp_path):
    train_pair(shop.folder, tmp_path, replace(small, epochs=1))
    assert not list(tmp_path.glob("*/item_vectors"))
    assert len(InterestModel.load(tmp_path / "final").encode(["rose"])) == 1
