"""Which questions may be asked of the past, and what was the right answer? The cutoff and the replay protocol.

Windows are half-open: known is `occurred_at < cutoff`, tested is `cutoff <= occurred_at < until`. What a user had
before the moment of a query is part of its truth only where the rules allow repeats, and only interactions of positive
weight ever are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import polars as pl

from ingest import columns as c
from offline_eval.errors import EvaluationError

Protocol = Literal["cutoff", "replay"]

ASKS: Final[Mapping[Protocol, str]] = {
    "cutoff": "asks once a user, at the cutoff, what the user will take from then on",
    "replay": (
        "asks at each later moment at which a user took something, or at which the answer was given that led to it, "
        "what that is, with the history up to that moment"
    ),
}
"""What each protocol asks; where the rules allow no repeats, only what is new to the user counts. The report, the help
of `readrank evaluate` and the store's comments say it in these words."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """One protocol laid over a log: the questions and their answers."""

    protocol: Protocol
    cutoff: datetime
    """First moment that no model may have trained on."""
    queries: pl.DataFrame
    """query_id, user_id, as_of, n_before (what the user did strictly before as_of, likes and dislikes alike), warm
    (whether that is anything); sorted by query_id."""
    truth: pl.DataFrame
    """query_id, item_id, cold (whether nobody had touched the item before the cutoff); sorted."""
    n_before_cap: int
    """Queries there were before the cap on their number."""


def choose_cutoff(interactions: pl.DataFrame, quantile: float = 0.9) -> datetime:
    """Give the moment at which about `quantile` of the interactions have happened; it belongs to the test side.

    It is the second moment at the earliest, also where most came at the first, as those of a bulk import do.

    >>> from datetime import datetime
    >>> log = pl.DataFrame({"occurred_at": [datetime(2024, 1, day) for day in (1, 2, 3, 4, 5, 6, 7)]})
    >>> choose_cutoff(log, 0.5)
    datetime.datetime(2024, 1, 4, 0, 0)
    """
    moments = interactions[c.OCCURRED_AT]
    cutoff: object = moments.quantile(quantile, "nearest")
    if cutoff is not None and cutoff == moments.min():
        cutoff = moments.filter(moments > cutoff).min()
    if not isinstance(cutoff, datetime):
        raise EvaluationError(
            f"evaluation wants interactions at two moments or more, got {interactions.height} "
            f"at {moments.n_unique()}; ingest a longer log"
        )
    return cutoff


def cutoff_window(
    interactions: pl.DataFrame,
    cutoff: datetime,
    until: datetime | None = None,
    *,
    repeats: bool = False,
    max_queries: int = 5000,
    seed: int = 7,
) -> Window:
    """Ask once a user, at the cutoff: the truth is every item that the user took in [cutoff, until).

    Without `repeats` only items new to the user count.

    >>> from datetime import datetime
    >>> log = pl.DataFrame(
    ...     {
    ...         "user_id": ["a", "a", "a", "b", "a", "c", "a"],
    ...         "item_id": ["x", "y", "x", "x", "z", "y", "w"],
    ...         "weight": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ...         "occurred_at": [datetime(2024, 1, day) for day in (1, 2, 3, 3, 4, 4, 5)],
    ...     }
    ... )
    >>> window = cutoff_window(log, cutoff=datetime(2024, 1, 3), until=datetime(2024, 1, 5))
    >>> window.truth.rows()  # a had x before, and w comes when the window has closed
    [('a', 'z', True), ('b', 'x', False), ('c', 'y', False)]
    >>> window.queries.select("query_id", "n_before", "warm").rows()
    [('a', 2, True), ('b', 0, False), ('c', 0, False)]
    """
    truth = (
        _taken(interactions, cutoff, until, repeats=repeats)
        .select(c.USER_ID, c.ITEM_ID)
        .unique()
        .with_columns(pl.col(c.USER_ID).alias(c.QUERY_ID), pl.lit(cutoff, pl.Datetime("us")).alias(c.AS_OF))
    )
    return _window("cutoff", interactions, cutoff, truth, max_queries=max_queries, seed=seed)


