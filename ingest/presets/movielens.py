"""How are the MovieLens data sets read? All releases: 100K (u.data), 1M and 10M (.dat), 20M, 25M, 32M, latest (.csv).

Layouts as in the README of each release, https://grouplens.org/datasets/movielens/. Ratings are interactions of kind
`rating` whose weight is the number of stars; tags are interactions of kind `tag`.
"""

import polars as pl

from ingest import columns as c
from ingest.mapping import ColumnsConfig
from ingest.presets.known_files import Fill, KnownFile, as_iso, as_json, passed_over
from ingest.presets.text_tables import csv_rows, cut_lines

_RATING = ("userId", "movieId", "rating", "timestamp")
_TAG = ("userId", "movieId", "tag", "timestamp")
_MOVIE = ("movieId", "title", "genres")
# The 19 flags of u.item, in the order of u.genre.
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_ITEM = ("movieId", "title", "released", "released_on_video", "imdb_url", *_GENRES)


def files(columns: ColumnsConfig) -> tuple[KnownFile, ...]:
    """Describe the files of all releases."""
    return (
        KnownFile("ratings.csv", csv_rows(needs=_RATING), (Fill("interactions", _ratings, user_columns=("userId",)),)),
        KnownFile("tags.csv", csv_rows(needs=_TAG), (Fill("interactions", _tags, user_columns=("userId",)),)),
        KnownFile("movies.csv", csv_rows(needs=_MOVIE), (Fill("items", _movies),)),
        KnownFile("ratings.dat", cut_lines("::", _RATING), (Fill("interactions", _ratings, user_columns=("userId",)),)),
        KnownFile("tags.dat", cut_lines("::", _TAG), (Fill("interactions", _tags, user_columns=("userId",)),)),
        KnownFile("movies.dat", cut_lines("::", _MOVIE), (Fill("items", _movies),)),
        KnownFile("u.data", cut_lines("\t", _RATING), (Fill("interactions", _ratings, user_columns=("userId",)),)),
        KnownFile("u.item", cut_lines("|", _ITEM), (Fill("items", _movies_of_100k),)),
        # Ids in other catalogues would make items of films without text; users and tag relevance are not stored;
        # the splits of 100K and 10M repeat the ratings.
        *passed_over("links.csv", "genome-scores.csv", "genome-tags.csv", "users.dat", "u.user", "u.genre"),
        *passed_over("u.info", "u.occupation", "u*.base", "u*.test", "r*.train", "r*.test"),
        *passed_over("README*", "checksums.txt", "*.sh", "*.pl", "LICENSE*"),
    )


def _ratings(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        c.LINE,
        pl.col("userId").alias(c.USER_ID),
        pl.col("movieId").alias(c.ITEM_ID),
        pl.lit("rating").alias(c.KIND),
        pl.col("rating").alias(c.WEIGHT),
        pl.col("timestamp").alias(c.OCCURRED_AT),
    )


def _tags(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        c.LINE,
        pl.col("userId").alias(c.USER_ID),
        pl.col("movieId").alias(c.ITEM_ID),
        pl.lit("tag").alias(c.KIND),
        pl.col("timestamp").alias(c.OCCURRED_AT),
        as_json(tag=pl.col("tag")),
    )


def _movies(rows: pl.DataFrame) -> pl.DataFrame:
    genres = pl.col("genres").replace("(no genres listed)", None)
    return rows.select(c.LINE, pl.col("movieId").alias(c.ITEM_ID), c.TITLE, genres.alias(c.CATEGORIES))


def _movies_of_100k(rows: pl.DataFrame) -> pl.DataFrame:
    flagged = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in _GENRES if name != "unknown"]
    return rows.select(
        c.LINE,
        pl.col("movieId").alias(c.ITEM_ID),
        c.TITLE,
        pl.concat_list(flagged).list.drop_nulls().alias(c.CATEGORIES),
        as_iso(pl.col("released"), "%d-%b-%Y").alias(c.PUBLISHED_AT),
        as_json(imdb_url=pl.col("imdb_url")),
    )
