"""How good is a list of recommendations? NDCG, recall, MRR, hit rate, coverage and AUC, by query.

Relevance is binary. Each function of a list takes `recommended` (query_id, item_id, rank from 1) and `truth` (query_id,
item_id), and gives one row for each query that has relevant items: a query without any recommendation scores 0, one
without relevant items is not in the mean at all and must be counted by the caller (`without_truth`).
"""

import numpy as np
import polars as pl

from ingest import columns as c

PER_QUERY = ("ndcg", "recall", "mrr", "hit_rate")
"""Names of the metrics of `per_query`."""


def per_query(recommended: pl.DataFrame, truth: pl.DataFrame, k: int) -> pl.DataFrame:
    """Compute all list metrics at once.

    Returns query_id, ndcg, recall, mrr, hit_rate (Float64), n_relevant; sorted by query_id.
    """
    hits = (
        recommended.filter(pl.col(c.RANK) <= k)
        .unique([c.QUERY_ID, c.ITEM_ID], keep="first", maintain_order=True)
        .join(truth, on=[c.QUERY_ID, c.ITEM_ID], how="semi")
        .group_by(c.QUERY_ID)
        .agg(
            gain=(1.0 / (pl.col(c.RANK).cast(pl.Float64) + 1.0).log(2.0)).sum(),
            n_hits=pl.len(),
            best=pl.col(c.RANK).min(),
        )
    )
    ideal = np.concatenate([[np.nan], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    rows = truth.group_by(c.QUERY_ID).agg(n_relevant=pl.len()).join(hits, on=c.QUERY_ID, how="left").sort(c.QUERY_ID)
    reachable = np.minimum(rows["n_relevant"].to_numpy(), k)
    return rows.with_columns(pl.col("gain", "n_hits").fill_null(0)).select(
        c.QUERY_ID,
        ndcg=pl.col("gain") / pl.Series(ideal[reachable]),
        recall=pl.col("n_hits") / pl.Series(reachable, dtype=pl.Float64),
        mrr=(1.0 / pl.col("best")).fill_null(0.0),
        hit_rate=(pl.col("n_hits") > 0).cast(pl.Float64),
        n_relevant=pl.col("n_relevant"),
    )


def ndcg(recommended: pl.DataFrame, truth: pl.DataFrame, k: int) -> pl.DataFrame:
    """Normalised discounted cumulative gain: a hit at rank r counts 1 / log2(r + 1), the ideal has min(k, n) hits.

    Järvelin and Kekäläinen 2002, binary gains.

    >>> recommended, truth = _example()
    >>> ndcg(recommended, truth, k=3)["ndcg"].round(4).to_list()  # (1 + 1 / 2) / (1 + 1 / log2(3)); 0 of 1
    [0.9197, 0.0]
    """
    return per_query(recommended, truth, k).select(c.QUERY_ID, "ndcg")


def recall(recommended: pl.DataFrame, truth: pl.DataFrame, k: int) -> pl.DataFrame:
    """Share of the relevant items found; of n relevant items a list of k can hold min(n, k), so that 1 is in reach.

    >>> recommended, truth = _example()
    >>> recall(recommended, truth, k=3)["recall"].to_list()  # 2 of 2, 0 of 1
    [1.0, 0.0]
    >>> recall(recommended, truth, k=1)["recall"].to_list()  # 1 of min(2, 1)
    [1.0, 0.0]
    """
    return per_query(recommended, truth, k).select(c.QUERY_ID, "recall")


def mrr(recommended: pl.DataFrame, truth: pl.DataFrame, k: int) -> pl.DataFrame:
    """Reciprocal rank of the first hit among the first k, 0 without one.

    >>> recommended, truth = _example()
    >>> mrr(recommended, truth, k=3)["mrr"].to_list()  # first hits at rank 1 and nowhere
    [1.0, 0.0]
    """
    return per_query(recommended, truth, k).select(c.QUERY_ID, "mrr")


def hit_rate(recommended: pl.DataFrame, truth: pl.DataFrame, k: int) -> pl.DataFrame:
    """1 for a query with any hit among the first k, else 0.

    >>> recommended, truth = _example()
    >>> hit_rate(recommended, truth, k=3)["hit_rate"].to_list()
    [1.0, 0.0]
    """
    return per_query(recommended, truth, k).select(c.QUERY_ID, "hit_rate")


def coverage(recommended: pl.DataFrame, n_items: int, k: int) -> float:
    """Share of the catalogue that stands among the first k of any query.

    >>> recommended, _ = _example()
    >>> coverage(recommended, n_items=8, k=1)  # x and y of eight
    0.25
    """
    if n_items == 0:
        return 0.0
    return recommended.filter(pl.col(c.RANK) <= k)[c.ITEM_ID].n_unique() / n_items


def found_items(recommended: pl.DataFrame, truth: pl.DataFrame, k: int) -> pl.DataFrame:
    """Count found and true items for each query: query_id, found, true; sorted.

    Recall over items is all found / all true, rather than the mean over queries: right for segments of items, such as
    cold ones, of which most queries have none. Unlike `recall` it divides by all n true items of a query, also where a
    list of k cannot hold them: 1 may be out of reach.

    >>> recommended, truth = _example()
    >>> found_items(recommended, truth, k=3).rows()
    [('q1', 2, 2), ('q2', 0, 1)]
    """
    found = (
        truth.join(recommended.filter(pl.col(c.RANK) <= k), on=[c.QUERY_ID, c.ITEM_ID], how="semi")
        .group_by(c.QUERY_ID)
        .agg(found=pl.len().cast(pl.Int64))
    )
    return (
        truth.group_by(c.QUERY_ID)
        .agg(true=pl.len().cast(pl.Int64))
        .join(found, on=c.QUERY_ID, how="left")
        .select(c.QUERY_ID, pl.col("found").fill_null(0), "true")
        .sort(c.QUERY_ID)
    )


def without_truth(queries: pl.DataFrame, truth: pl.DataFrame) -> int:
    """Count queries that no metric can judge, because nothing is relevant to them.

    >>> without_truth(pl.DataFrame({"query_id": ["q1", "q2", "q3"]}), _example()[1])
    1
    """
    return queries.join(truth, on=c.QUERY_ID, how="anti").height


def auc(scored: pl.DataFrame) -> pl.DataFrame:
    """Probability that a clicked item of a request outscores one not clicked; ties count half, no score ranks last.

    `scored` has request_id, clicked (Boolean), score. Returns request_id, auc, sorted, for requests that have both
    kinds; the others are dropped. Computed from ranks (Mann and Whitney 1947).

    >>> scored = pl.DataFrame(
    ...     {
    ...         "request_id": ["r1", "r1", "r1", "r1", "r2", "r3", "r3"],
    ...         "clicked": [True, False, False, False, True, True, False],
    ...         "score": [0.5, 0.7, 0.5, 0.1, 0.9, None, 0.0],
    ...     }
    ... )
    >>> auc(scored)["auc"].to_list()  # r1: (0 + 1 / 2 + 1) / 3; r2 has no skip
    [0.5, 0.0]
    """
    filled = scored.with_columns(pl.col(c.SCORE).cast(pl.Float64).fill_nan(None).fill_null(float("-inf")))
    n_clicked = pl.col(c.CLICKED).sum().cast(pl.Float64)
    n_skipped = (~pl.col(c.CLICKED)).sum().cast(pl.Float64)
    ranks = pl.col(c.SCORE).rank("average").filter(pl.col(c.CLICKED)).sum()
    return (
        filled.group_by(c.REQUEST_ID)
        .agg(n_clicked=n_clicked, n_skipped=n_skipped, ranks=ranks)
        .filter((pl.col("n_clicked") > 0) & (pl.col("n_skipped") > 0))
        .select(
            c.REQUEST_ID,
            auc=(pl.col("ranks") - pl.col("n_clicked") * (pl.col("n_clicked") + 1.0) / 2.0)
            / (pl.col("n_clicked") * pl.col("n_skipped")),
        )
        .sort(c.REQUEST_ID)
    )


def _example() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two queries: q1 takes x and z, and is shown x, y, z; q2 takes w and is shown y, x."""
    recommended = pl.DataFrame(
        {
            c.QUERY_ID: ["q1", "q1", "q1", "q2", "q2"],
            c.ITEM_ID: ["x", "y", "z", "y", "x"],
            c.RANK: [1, 2, 3, 1, 2],
        }
    )
    return recommended, pl.DataFrame({c.QUERY_ID: ["q1", "q1", "q2"], c.ITEM_ID: ["x", "z", "w"]})
