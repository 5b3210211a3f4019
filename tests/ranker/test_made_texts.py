"""Texts made for a log that has none tell what was taken by the same people, and nothing else."""

import numpy as np
import polars as pl

from benchmarks.made_texts import DESCRIPTION_WORDS, TITLE_WORDS, topics_of, with_texts

ITEMS = pl.DataFrame({"item_id": [f"i{n}" for n in range(40)], "title": pl.Series([None] * 40, dtype=pl.String)})
LOG = pl.DataFrame(
    [(f"u{n % 2}{n % 7}", f"i{m}") for n in range(14) for m in range(n % 2, 38, 2)], orient="row"
).rename({"column_0": "user_id", "column_1": "item_id"})
"""Even items are taken by some people, odd ones by others; nobody took the last two."""


def test_items_of_the_same_takers_share_a_topic():
    topic = topics_of(ITEMS["item_id"], LOG, 2, np.random.default_rng(0))
    assert len(set(topic[0:38:2])) == len(set(topic[1:38:2])) == 1
    assert topic[0] != topic[1]
    assert set(topic) == {0, 1}


def test_texts_of_a_topic_share_words_and_are_the_same_for_the_same_seed():
    made = with_texts(ITEMS, LOG, 2, 0.5, 0)
    words = [set(f"{title} {text}".split()) for title, text in made.select("title", "description").iter_rows()]
    assert {len(title.split()) for title in made["title"]} == {TITLE_WORDS}
    assert {len(text.split()) for text in made["description"]} == {DESCRIPTION_WORDS}
    shared = np.array([[len(mine & theirs) for theirs in words[:38]] for mine in words[:38]])
    same = np.equal.outer(np.arange(38) % 2, np.arange(38) % 2)
    assert shared[same & ~np.eye(38, dtype=bool)].mean() > 3 * shared[~same].mean()
    assert made.equals(with_texts(ITEMS, LOG, 2, 0.5, 0))
