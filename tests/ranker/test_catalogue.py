import polars as pl

from ingest import columns as c
from ranker.catalogue import SCHEMA, Catalogue


def in_categories(*categories):
    told = {c.ITEM_ID: [f"i{row}" for row in range(len(categories))], c.CATEGORIES: list(categories)}
    return Catalogue(
        pl.DataFrame(told, {name: SCHEMA[name] for name in told}).select(
            pl.col(name) if name in told else pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items()
        )
    )


def test_an_item_is_in_each_of_its_categories_once():
    catalogue = in_categories(["b", "a"], None, [], ["a", None, "", "a", "É"])
    assert catalogue.category_names == {"a": 0, "b": 1, "É": 2}
    assert catalogue.categories.toarray().tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert catalogue.in_categories(["b", "É", "unknown"]).tolist() == [True, False, False, True]


def test_a_given_item_is_in_each_of_its_categories_once():
    catalogue = in_categories(["b", "a"])
    assert catalogue.category_rows([("b", "b", "unknown", "a", "b"), ()]).toarray().tolist() == [[1, 1], [0, 0]]


def test_a_catalogue_may_have_no_category_and_no_item():
    assert in_categories(None, []).categories.shape == (2, 0)
    assert in_categories().categories.shape == (0, 0)
