"""By how much does a question asked at the click flatter? The same takings, asked at the answer and at the click.

    python benchmarks/asked.py [--events 150000] [--work DIR]

Simulates a shop with impressions, trains on its first nine tenths, and asks for everything new that users took later:
when the answer was given that led to it, as a service is asked and as `readrank evaluate` asks, and when it was taken,
with all that was known then, the showing included. What no answer led to is asked when it was taken both times.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide rooms behind benchmarks of their name
sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import tempfile

import polars as pl
from threadpoolctl import threadpool_limits

from benchmarks.small_shop import small_shop
from ingest import columns as c
from ingest.store import END_OF_TIME, Store
from offline_eval.windows import choose_cutoff, replay_window
from ranker.asked import asked_at
from ranker.history import History
from ranker.many import recommend_many
from ranker.rank import Ranker
from ranker.train import train
from ranker.train_config import TrainConfig

K = 10


def main() -> None:
    """Print how many takings there are of each sort, and what is found of them when asked at either moment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=150_000)
    parser.add_argument("--work", type=Path, help="keep the shop here; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asked-") as scratch, threadpool_limits(1, "blas"):
        _, workspace = small_shop(given.work or Path(scratch), given.events)
        with Store.open(workspace.store_path, read_only=True) as store:
            interactions, impressions = store.interactions(before=END_OF_TIME), store.impressions(before=END_OF_TIME)
        cutoff = choose_cutoff(interactions)
        ranker = Ranker.load(train(workspace, TrainConfig.of(workspace), until=cutoff).folder)
        print(found(ranker, interactions, impressions))


def found(ranker: Ranker, interactions: pl.DataFrame, impressions: pl.DataFrame) -> pl.DataFrame:
    """Return for what answers led to, and for the rest: n, at_the_answer, at_the_click.

    Both are the mean of 1 / log2(rank + 1) over all that was taken anew after the bundle's cutoff, 0 beyond rank 10.
    """
    asked = asked_at(interactions, impressions)
    history = History.from_frames(ranker.catalogue, interactions, impressions)
    parts = []
    for name, moments in (("at_the_answer", asked), ("at_the_click", None)):
        window = replay_window(interactions, ranker.cutoff, asked=moments, max_queries=len(interactions))
        answers = recommend_many(ranker.model, window.queries, K, history)
        taken = window.truth.join(window.queries, on=c.QUERY_ID).join(answers, on=[c.QUERY_ID, c.ITEM_ID], how="left")
        parts.append(taken.select(c.USER_ID, c.ITEM_ID, (1 / (pl.col(c.RANK) + 1).log(2)).fill_null(0).alias(name)))
    first = pl.col(c.OCCURRED_AT) == pl.col(c.OCCURRED_AT).min().over(c.USER_ID, c.ITEM_ID)
    answered = interactions.with_columns(asked.alias(c.AS_OF)).filter(first & (pl.col(c.AS_OF) < pl.col(c.OCCURRED_AT)))
    answered = answered.select(c.USER_ID, c.ITEM_ID, led_to_by=pl.lit("an answer")).unique()
    return (
        parts[0]
        .join(parts[1], on=[c.USER_ID, c.ITEM_ID])
        .join(answered, on=[c.USER_ID, c.ITEM_ID], how="left")
        .group_by(pl.col("led_to_by").fill_null("no answer"))
        .agg(pl.len().alias("n"), pl.col("at_the_answer", "at_the_click").mean().round(4))
        .sort("led_to_by")
    )


if __name__ == "__main__":
    main()
