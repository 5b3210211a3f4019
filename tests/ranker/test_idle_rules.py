import json

import polars as pl
import pytest

from ingest import columns as c
from ranker.catalogue import Catalogue
from ranker.idle_rules import idle_rules
from ranker.rules import RulesConfig


@pytest.fixture
def folder(tmp_path):
    """A bundle's catalogue, of whose items one has a brand and a price."""
    told = [json.dumps({"colour": "red"}), json.dumps({"brand": "other", "cost": "3.5"})]
    items = pl.DataFrame({c.ITEM_ID: ["a", "b"], c.ATTRIBUTES: told})
    Catalogue.from_store(items, pl.DataFrame()).save(tmp_path)
    return tmp_path


def test_settings_that_name_what_no_item_has_are_told(folder):
    rules = RulesConfig(caps={"nosuch": 2, "category": 3, "brand": 1}, price_attribute="prise")
    assert list(idle_rules(folder, rules)) == [
        "caps under [rules]: no item has an attribute 'nosuch', so nosuch = 2 caps nothing",
        "caps under [rules]: no item has a category, so category = 3 caps nothing",
        "price_attribute under [rules]: no item has a number as its 'prise', "
        "so questions with min_price or max_price find nothing",
    ]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"caps": {"nosuch": 2}}, "caps under [rules]: no item has an attribute 'nosuch'"),
        ({"price_attribute": "prise"}, "price_attribute under [rules]: no item has a number as its 'prise'"),
    ],
)
def test_each_setting_is_told_alone(folder, rules, told):
    (sentence,) = idle_rules(folder, RulesConfig(**rules))
    assert sentence.startswith(told)


def test_settings_that_one_item_answers_to_are_not(folder):
    assert list(idle_rules(folder, RulesConfig(caps={"brand": 1, "nosuch": 0}, price_attribute="cost"))) == []


def test_a_shop_without_prices_is_told_nothing_of_a_default(tmp_path):
    assert list(idle_rules(tmp_path / "never read", RulesConfig())) == []
