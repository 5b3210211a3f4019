import json

import polars as pl

from encoders.text import TextConfig, item_text, item_texts, word_attributes


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
