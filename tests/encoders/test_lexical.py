import numpy as np
import pytest

from encoders.errors import ModelFolderError
from encoders.lexical import Words, catalogue_tokens


def test_words_weigh_as_their_formula_says():
    words = Words.fit(["red scarf", "red hat", "red scarf red scarf"])
    row = words.matrix(["scarf hat"]).toarray()[0]
    scarf, hat = np.log((1 + 3) / (1 + 2)) + 1, np.log((1 + 3) / (1 + 1)) + 1
    assert row[words.vocabulary["hat"]] == pytest.approx(hat / np.hypot(scarf, hat))
    assert row[words.vocabulary["scarf"]] == pytest.approx(scarf / np.hypot(scarf, hat))
    assert "red scarf" in words.vocabulary
    assert "red hat" not in words.vocabulary, "a run of words must recur"


def test_words_come_back_from_their_folder(tmp_path):
    texts = ["naïve café 🎉", "café noir", ""]
    words = Words.fit(texts)
    words.save(tmp_path)
    again = Words.load(tmp_path)
    assert (words.matrix(texts) != again.matrix(texts)).nnz == 0
    assert not list(tmp_path.glob("*.pkl"))


def test_words_of_nothing_are_zeros():
    assert Words.fit(["", ""]).matrix(["a", "b"]).shape == (2, 1)
    assert Words.fit([]).matrix([]).shape == (0, 1)


def test_damaged_words_say_so(tmp_path):
    with pytest.raises(ModelFolderError, match="wanted a saved vocabulary"):
        Words.load(tmp_path)


def test_catalogue_tokens_bring_words_of_one_topic_together():
    texts = ["rose tulip soil", "tulip rose", "soil rose tulip", "drum piano song", "song drum", "piano song drum"]
    tokenizer, vectors = catalogue_tokens(texts, 4)

    def vector(word):
        ids = tokenizer.encode(word, add_special_tokens=False).ids
        total = vectors[ids].sum(axis=0)
        return total / np.linalg.norm(total)

    assert vector("rose") @ vector("tulip") > vector("rose") @ vector("drum") + 0.5
