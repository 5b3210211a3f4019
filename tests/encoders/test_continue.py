"""Continuing an earlier model: what was learned goes to the tokens that learned it, or the model is refused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer

from encoders.checkpoint import Checkpoint
from encoders.epochs import tune
from encoders.errors import EncoderError, ModelFolderError
from encoders.measure import held_out
from encoders.newcomer_bonus import NewcomerBonus
from encoders.sequences import read_sequences
from encoders.train import train
from encoders.trainer import Trainer, build, start_from
from ingest.progress import silent
from tests.encoders.conftest import TOPICS, make_base


@pytest.fixture(scope="module")
def earlier(shop, small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier") / "m"
    train(shop.folder, folder, small, epochs=1)
    return folder


def grown(shop):
    """Return the catalogue with sixty items more, whose words are the commonest: all other tokens move."""
    return [*read_sequences(shop.folder).texts, *["zebra yak xylem rose oven"] * 60]


def test_what_was_learned_goes_to_the_same_words_of_a_grown_catalogue(shop, small, earlier):
    encoder, tower, _ = build(small, grown(shop))
    start_from(encoder, tower, earlier)
    before = Tokenizer.from_file(str(earlier / "tokenizer.json"))
    words = [word for topic in TOPICS.values() for word in topic]
    moved = [word for word in words if before.token_to_id(word) != encoder.tokenizer.token_to_id(word)]
    assert moved  # or there is nothing to tell
    place = {token: n for n, token in enumerate(encoder.vocabulary.tolist())}
    with np.load(earlier / "static.npz") as stored:
        was = {token: n for n, token in enumerate(stored["vocabulary"].tolist())}
        for word in words:
            here, there = place[encoder.tokenizer.token_to_id(word)], was[before.token_to_id(word)]
            np.testing.assert_array_equal(encoder.learned[here].detach(), stored["learned"][there].astype(np.float32))
            assert float(encoder.log_weight[here].detach()) == stored["log_weight"][there]
    new = place[encoder.tokenizer.token_to_id("zebra")]
    assert not encoder.learned[new].any()


@pytest.mark.parametrize("left", [0, 100])
def test_damaged_parts_to_go_on_from_say_so(shop, small, earlier, tmp_path, left):
    folder = shutil.copytree(earlier, tmp_path / "m")
    (folder / "static.npz").write_bytes((folder / "static.npz").read_bytes()[:left])
    encoder, tower, _ = build(small, read_sequences(shop.folder).texts)
    with pytest.raises(ModelFolderError, match="wanted a trained static encoder"):
        start_from(encoder, tower, folder)


def test_a_catalogue_of_other_words_is_refused(small, earlier):
    encoder, tower, _ = build(small, ["никто не знает", "этих слов"])
    with pytest.raises(ModelFolderError, match="wanted tokens of the present catalogue"):
        start_from(encoder, tower, earlier)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"width": 8}, r"wanted weight of shape \(7, 8\), got \(7, 16\); set width = 16, heads = 2 and layers = 2"),
        ({"layers": 3}, r"wanted layers\.2\.\S+ of shape .*, got none; set width = 16"),
        ({"layers": 1}, r"wanted a tower without layers\.1\.\S+, got .*; set width = 16"),
        ({"heads": 4}, r"wanted layers\.0\.step of shape \(64, 4\), got \(64, 2\); set width = 16, heads = 2"),
    ],
)
def test_a_tower_of_another_shape_is_told_with_the_settings_it_had(shop, small, earlier, changes, told):
    encoder, tower, _ = build(replace(small, **changes), read_sequences(shop.folder).texts)
    with pytest.raises(EncoderError, match=told):
        start_from(encoder, tower, earlier)


def test_a_transformer_is_continued_only_where_texts_are_cut_into_the_same_tokens(
    shop, small, tiny_transformer, tmp_path
):
    config = replace(small, kind="transformer", base=str(tiny_transformer), tuning="none", epochs=0)
    train(shop.folder, tmp_path / "m", config)
    texts = read_sequences(shop.folder).texts
    encoder, tower, _ = build(config, texts)
    start_from(encoder, tower, tmp_path / "m")
    other = make_base(tmp_path, "Bert", words=("quite", "other", "words"))
    encoder, tower, _ = build(replace(config, base=str(other)), texts)
    with pytest.raises(ModelFolderError, match="another tokenizer or prompt; set the base that it began with"):
        start_from(encoder, tower, tmp_path / "m")
    wide = make_base(tmp_path / "wide", "Bert", width=64)
    encoder, tower, _ = build(replace(config, base=str(wide)), texts)
    with pytest.raises(ModelFolderError, match="wanted vectors of 64, got 32"):
        start_from(encoder, tower, tmp_path / "m")


def test_what_new_items_gain_stays_where_nobody_can_be_asked(shop, small, tmp_path):
    """A window that holds no question says nothing about new items."""
    before = NewcomerBonus(always=0.75)
    data = read_sequences(shop.folder)
    since = int(data.times.max()) + 1
    asked = held_out(data, since, most=50, seed=0)
    assert not len(asked.users)
    encoder, tower, _ = build(small, data.texts)
    trainer = Trainer(small, encoder, tower, data, continued=True)
    given = {"total": 1, "resume": False, "logs": None, "progress": silent, "until": None}
    assert tune(trainer, Checkpoint(tmp_path / "m", {}), data, asked, newcomers=before, **given).newcomers == before
