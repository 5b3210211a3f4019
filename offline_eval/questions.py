"""What is asked of every system? Lists, by a protocol laid over the log, and what was shown, ranked once more."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import polars as pl

from ingest import columns as c
from ingest.bounds import Positive, Seed, Share, Size, check_bounds
from ingest.store import END_OF_TIME, Store
from offline_eval.errors import EvaluationError
from offline_eval.metrics import without_truth
from offline_eval.windows import Protocol, Window, cutoff_window, replay_window

_REQUEST: Final = [c.REQUEST_ID, c.USER_ID]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What an evaluation asks, and a night."""

    quantile: Share = 0.9
    """Share of the interactions that lies before the cutoff, where no cutoff is named."""
    k: Positive = 10
    """How many places of a list count."""
    max_queries: Positive = 5000
    """Most queries of a protocol; a seeded sample beyond."""
    max_requests: Size = 2000
    """Most shown requests that are ranked again."""
    seed: Seed = 7
    """Seed of both samples."""

    def __post_init__(self) -> None:
        check_bounds(self)


def impressions_by_request(store: Store) -> pl.DataFrame:
    """Read all that was shown, each request of a user at one moment, its first.

    A log may tell when each item came into sight. Asked then, a question would know what had been clicked above it.
    """
    return store.impressions(before=END_OF_TIME).with_columns(pl.col(c.OCCURRED_AT).min().over(_REQUEST))


def window_of(
    protocol: Protocol,
    interactions: pl.DataFrame,
    cutoff: datetime,
    asked: pl.Series | None,
    *,
    repeats: bool,
    config: EvaluationConfig,
    way_out: str = "name an earlier cutoff",
) -> Window:
    """Lay a protocol over the log; EvaluationError where nobody took anything that could be asked about.

    `way_out` is what the error says to do first.
    """
    windows: dict[Protocol, Callable[..., Window]] = {
        "cutoff": cutoff_window,
        "replay": partial(replay_window, asked=asked),
    }
    window = windows[protocol](interactions, cutoff, repeats=repeats, max_queries=config.max_queries, seed=config.seed)
    if window.queries.is_empty():
        what = "took anything" if repeats else "took anything new to them"
        raise EvaluationError(
            f"evaluation by {protocol} wants interactions of positive weight at or after the cutoff {cutoff} in which "
            f"users {what}, got none; {way_out}, set weights under [kinds]"
            + (", or set repeats = true under [rules], if items are taken again" if not repeats else "")
        )
    return window


def counts_of(window: Window) -> dict[str, int]:
    """Count what a window asks, for a report."""
    return {
        "queries": window.queries.height,
        "queries_before_cap": window.n_before_cap,
        "true_items": window.truth.height,
        "true_cold_items": window.truth.filter("cold").height,
        "queries_without_truth": without_truth(window.queries, window.truth),
    }


def shown_requests(window: Window, impressions: pl.DataFrame, config: EvaluationConfig) -> pl.DataFrame:
    """Return what was shown after the cutoff and may be ranked again: requests of a user with a click and a skip."""
    later = impressions.filter(pl.col(c.OCCURRED_AT) >= window.cutoff)
    both = pl.col(c.CLICKED).any() & ~pl.col(c.CLICKED).all()
    requests = later.group_by(_REQUEST).agg(both=both).filter("both").select(_REQUEST).sort(_REQUEST)
    if requests.height > config.max_requests:
        requests = requests.sample(config.max_requests, seed=config.seed)
    shown = later.join(requests, on=_REQUEST, how="semi")
    # Where many users' requests have one id, as those of a mailing may, each user's is one by itself.
    return shown.with_columns(pl.format("{}\n{}", *_REQUEST).alias(c.REQUEST_ID))
