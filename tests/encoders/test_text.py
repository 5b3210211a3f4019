import json
import unicodedata

import polars as pl
import pytest

from encoders import scripts
from encoders.text import TextConfig, item_text, item_texts, word_attributes
from ingest.settings import commented_toml, read_section, read_toml


def test_item_texts_reads_the_fields_in_order():
    items = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": ["Red scarf", "Blue hat"],
            "categories": [["Wool", "Winter"], []],
            "description": ["Soft.", None],
            "attributes": [json.dumps({"brand": "Nord"}), json.dumps({"brand": "Nord light"})],
        }
    )
    assert item_texts(items) == ["Red scarf. Wool, Winter. Soft. Nord.", "Blue hat. Nord light."]


def test_item_texts_without_any_text_are_empty():
    items = pl.DataFrame({"item_id": ["a"]}).with_columns(title=pl.lit(None, dtype=pl.String))
    assert item_texts(items) == [""]


def test_word_attributes_leaves_out_ids_addresses_and_constants():
    rows = [
        {
            "director": name,
            "tags": [tag, "classic"],
            "imdb": f"tt{n:07d}",
            "page": f"https://shop.example/{n}",
            "source": "feed",
            "year": 1990 + n,
            "serial": f"B00{n}XYZ9K",
            "unique": chr(97 + n) * 5,
        }
        for n, (name, tag) in enumerate(
            [("Ann Lee", "noir"), ("Bo Chan", "noir"), ("Ann Lee", "war"), ("Bo Chan", "war")]
        )
    ]
    assert word_attributes(rows) == ("director", "tags")


def test_item_text_cuts_the_description_before_the_tags():
    text = item_text(title="one two", description="a b c d e f", extra=["x y"], config=TextConfig(max_words=6))
    assert text == "one two. a b. x y."


def test_item_texts_survives_attributes_that_are_not_json():
    items = pl.DataFrame({"item_id": ["a"], "title": ["T"], "attributes": ["{broken"]})
    assert item_texts(items) == ["T."]


def test_fields_are_read_in_the_order_of_the_settings():
    given = {"title": "Red scarf", "categories": ["Wool"], "description": "Soft.", "extra": ["Nord"]}
    config = TextConfig(fields=("attributes", "description", "title"))
    assert item_text(**given, config=config) == "Nord. Soft. Red scarf."


def test_the_order_of_the_settings_decides_what_is_cut_last():
    given = {"title": "one two three", "categories": ["four five"]}
    assert item_text(**given, config=TextConfig(max_words=4)) == "one two three. four."
    assert item_text(**given, config=TextConfig(max_words=4, fields=("categories", "title"))) == "four five. one two."


@pytest.mark.parametrize("fields", [("title", "brand"), ("title", "title"), ()])
def test_fields_that_are_none_are_told_in_one_sentence(fields):
    with pytest.raises(
        ValueError, match="fields: wanted some of title, categories, description, attributes, each once"
    ):
        TextConfig(fields=fields)


def test_fields_come_from_the_settings_file(tmp_path):
    text = commented_toml({"text": TextConfig}).replace('"categories", ', "")
    (tmp_path / "readrank.toml").write_text(text)
    read = read_section(TextConfig, read_toml(tmp_path / "readrank.toml")["text"], where="[text]")
    assert read == TextConfig(fields=("title", "description", "attributes"))


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Großes  Käsemesser", "Großes Käsemesser."),
        ("Wasch\u00admaschine", "Waschmaschine."),
        ("Красный шарф", "Красный шарф."),
        ("\u200fوشاح أحمر\u200f", "وشاح أحمر."),
        ("\u202bצעיף אדום\u202c", "צעיף אדום."),
        ("红色围巾。", "红色围巾."),
        ("ｶﾞﾗｽの靴 ＡＢＣ", "ガラスの靴 ABC."),
        ("लाल दुपट्टा।", "लाल दुपट्टा."),
        ("👗 Kleid 👩‍🦰", "👗 Kleid 👩‍🦰."),
        (unicodedata.normalize("NFD", "Crème brûlée"), unicodedata.normalize("NFC", "Crème brûlée") + "."),
    ],
)
def test_text_of_any_script_keeps_its_letters(title, text):
    assert item_text(title=title) == text


@pytest.mark.parametrize(
    ("description", "words", "kept"),
    [
        ("a b c d e", 3, "a b c."),
        ("红色羊毛围巾很暖和", 3, "红色羊毛围巾."),
        ("电影。动作电影", 2, "电影。动作."),
        ("赤いスカーフ", 2, "赤いスカ."),
        ("ผ้าพันคอสีแดงนุ่มมาก", 1, "ผ้าพั."),
        ("Nikon用レンズ 50mm", 3, "Nikon用レンズ."),
    ],
)
def test_length_is_counted_where_words_are_not_written_apart(description, words, kept):
    assert item_text(description=description, config=TextConfig(max_words=words)) == kept


@pytest.mark.parametrize(
    "tags",
    [
        (["Gemüse", "frisch"], ["Gemüse", "günstig"], ["frisch", "günstig"]),
        (["боевик", "драма"], ["боевик", "ужасы"], ["драма", "ужасы"]),
        (["أكشن", "دراما"], ["أكشن", "رعب"], ["دراما", "رعب"]),
        (["动作片", "爱情"], ["动作片", "恐怖"], ["爱情", "恐怖"]),
        (["アクション", "恋愛"], ["アクション", "ホラー"], ["恋愛", "ホラー"]),
        (["फ़िल्म", "नाटक"], ["फ़िल्म", "डरावनी"], ["नाटक", "डरावनी"]),
        (["ตลก", "รัก"], ["ตลก", "สยองขวัญ"], ["รัก", "สยองขวัญ"]),
        (["می‌خواهم", "خوب"], ["می‌خواهم", "بد"], ["خوب", "بد"]),
    ],
)
def test_word_attributes_reads_words_of_any_script(tags):
    rows = [{"tags": list(own), "file": f"{own[0]}_{n}.jpg", "number": f"第{n}"} for n, own in enumerate(tags)]
    assert word_attributes(rows)[:1] == ("tags",)
    assert "file" not in word_attributes(rows)


def test_pieces_lose_nothing_of_a_text():
    for text in ("a  b", "电影。动作 电影", "ผ้าพันคอสีแดง น่ารัก!", "Nikon用レンズ", "👗红色👗", "。", ""):
        assert "".join(scripts.pieces(text)) == "".join(f" {word}" for word in text.split())
