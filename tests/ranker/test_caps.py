import json

import numpy as np
import polars as pl

from ingest import columns as c
from ranker.caps import Caps
from ranker.catalogue import Catalogue

SHELF = Catalogue.from_store(
    pl.DataFrame(
        {
            c.ITEM_ID: list("abcdef"),
            c.CATEGORIES: [["x"], ["x"], ["x", "y"], ["y"], [], ["x"]],
            c.ATTRIBUTES: ['{"brand": "p"}', '{"brand": "q"}', '{"brand": "p"}', '{"brand": "p"}', None, None],
        }
    ),
    pl.DataFrame(),
)
A, B, C, D, E, F = ROWS = np.arange(6)


def test_items_that_do_not_fit_are_passed_over():
    tally = Caps(SHELF, {"category": 2}).tally()
    assert ROWS[tally.pick(ROWS, 6)].tolist() == [A, B, D, E]
    assert ROWS[tally.open].tolist() == [D, E]


def test_an_item_fits_only_where_all_its_values_have_room():
    assert Caps(SHELF, {"category": 1}).tally().pick(np.array([D, C, A]), 3).tolist() == [0, 2]


def test_caps_of_categories_and_attributes_hold_together():
    caps = Caps(SHELF, {"category": 2, "brand": 1})
    assert ROWS[caps.tally().pick(ROWS, 6)].tolist() == [A, B, E]


def test_a_value_spelled_in_other_capitals_is_the_same():
    brands = [json.dumps({"brand": brand}) for brand in ("Acme", "acme", "Other")]
    shelf = Catalogue.from_store(pl.DataFrame({c.ITEM_ID: list("abc"), c.ATTRIBUTES: brands}), pl.DataFrame())
    assert Caps(shelf, {"brand": 1}).tally().pick(np.arange(3), 3).tolist() == [0, 2]


def test_a_blank_is_no_value():
    brands = [json.dumps({"brand": brand}) for brand in (" ", "", "  ", "Acme")]
    shelf = Catalogue.from_store(pl.DataFrame({c.ITEM_ID: list("abcd"), c.ATTRIBUTES: brands}), pl.DataFrame())
    assert Caps(shelf, {"brand": 1}).tally().pick(np.arange(4), 4).tolist() == [0, 1, 2, 3]
    assert shelf.facet_values == []


def test_items_without_a_value_are_not_capped():
    assert Caps(SHELF, {"brand": 1}).tally().pick(np.array([E, F, A, C]), 4).tolist() == [0, 1, 2]


def test_a_cap_of_nothing_caps_nothing():
    caps = Caps(SHELF, {"category": 0, "brand": 0, "author": 2})
    assert not caps
    assert len(caps.tally().pick(ROWS, 6)) == 6


def test_categories_asked_for_are_not_capped():
    assert ROWS[Caps(SHELF, {"category": 1}).tally(["x"]).pick(ROWS, 6)].tolist() == [A, B, C, E, F]


def test_picking_goes_on_where_it_was():
    tally = Caps(SHELF, {"category": 2}).tally()
    tally.pick(np.array([A]), 1)
    assert tally.pick(np.array([B, C, D]), 3).tolist() == [0, 2]


def test_caps_give_way_only_when_nothing_else_is_left():
    places, within = Caps(SHELF, {"category": 1}).tally().fill(ROWS, 6)
    # First what keeps to one of each category (a, d, e), then to two (b), three (c) and four (f).
    assert (ROWS[places].tolist(), within) == ([A, D, E, B, C, F], 3)


def test_no_more_places_are_filled_than_asked_for():
    assert ROWS[Caps(SHELF, {"category": 2}).tally().pick(ROWS, 3)].tolist() == [A, B, D]
    places, within = Caps(SHELF, {"category": 1}).tally().fill(ROWS, 4)
    assert (ROWS[places].tolist(), within) == ([A, D, E, B], 3)


def test_what_broke_a_cap_already_must_be_made_up_for_first():
    tally = Caps(SHELF, {"category": 1}).tally()
    tally.add(A)
    tally.add(C)
    # There are two of x, one too many, and one of y: there is room for a second y before there is for a third x.
    assert tally.fill(np.array([F, D]), 2)[0].tolist() == [1, 0]


def test_filling_ends_with_what_there_is():
    assert Caps(SHELF, {"category": 1}).tally().fill(ROWS, 9)[0].tolist() == [0, 3, 4, 1, 2, 5]
    places, within = Caps(SHELF, {}).tally().fill(np.empty(0, np.int64), 3)
    assert (places.tolist(), within) == ([], 0)
