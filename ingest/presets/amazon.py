"""How are the Amazon review data sets of the McAuley lab read? The releases of 2014, 2018 and 2023.

Layouts as in https://jmcauley.ucsd.edu/data/amazon/, https://nijianmo.github.io/amazon/ and
https://amazon-reviews-2023.github.io/. A review is an interaction of kind `review` whose weight is its stars.
"""

import polars as pl

from ingest import columns as c
from ingest.mapping import ColumnsConfig
from ingest.presets.json_objects import JSON, TEXT, json_objects
from ingest.presets.known_files import Fill, KnownFile, passed_over
from ingest.presets.text_tables import csv_rows

_REVIEW = dict.fromkeys(
    ("user_id", "reviewerID", "parent_asin", "asin", "rating", "overall", "timestamp", "unixReviewTime"), TEXT
)
# What the review says, its pictures and the reviewer's name are not kept: nothing here reads them.
_OF_A_REVIEW = ("verified_purchase", "verified", "helpful_vote", "vote", "helpful", "style")
_RATING = ("user_id", "parent_asin|asin|item_id", "rating", "timestamp")
_PRODUCT = {
    **dict.fromkeys(("parent_asin", "asin", "title", "main_category", "main_cat"), TEXT),
    **dict.fromkeys(("description", "features", "feature", "categories", "category"), JSON),
}
# What other products were bought or looked at along with it is left out: it was collected after the events.
_OF_A_PRODUCT = (
    *("price", "brand", "store", "subtitle", "author", "average_rating", "rating_number"),
    *("salesRank", "rank", "date", "details"),
)


def files(columns: ColumnsConfig) -> tuple[KnownFile, ...]:
    """Describe the files of all releases; the first name that fits counts."""
    products = json_objects(_PRODUCT, kept=_OF_A_PRODUCT, literals=True)
    reviews_fill = Fill("interactions", _reviews, user_columns=("user_id", "reviewerID"))
    ratings_fill = Fill("interactions", _ratings, user_columns=("user_id",))
    reviews = json_objects(_REVIEW, kept=_OF_A_REVIEW)
    # From 2023 on `asin` is the variant that was bought, `parent_asin` the product.
    reviews_of_variants = json_objects(_REVIEW, kept=("asin", *_OF_A_REVIEW))
    return (
        *passed_over("qa_*.json", "image_features_*.b", "README*", "LICENSE*"),
        *(
            KnownFile(name, products, (Fill("items", _products),), form="jsonl")
            for name in ("meta_*.json", "meta_*.jsonl", "metadata.json", "*_Meta.json")
        ),
        KnownFile("*.json", reviews, (reviews_fill,), form="jsonl"),
        KnownFile("*.jsonl", reviews_of_variants, (reviews_fill,), form="jsonl"),
        # Ratings alone: the columns of 2014 and of 2018 stand in different orders, those of 2023 have names.
        KnownFile("ratings_*.csv", csv_rows("user_id", "asin", "rating", "timestamp", needs=_RATING), (ratings_fill,)),
        KnownFile("*.csv", csv_rows("asin", "user_id", "rating", "timestamp", needs=_RATING), (ratings_fill,)),
    )


def _reviews(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        c.LINE,
        pl.coalesce("user_id", "reviewerID").alias(c.USER_ID),
        pl.coalesce("parent_asin", "asin").alias(c.ITEM_ID),
        pl.lit("review").alias(c.KIND),
        pl.coalesce("rating", "overall").alias(c.WEIGHT),
        pl.coalesce("timestamp", "unixReviewTime").alias(c.OCCURRED_AT),
        c.REST,
    )


def _ratings(rows: pl.DataFrame) -> pl.DataFrame:
    product = pl.coalesce([name for name in ("parent_asin", "asin", "item_id") if name in rows.columns])
    return rows.select(
        c.LINE,
        pl.col("user_id").alias(c.USER_ID),
        product.alias(c.ITEM_ID),
        pl.lit("review").alias(c.KIND),
        pl.col("rating").alias(c.WEIGHT),
        pl.col("timestamp").alias(c.OCCURRED_AT),
    )


def _products(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each product; its features, sentences of the seller, follow the description."""
    texts = [_strings(pl.col(name)) for name in ("description", "feature", "features")]
    main = pl.concat_list(pl.coalesce("main_category", "main_cat"))
    categories = [main, *(_strings(pl.col(name)) for name in ("category", "categories"))]
    return rows.select(
        c.LINE,
        pl.coalesce("parent_asin", "asin").alias(c.ITEM_ID),
        c.TITLE,
        _together(texts).list.join("\n").alias(c.DESCRIPTION),
        _together(categories).list.unique(maintain_order=True).alias(c.CATEGORIES),
        c.REST,
    )


def _strings(json_text: pl.Expr) -> pl.Expr:
    """Return the strings of a JSON value however deep its lists go: 2014 has lists of lists, 2018 single strings."""
    return json_text.str.extract_all(r'"(?:[^"\\]|\\.)*"').list.eval(
        pl.element().str.json_decode(pl.String).str.strip_chars()
    )


def _together(lists: list[pl.Expr]) -> pl.Expr:
    joined = pl.concat_list([each.fill_null([]) for each in lists])
    return joined.list.eval(pl.element().filter(pl.element().is_not_null() & (pl.element() != "")))
