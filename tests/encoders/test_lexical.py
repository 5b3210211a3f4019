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


def test_words_fitted_with_their_rows_are_those_of_reading_again():
    texts = ["red shoe red", "blue shoe", "", "green hat with red band", "shoe shoe hat with", "hat with"]
    words, rows = Words.fit_rows(texts)
    assert words.vocabulary == Words.fit(texts).vocabulary
    assert (rows != words.matrix(texts)).nnz == 0
    assert Words.fit_rows([""])[1].nnz == 0


def test_words_of_nothing_are_zeros():
    assert Words.fit(["", ""]).matrix(["a", "b"]).shape == (2, 1)
    assert Words.fit([]).matrix([]).shape == (0, 1)


def test_words_can_be_asked_by_others_while_they_open():
    """Another thread asks just before the frequencies are known."""
    fitted = Words.fit(["red scarf", "red hat"])
    met = []

    class Idf:
        def astype(self, kind):
            if not met:
                met.append(None)
                met[0] = words.matrix(["hat"]).toarray()
            return fitted.idf.astype(kind)

    words = Words(fitted.vocabulary, Idf(), fitted.longest)
    assert words.matrix(["hat"]).toarray().tolist() == met[0].tolist() == fitted.matrix(["hat"]).toarray().tolist()


def test_damaged_words_say_so(tmp_path):
    with pytest.raises(ModelFolderError, match="wanted a saved vocabulary"):
        Words.load(tmp_path)
    Words.fit(["red scarf"]).save(tmp_path)
    (tmp_path / "words_idf.npy").write_bytes(b"")
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


@pytest.mark.parametrize(
    ("own", "like", "other"),
    [
        ("新动作电影", "动作片", "羊毛围巾"),
        ("ガラスの靴", "赤いガラス皿", "羊毛スカーフ"),
        ("ผ้าพันคอสีแดง", "ผ้าพันคอ", "หนังตลก"),
        ("लाल दुपट्टा", "दुपट्टा नीला", "नई फ़िल्म"),
        ("роза ёлка", "Ёлка", "барабан"),
    ],
)
def test_words_meet_in_any_script(own, like, other):
    words = Words.fit([own, like, other])
    vectors = words.matrix([own, like, other]).toarray()
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


def test_words_tell_letters_apart_that_only_a_mark_parts():
    words = Words.fit(["か", "が", "हिल", "हल"])
    assert len(words.vocabulary) == 4


def test_words_take_accents_for_nothing_in_latin_letters():
    assert Words.fit(["Crème BRÛLÉE"]).vocabulary.keys() == {"creme", "brulee"}


@pytest.mark.parametrize(
    ("texts", "asked"),
    [
        (
            ["动作电影", "看动作电影", "经典电影", "红色围巾", "羊毛围巾", "红色羊毛围巾"],
            ("新动作片", "经典电影", "羊毛围巾"),
        ),
        (["ガラスの靴", "ガラス皿", "皿と靴", "歌と太鼓", "太鼓の歌", "太鼓"], ("青いガラス", "ガラス皿", "太鼓の歌")),
        (["ผ้าพันคอ", "ผ้าขนสัตว์", "ผ้าพัน", "หนังตลก", "หนังผี", "ดูหนังตลก"], ("ผ้าพันแผล", "ผ้าขน", "หนังผี")),
    ],
)
def test_catalogue_tokens_read_what_is_written_without_spaces(texts, asked):
    tokenizer, vectors = catalogue_tokens(texts, 4)

    def vector(text):
        total = vectors[tokenizer.encode(text, add_special_tokens=False).ids].sum(axis=0)
        return total / np.linalg.norm(total)

    own, like, other = (vector(text) for text in asked)
    assert own @ like > own @ other + 0.3


def test_catalogue_tokens_pass_over_a_letter_that_no_item_has():
    tokenizer, _ = catalogue_tokens(["动作电影", "动作电影", "看动作"], 4)
    assert tokenizer.encode("新动作电影", add_special_tokens=False).tokens[1:] == ["动作", "##电影"]


def test_catalogue_tokens_of_spaced_scripts_are_words_without_accents():
    tokenizer, _ = catalogue_tokens(["Café noir", "café au lait", "Ёлка"], 4)
    assert tokenizer.encode("CAFE елка", add_special_tokens=False).tokens == ["cafe", "елка"]