def replay_window(
    interactions: pl.DataFrame,
    cutoff: datetime,
    until: datetime | None = None,
    *,
    asked: pl.Series | None = None,
    repeats: bool = False,
    max_queries: int = 5000,
    seed: int = 7,
) -> Window:
    """Ask at each later instant of a user: the truth is what the user took then and, without `repeats`, not before.

    The model is frozen at the cutoff, the history is live: all that happened strictly before `as_of` may be used.
    `asked` is the moment of the question that each interaction answers, where that is an earlier one (`ranker.asked`);
    what was asked before the cutoff is left out.

    >>> from datetime import datetime
    >>> log = pl.DataFrame(
    ...     {
    ...         "user_id": ["a", "a", "a", "a", "a", "a", "b"],
    ...         "item_id": ["x", "y", "x", "z", "w", "y", "x"],
    ...         "weight": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ...         "occurred_at": [datetime(2024, 1, day) for day in (1, 2, 3, 3, 4, 5, 5)],
    ...     }
    ... )
    >>> window = replay_window(log, cutoff=datetime(2024, 1, 2))
    >>> window.queries.select("user_id", pl.col("as_of").dt.day(), "n_before", "warm").rows()
    [('a', 2, 1, True), ('a', 3, 2, True), ('a', 4, 4, True), ('b', 5, 0, False)]
    >>> window.truth["item_id"].to_list()  # x on the 3rd and y on the 5th are not new to a
    ['y', 'z', 'w', 'x']
    """
    moments = interactions[c.OCCURRED_AT] if asked is None else asked
    taken = _taken(interactions.with_columns(moments.alias(c.AS_OF)), cutoff, until, repeats=repeats)
    truth = (
        taken.filter(repeats | (pl.col("first") == pl.col(c.OCCURRED_AT)), pl.col(c.AS_OF) >= cutoff)
        .select(c.USER_ID, c.ITEM_ID, c.AS_OF)
        .unique()
        .with_columns(pl.format("{}@{}", c.USER_ID, pl.col(c.AS_OF).dt.epoch("us")).alias(c.QUERY_ID))
    )
    return _window("replay", interactions, cutoff, truth, max_queries=max_queries, seed=seed)


def _taken(interactions: pl.DataFrame, cutoff: datetime, until: datetime | None, *, repeats: bool) -> pl.DataFrame:
    first = interactions.group_by(c.USER_ID, c.ITEM_ID).agg(first=pl.col(c.OCCURRED_AT).min())
    tested = interactions.filter((pl.col(c.OCCURRED_AT) >= cutoff) & (pl.col(c.WEIGHT) > 0))
    if until is not None:
        tested = tested.filter(pl.col(c.OCCURRED_AT) < until)
    return tested.join(first.filter(repeats | (pl.col("first") >= cutoff)), on=[c.USER_ID, c.ITEM_ID])


def _window(
    protocol: Protocol,
    interactions: pl.DataFrame,
    cutoff: datetime,
    truth: pl.DataFrame,
    *,
    max_queries: int,
    seed: int,
) -> Window:
    touched = interactions.filter(pl.col(c.OCCURRED_AT) < cutoff).select(c.ITEM_ID, cold=pl.lit(False)).unique()
    queries = truth.select(c.QUERY_ID, c.USER_ID, c.AS_OF).unique().sort(c.QUERY_ID)
    n_before_cap = queries.height
    if n_before_cap > max_queries:
        queries = queries.sample(max_queries, seed=seed).sort(c.QUERY_ID)
    return Window(
        protocol=protocol,
        cutoff=cutoff,
        queries=_with_past(queries, interactions),
        truth=truth.join(queries.select(c.QUERY_ID), on=c.QUERY_ID)
        .join(touched, on=c.ITEM_ID, how="left")
        .select(c.QUERY_ID, c.ITEM_ID, pl.col("cold").fill_null(True))
        .sort(c.QUERY_ID, c.ITEM_ID),
        n_before_cap=n_before_cap,
    )


def _with_past(queries: pl.DataFrame, interactions: pl.DataFrame) -> pl.DataFrame:
    """Say of each query what its user had done: at one instant all things come at once, and none before it."""
    so_far = (
        interactions.group_by(c.USER_ID, c.OCCURRED_AT)
        .len()
        .sort(c.OCCURRED_AT)
        .select(c.USER_ID, c.OCCURRED_AT, n_before=pl.col("len").cum_sum().over(c.USER_ID).cast(pl.Int64))
    )
    return (
        queries.sort(c.AS_OF)
        .join_asof(
            so_far,
            left_on=c.AS_OF,
            right_on=c.OCCURRED_AT,
            by=c.USER_ID,
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .select(c.QUERY_ID, c.USER_ID, c.AS_OF, pl.col("n_before").fill_null(0))
        .with_columns(warm=pl.col("n_before") > 0)
        .sort(c.QUERY_ID)
    )
