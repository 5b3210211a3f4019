"""How does the product fare on a log of real behaviour with texts, where the log has none? Gives its items made ones.

    python benchmarks/made_texts.py DATA OUT [--topics 60] [--share 0.4] [--seed 0]

DATA holds items.parquet and interactions.parquet with `user_id` and `item_id`. Items taken by the same people share a
topic (k-means over a singular value decomposition of who took what); an item's title and description draw a share of
their words from its topic, the others from what all texts share. All words are made of syllables. The whole log says
who took what, later takings too: these texts know more of their readers than real ones, in favour of whatever reads.

OUT holds items with texts beside the same interactions: `benchmarks/quality.py --data` reads it in place of DATA.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse
from scipy.cluster.vq import kmeans2
from scipy.sparse.linalg import svds

FACTORS = 40
TOPIC_WORDS, COMMON_WORDS = 50, 2_000
TITLE_WORDS, DESCRIPTION_WORDS = 7, 30
_SYLLABLES = [start + vowel for start in "bdfgklmnprstvz" for vowel in "aeiou"]


def main() -> None:
    """Write the log with texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--topics", type=int, default=60)
    parser.add_argument("--share", type=float, default=0.4, help="share of an item's words that tell its topic")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.out.resolve() == given.data.resolve():
        parser.error(f"{given.out}: wanted another folder than that of the log, got the same; name a new one")
    items = pl.read_parquet(given.data / "items.parquet")
    log = pl.read_parquet(given.data / "interactions.parquet", columns=["user_id", "item_id"])
    given.out.mkdir(parents=True, exist_ok=True)
    with_texts(items, log, given.topics, given.share, given.seed).write_parquet(given.out / "items.parquet")
    shutil.copyfile(given.data / "interactions.parquet", given.out / "interactions.parquet")


def with_texts(items: pl.DataFrame, log: pl.DataFrame, topics: int, share: float, seed: int) -> pl.DataFrame:
    """Return the items with `title` and `description`."""
    rng = np.random.default_rng(seed)
    words = _words(topics * TOPIC_WORDS + COMMON_WORDS, rng)
    common = words[topics * TOPIC_WORDS :]
    texts = []
    for topic in topics_of(items["item_id"], log, topics, rng):
        own = words[topic * TOPIC_WORDS : (topic + 1) * TOPIC_WORDS]
        telling = rng.random(TITLE_WORDS + DESCRIPTION_WORDS) < share
        drawn = np.where(telling, rng.choice(own, len(telling)), rng.choice(common, len(telling)))
        texts.append((" ".join(drawn[:TITLE_WORDS]), " ".join(drawn[TITLE_WORDS:])))
    title, description = zip(*texts, strict=True)
    return items.with_columns(pl.Series("title", title), pl.Series("description", description))


def topics_of(item_ids: pl.Series, log: pl.DataFrame, topics: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the topic of each item: those of the same takers share one; what nobody took has any."""
    rows = pl.DataFrame({"item_id": item_ids}).with_row_index("item").with_columns(pl.col("item").cast(pl.Int64))
    taken = log.join(rows, on="item_id").select("item", pl.col("user_id").rank("dense") - 1).unique(maintain_order=True)
    item, user = taken["item"].to_numpy(), taken["user_id"].to_numpy()
    matrix = sparse.csr_matrix((np.ones(len(item)), (item, user)), shape=(len(item_ids), int(user.max()) + 1))
    active = 1 / np.log(2 + np.asarray(matrix.sum(axis=0)).ravel())  # who takes everything tells little
    factors = min(FACTORS, min(matrix.shape) - 1)
    left, values, _ = svds(matrix @ sparse.diags(active), factors, rng=rng)
    where = left * values
    known = np.flatnonzero(np.bincount(item, minlength=len(item_ids)))
    lengths = np.linalg.norm(where[known], axis=1, keepdims=True)
    # Of a rare item the factors may say nothing: its topic is then a matter of chance.
    directions = where[known] / np.maximum(lengths, np.finfo(np.float64).tiny)
    topic = rng.integers(topics, size=len(item_ids))
    _, topic[known] = kmeans2(directions, topics, iter=50, minit="++", rng=rng)
    return topic


def _words(n: int, rng: np.random.Generator) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < n:
        found["".join(rng.choice(_SYLLABLES, int(rng.integers(2, 5))))] = None
    return list(found)


if __name__ == "__main__":
    main()
