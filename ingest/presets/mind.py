"""How is MIND, the Microsoft News data set, read? behaviors.tsv and news.tsv of the small and the large one.

Layout as in https://github.com/msnews/msnews.github.io/blob/master/assets/doc/introduction.md: tab-separated, without
header and without quotation.
"""

import json

import polars as pl

from ingest import columns as c
from ingest.mapping import ColumnsConfig
from ingest.presets.known_files import Fill, KnownFile, as_iso, passed_over
from ingest.presets.text_tables import cut_lines

_NEWS = ("id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
_BEHAVIORS = ("impression", "user", "time", "history", "shown")


def files(columns: ColumnsConfig) -> tuple[KnownFile, ...]:
    """Describe the files of one part (train, dev) of the data set."""
    return (
        KnownFile("*news.tsv", cut_lines("\t", _NEWS), (Fill("items", _news),)),
        KnownFile(
            "*behaviors.tsv",
            # When the clicks of the history happened is not told.
            cut_lines("\t", _BEHAVIORS, unkept=("history",)),
            (
                Fill("impressions", _impressions, user_columns=("user",), at_once=8192),
                Fill("interactions", _clicks, user_columns=("user",), at_once=8192),
            ),
        ),
        *passed_over("*.vec", "README*", "LICENSE*", "*.docx"),
    )


def _news(rows: pl.DataFrame) -> pl.DataFrame:
    about = zip(*(rows[name] for name in ("url", "title_entities", "abstract_entities")), strict=True)
    return rows.select(
        c.LINE,
        pl.col("id").alias(c.ITEM_ID),
        c.TITLE,
        pl.col("abstract").alias(c.DESCRIPTION),
        pl.concat_list("category", "subcategory").alias(c.CATEGORIES),
        pl.Series(c.REST, [_attributes(*values) for values in about], dtype=pl.String),
    )


def _attributes(url: str | None, *entities: str | None) -> str:
    """Keep the address, and each entity's Wikidata id with its name."""
    named: dict[str, str] = {}
    for text in entities:
        try:
            named |= {each["WikidataId"]: each["Label"] for each in json.loads(text or "[]")}
        except (ValueError, TypeError, KeyError):
            continue  # an unreadable list of entities is no reason to lose the article
    return json.dumps({"url": url, "entities": named}, ensure_ascii=False)


def _impressions(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each article shown."""
    # The parts of the data set number their impressions from 1 each; the moment keeps them apart.
    lists = rows.select(
        c.LINE,
        pl.col("user").alias(c.USER_ID),
        as_iso(pl.col("time"), "%m/%d/%Y %I:%M:%S %p").alias(c.OCCURRED_AT),
        "impression",
        pl.col("shown").str.strip_chars().str.split(" "),
    ).with_columns(
        (pl.col("impression") + "@" + pl.col(c.OCCURRED_AT)).alias(c.REQUEST_ID),
        pl.int_ranges(1, pl.col("shown").list.len() + 1).alias(c.POSITION),
    )
    # `N1-1` was clicked, `N1-0` was not. Without the end, as in the test part, the whole stays and fails the checks:
    # taken as not clicked it would teach that nobody likes anything.
    token = pl.col("shown")
    return lists.explode("shown", c.POSITION).select(
        *(c.LINE, c.REQUEST_ID, c.USER_ID, c.OCCURRED_AT, c.POSITION),
        token.str.replace(r"-[^-]*$", "").alias(c.ITEM_ID),
        token.str.extract(r"([^-]*)$").alias(c.CLICKED),
    )


def _clicks(rows: pl.DataFrame) -> pl.DataFrame:
    clicked = _impressions(rows).filter(pl.col(c.CLICKED) == "1")
    return clicked.select(c.LINE, c.REQUEST_ID, c.USER_ID, c.ITEM_ID, c.OCCURRED_AT, pl.lit("click").alias(c.KIND))
