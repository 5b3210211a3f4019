"""What are the features of items that somebody else chose: a caller's list, or what a log says was shown?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest import columns as c
from ranker.arrays import Floats, Rows
from ranker.candidates import Candidates, blocks
from ranker.catalogue import Catalogue
from ranker.examples import Examples, labels_of
from ranker.features import compute
from ranker.history import History
from ranker.moments import Moments
from ranker.registry import FEATURE_NAMES
from ranker.sources import SOURCES, Sources

_REQUEST = [c.REQUEST_ID, c.USER_ID]


@dataclass(frozen=True, kw_only=True)
class GivenRequests:
    """Requests with their items, one pair a row, ordered by request."""

    moments: Moments
    query: Rows
    """Number of the request."""
    item: Rows
    """Catalogue row; -1 for an item outside the catalogue."""
    order: npt.NDArray[np.int64]
    """Where each pair stood in the frame it came from."""
    users: npt.NDArray[np.int64]
    """A number that tells each request's user from the others', known or not."""

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, history: History, catalogue: Catalogue) -> "GivenRequests":
        """Group rows of request_id, user_id, item_id and occurred_at; one request has one user and one moment."""
        keys = [c.REQUEST_ID, c.USER_ID, c.OCCURRED_AT]
        numbered = frame.with_columns(number=pl.struct(keys).rank("dense").cast(pl.Int64) - 1)
        order = numbered["number"].arg_sort().to_numpy()
        requests = numbered.unique("number").sort("number")
        return cls(
            moments=Moments(
                users=history.user_rows(requests[c.USER_ID].to_list()),
                as_of=requests[c.OCCURRED_AT].dt.epoch("us").to_numpy(),
            ),
            query=numbered["number"].to_numpy()[order].astype(np.int32),
            item=catalogue.rows(frame[c.ITEM_ID])[order],
            order=order.astype(np.int64),
            users=requests[c.USER_ID].rank("dense").cast(pl.Int64).to_numpy(),
        )


def given_features(sources: Sources, history: History, requests: GivenRequests) -> Floats:
    """Compute features of every pair [n_pairs, n_features]; an item outside the catalogue has no text."""
    out = np.empty((len(requests.item), len(FEATURE_NAMES)), np.float32)
    for pairs, features in given_blocks(sources, history, requests):
        out[pairs] = features
    return out


def given_blocks(sources: Sources, history: History, requests: GivenRequests) -> Iterator[tuple[slice, Floats]]:
    """Compute the same for some whole requests at a time: which pairs, and their features."""
    for block in blocks(len(requests.moments), len(sources.catalogue), pasts=history.user_counts(requests.moments)):
        start, end = np.searchsorted(requests.query, [block.start, block.stop])
        if start == end:
            continue
        rows, place = np.unique(requests.item[start:end], return_inverse=True)
        items = sources.given(rows, [""] * len(rows), [()] * len(rows))
        situation = sources.situation(history, requests.moments.take(block))
        pairs = Candidates(
            query=requests.query[start:end] - np.int32(block.start),
            item=place.astype(np.int32),
            ranks=np.full((end - start, len(SOURCES)), np.nan, np.float32),
        )
        yield slice(int(start), int(end)), compute(situation, items, pairs, sources)


def impression_examples(
    sources: Sources,
    history: History,
    impressions: pl.DataFrame,
    *,
    since: int | None,
    max_requests: int,
    seed: int,
) -> Examples:
    """Turn what a log says was shown at or after `since` into examples: clicked or not, for requests that have both.

    Of what was clicked, labels grow with the weight of what followed, as they do of what was proposed.

    Of more than `max_requests` a seeded sample is taken. `since` (microseconds) is the moment before which `sources`
    were fitted: of what was shown earlier they know the outcome, and the blend would learn to believe them too much.
    None takes all.
    """
    seen = impressions.filter(pl.col(c.CLICKED).is_not_null())
    if since is not None:
        seen = seen.filter(pl.col(c.OCCURRED_AT).dt.epoch("us") >= since)
    both = (pl.col(c.CLICKED).any() & ~pl.col(c.CLICKED).all()).over(_REQUEST)
    return _shown(sources, history, _sampled(seen.filter(both), max_requests, seed))


def every_outcome(
    sources: Sources, history: History, impressions: pl.DataFrame, *, since: int, max_requests: int, seed: int
) -> Examples:
    """Return what was shown at or after `since`, clicked or not, also of requests without a click: a seeded sample."""
    seen = impressions.filter(pl.col(c.CLICKED).is_not_null() & (pl.col(c.OCCURRED_AT).dt.epoch("us") >= since))
    return _shown(sources, history, _sampled(seen, max_requests, seed))


def _sampled(seen: pl.DataFrame, max_requests: int, seed: int) -> pl.DataFrame:
    """Keep the rows of at most so many requests, drawn at random."""
    requests = seen.select(c.REQUEST_ID).unique().sort(c.REQUEST_ID)
    if requests.height <= max_requests:
        return seen
    chosen = requests.sample(max_requests, seed=seed)
    return seen.join(chosen, on=c.REQUEST_ID, how="semi", maintain_order="left")


def _shown(sources: Sources, history: History, seen: pl.DataFrame) -> Examples:
    # A request is asked at one moment, also where a log tells when each of its items came into sight.
    seen = seen.with_columns(pl.col(c.OCCURRED_AT).min().over(_REQUEST))
    requests = GivenRequests.from_frame(seen, history, sources.catalogue)
    labels = _labels(seen)[requests.order]
    return Examples(
        features=given_features(sources, history, requests),
        labels=labels,
        positions=seen[c.POSITION].fill_null(0).to_numpy()[requests.order].astype(np.int32),
        groups=np.unique(requests.query, return_counts=True)[1],
        as_of=requests.moments.as_of,
        users=requests.users,
        negative_weight=np.ones(len(requests.moments), np.float32),
        retrieved=1.0,
        followed=int((labels > 0).sum()),
    )


def _labels(seen: pl.DataFrame) -> npt.NDArray[np.int32]:
    """Return 0 for a skip; for a click, of which a log may not say what it was, at least 1."""
    weight = seen.select(pl.when(c.CLICKED).then(pl.col(c.STRONGEST_WEIGHT).fill_null(1.0)).otherwise(0.0)).to_series()
    return labels_of(weight.to_numpy())
