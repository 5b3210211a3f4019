"""What is it worth to know at which place something was clicked? Scores of shown items against what users truly like.

    python benchmarks/positions.py [--events 150000] [--work DIR]

Simulates a shop whose users look at a place the less, the further down it is, and trains on its first nine tenths
twice: with the places of what was shown, and without them. Both blends for given items then order what was shown later,
and are judged by the probability that the simulator gives to a click on an item once it is looked at, wherever it is.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide rooms behind benchmarks of their name
sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import tempfile

import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits

from benchmarks.small_shop import small_shop
from encoders.intervals import paired_interval
from ingest import columns as c
from ingest.store import END_OF_TIME, Store
from offline_eval.simulate import Simulation
from offline_eval.windows import choose_cutoff
from ranker.gain import ndcg_of_queries
from ranker.history import History
from ranker.many import rank_many
from ranker.rank import Ranker
from ranker.train import train
from ranker.train_config import TrainConfig

STEPS = 10_000
"""Probabilities are counted in steps of one ten-thousandth."""


def main() -> None:
    """Print NDCG@10 by true liking of both blends, of the order shown, and what places are worth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=150_000)
    parser.add_argument("--work", type=Path, help="keep the shop here; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="positions-") as scratch, threadpool_limits(1, "blas"):
        log, workspace = small_shop(given.work or Path(scratch), given.events)
        with Store.open(workspace.store_path, read_only=True) as store:
            interactions, impressions = store.interactions(before=END_OF_TIME), store.impressions(before=END_OF_TIME)
        cutoff = choose_cutoff(interactions)
        with_places = Ranker.load(train(workspace, TrainConfig.of(workspace), until=cutoff).folder)
        with Store.open(workspace.store_path) as store, store.transaction() as connection:
            connection.execute("UPDATE impressions SET position = NULL")
        without = Ranker.load(train(workspace, TrainConfig.of(workspace), until=cutoff).folder)
        later = impressions.filter(pl.col(c.OCCURRED_AT) >= cutoff).sort(c.REQUEST_ID)
        history = History.from_frames(with_places.catalogue, interactions, impressions)
        print(judged(later, liking(log, later), history, with_places=with_places, without=without))


def liking(log: Simulation, shown: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Return how likely a click on each shown item is once it is looked at, as of its day, in `STEPS`."""
    out = np.empty(len(shown), np.int64)
    days = shown.with_row_index("row").group_by(pl.col(c.OCCURRED_AT).dt.truncate("1d").alias("day"))
    for (day,), part in days:
        probable = log.true_preference(part[c.USER_ID].to_list(), part[c.ITEM_ID].to_list(), day)
        out[part["row"].to_numpy()] = np.round(STEPS * probable)
    return out


def judged(
    shown: pl.DataFrame, likings: npt.NDArray[np.int64], history: History, *, with_places: Ranker, without: Ranker
) -> pl.DataFrame:
    """Return order, ndcg@10, low, high: of each order by itself, and of the difference; `shown` lies by request."""
    groups = np.unique(shown[c.REQUEST_ID].to_numpy(), return_counts=True)[1]
    users = shown.unique(c.REQUEST_ID, keep="first", maintain_order=True)[c.USER_ID].to_numpy()
    orders = {
        "as shown": -shown[c.POSITION].to_numpy().astype(np.float64),
        "with places": rank_many(with_places.model, shown, history)[c.SCORE].to_numpy(),
        "without": rank_many(without.model, shown, history)[c.SCORE].to_numpy(),
    }
    found = {name: ndcg_of_queries(likings, score, groups) for name, score in orders.items()}
    found["nothing"] = np.zeros(len(groups))
    pairs = [("as shown", "nothing"), ("without", "nothing"), ("with places", "nothing"), ("with places", "without")]
    rows = [(ours, theirs, paired_interval(found[ours], found[theirs], users=users)) for ours, theirs in pairs]
    return pl.DataFrame(
        [(ours, theirs, *(round(each, 4) for each in (of.value, of.low, of.high)), of.n) for ours, theirs, of in rows],
        schema=["order", "minus", "ndcg@10", "low", "high", "n"],
        orient="row",
    )


if __name__ == "__main__":
    main()
