import json

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ranker.attributes import numbers, values
from ranker.catalogue import Catalogue


def told(*attributes: str | None) -> Catalogue:
    return Catalogue(
        Catalogue.from_store(
            pl.DataFrame({c.ITEM_ID: [f"i{n}" for n in range(len(attributes))]}), pl.DataFrame()
        ).items.with_columns(pl.Series(c.ATTRIBUTES, attributes, pl.String))
    )


def test_numbers_come_from_numbers_and_from_text():
    items = told('{"price": 12.5}', '{"price": "13"}', '{"price": "free"}', '{"price": null}', "{}", None, "no JSON")
    np.testing.assert_array_equal(numbers(items, "price"), [12.5, 13, *[np.nan] * 5])


def test_numbers_are_finite_or_not_known():
    items = told('{"price": "NaN"}', '{"price": "inf"}', '{"price": true}', '{"price": [1]}', '{"price": -1}')
    np.testing.assert_array_equal(numbers(items, "price"), [*[np.nan] * 4, -1])


def test_blanks_around_a_number_are_not_part_of_it():
    items = told('{"price": " 4.5"}', '{"price": "4.5\\t"}', '{"price": "  "}', '{"price": "4 5"}')
    np.testing.assert_array_equal(numbers(items, "price"), [4.5, 4.5, np.nan, np.nan])


@pytest.mark.parametrize("name", ["price", "list price", "price.net", "Preis/Stück", "it's"])
def test_attributes_of_any_name_are_found(name):
    items = told(json.dumps({name: 3, "other": 4}))
    assert numbers(items, name).tolist() == [3]
    assert values(items, name) == [["3"]]


def test_values_are_one_or_several():
    items = told('{"by": "Ann"}', '{"by": ["Ann", "Bob", "Ann", null, ""]}', '{"by": ""}', "{}", '{"by": "[sic"}', None)
    assert values(items, "by") == [["ann"], ["ann", "bob"], [], [], ["[sic"], []]


def test_values_are_those_of_the_facets_however_they_are_spelled():
    items = told(*(json.dumps({"brand": brand}) for brand in ("Acme", "acme", " ACME ", ["Acme", "acme"])))
    assert values(items, "brand") == [["acme"]] * 4
    assert items.facet_values == [("brand", "acme")]


@pytest.mark.parametrize(
    ("authors", "counts"),
    [
        ("ABCADEFBC", True),  # of nine values six are shared: two books by an author are usual
        ("AABCD", False),  # of five two
        ("AABC", True),  # of four two: just half
        ("ABCDE", False),  # an id
    ],
)
def test_an_attribute_counts_when_half_of_what_its_items_hold_is_shared(authors, counts):
    items = told(*(json.dumps({"by": author, "sku": place}) for place, author in enumerate(authors)))
    shared = sorted({author.casefold() for author in authors if authors.count(author) > 1})
    assert items.facet_values == ([("by", author) for author in shared] if counts else [])


def test_who_has_which_value_is_kept_with_the_catalogue(tmp_path):
    catalogue = told('{"brand": "Acme"}', None, '{"brand": "acme"}')
    catalogue.save(tmp_path)
    kept = Catalogue.load(tmp_path)
    assert kept.facet_values == catalogue.facet_values == [("brand", "acme")]
    assert kept.facets.toarray().tolist() == catalogue.facets.toarray().tolist() == [[1], [0], [1]]
    for part in tmp_path.glob("facets_*.npy"):  # as an earlier bundle had it
        part.unlink()
    assert Catalogue.load(tmp_path).facets.toarray().tolist() == [[1], [0], [1]]
