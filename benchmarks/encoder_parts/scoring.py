"""How much does a system want each item for each query? Interest, a TF-IDF profile, or both, from text alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from benchmarks.encoder_parts.cases import Asked, Prepared
from encoders.interest import InterestModel
from encoders.kinds import Codes, Kinds
from encoders.lexical import Words
from encoders.past import past_shares
from encoders.profile import profiles, similarities
from ingest import columns as c
from ingest.moments import NEVER, to_microseconds

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class History:
    """What a query's user did strictly before its moment, oldest first."""

    items: NDArray[np.int64]
    """Rows of the catalogue."""
    weights: NDArray[np.float64]
    codes: Codes
    """What each event was, in the vocabulary of the `Past`."""
    ages_s: NDArray[np.float64]


Scorer = Callable[[list[History], "Past", NDArray[np.int64]], Floats]
"""From histories [q], the log and the queries' moments in microseconds [q] to scores [q, items]."""


class Past:
    """The log by user and by item, as of any moment."""

    def __init__(self, asked: Asked) -> None:
        ids = asked.items[c.ITEM_ID]
        rows = pl.DataFrame({c.ITEM_ID: ids, "row": np.arange(len(ids))})
        events = asked.log.join(rows, on=c.ITEM_ID, how="inner", maintain_order="left")
        events = events.with_columns(pl.col(c.OCCURRED_AT).dt.epoch("us").alias("time"))
        self.kinds = Kinds.of_counts(events[c.KIND].value_counts().iter_rows())
        self._by_user = {
            user: (
                group["row"].to_numpy(),
                group[c.WEIGHT].to_numpy(),
                self.kinds.codes(group[c.KIND].to_list()),
                group["time"].to_numpy(),
            )
            for (user,), group in events.group_by(c.USER_ID, maintain_order=True)
        }
        self._first_touch = np.full(len(ids), NEVER)
        np.minimum.at(self._first_touch, events["row"].to_numpy(), events["time"].to_numpy())

    def history(self, user: str, moment: int) -> History:
        """Return what the user did strictly before the moment (microseconds)."""
        none = np.zeros(0, np.int64)
        nothing = none, none.astype(np.float64), none.astype(np.uint8), none
        items, weights, codes, times = self._by_user.get(user, nothing)
        end = int(np.searchsorted(times, moment))
        ages_s = (moment - times[:end]) / 1e6
        return History(items=items[:end], weights=weights[:end], codes=codes[:end], ages_s=ages_s)

    def untouched(self, moments: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return [q, items]: whether nobody had touched the item strictly before the moment."""
        found: NDArray[np.bool_] = self._first_touch[None, :] >= moments[:, None]
        return found


def interest_scorer(folder: Path, texts: Sequence[str]) -> Scorer:
    """Return the interest of a model folder.

    Items gain what the model adds for new ones until training has met them: when nobody had touched them before the
    query's moment, or before the moment up to which the model was trained.
    """
    model = InterestModel.load(folder)
    vectors = model.encode(texts)
    speaks = vectors.any(axis=1)
    words = Words.fit_rows(texts)[1]

    def score(histories: list[History], past: Past, moments: NDArray[np.int64]) -> Floats:
        users = _user_vectors(model, vectors, histories, model.kinds.codes_of(past.kinds))
        out: Floats = users @ vectors.T
        if model.newcomers:
            new = past.untouched(np.minimum(moments, model.trained_before)) & speaks
            items = np.flatnonzero(new.any(axis=0))
            shared = (_past(histories, len(texts), model.history) @ words @ words[items].T).toarray()
            out[:, items] += new[:, items] * model.newcomers.of(users, shared)
        return out

    return score


def profile_scorer(texts: Sequence[str]) -> Scorer:
    """Return each item's product with the profile that trainings compare text interest with (`encoders.profile`)."""
    words = Words.fit_rows(texts)[1]

    def score(histories: list[History], past: Past, moments: NDArray[np.int64]) -> Floats:
        length = max(1, *(len(history.items) for history in histories))
        items, taken = np.zeros((len(histories), length), np.int64), np.zeros((len(histories), length), bool)
        for row, history in enumerate(histories):
            items[row, : len(history.items)] = history.items
            taken[row, : len(history.items)] = history.weights > 0
        return similarities(profiles(items, taken, words), words)

    return score


def with_words(interest: Scorer, profile: Scorer, share: float) -> Scorer:
    """Return interest plus `share` of the profile, each in standard deviations over the query's items."""

    def score(histories: list[History], past: Past, moments: NDArray[np.int64]) -> Floats:
        by_words = _standard(profile(histories, past, moments))
        return _standard(interest(histories, past, moments)) + np.float32(share) * by_words

    return score


def answers(scorer: Scorer, past: Past, prepared: Prepared) -> pl.DataFrame:
    """Return what the judge reads: the ten best a query (query_id, item_id, rank), or a score for each given item.

    Items taken before are left out; a query without history gets no recommendations.
    """
    make = _given_items if prepared.rank else _ten_best
    return pl.concat(part for part in make(scorer, past, prepared.asked) if part.height)


def _ten_best(scorer: Scorer, past: Past, asked: Asked) -> Iterator[pl.DataFrame]:
    ids = asked.items[c.ITEM_ID].to_numpy()
    for chunk, histories, scores in _scored(scorer, past, asked.queries):
        for row, query in enumerate(chunk[c.QUERY_ID]):
            taken = histories[row].items
            scores[row, taken] = -np.inf
            best = np.argpartition(-scores[row], min(10, len(ids) - 1))[:10]
            best = best[np.argsort(-scores[row, best], kind="stable")]
            best = best[np.isfinite(scores[row, best])] if len(taken) else best[:0]
            yield pl.DataFrame({"query_id": query, "item_id": ids[best], "rank": np.arange(1, len(best) + 1)})


def _given_items(scorer: Scorer, past: Past, asked: Asked) -> Iterator[pl.DataFrame]:
    place = {item: row for row, item in enumerate(asked.items[c.ITEM_ID])}
    wanted: dict[str, list[str]] = {}
    for query, item in asked.queries.select(c.QUERY_ID, c.ITEM_ID).iter_rows():
        wanted.setdefault(query, []).append(item)
    for chunk, _, scores in _scored(scorer, past, asked.queries):
        for row, query in enumerate(chunk[c.QUERY_ID]):
            chosen = [place[item] for item in wanted[query]]
            yield pl.DataFrame({"request_id": query, "item_id": wanted[query], "score": scores[row, chosen]})


def _scored(scorer: Scorer, past: Past, asked: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, list[History], Floats]]:
    for chunk in asked.unique([c.QUERY_ID], maintain_order=True).sort(c.QUERY_ID).iter_slices(500):
        moments = np.array([to_microseconds(moment) for moment in chunk[c.AS_OF]])
        histories = [past.history(user, moment) for user, moment in zip(chunk[c.USER_ID], moments, strict=True)]
        yield chunk, histories, scorer(histories, past, moments)


def _user_vectors(model: InterestModel, vectors: Floats, histories: list[History], codes_of: Codes) -> Floats:
    last = [slice(max(len(h.items) - model.history, 0), None) for h in histories]
    n, length = len(histories), max(1, *(min(len(h.items), model.history) for h in histories))
    recent = np.zeros((n, length, model.dim), np.float32)
    weights, ages = np.ones((n, length), np.float32), np.zeros((n, length))
    codes, mask = np.zeros((n, length), np.uint8), np.zeros((n, length), bool)
    for row, (h, part) in enumerate(zip(histories, last, strict=True)):
        items = h.items[part]
        k = len(items)
        recent[row, :k], mask[row, :k] = vectors[items], True
        weights[row, :k], ages[row, :k] = h.weights[part], h.ages_s[part]
        codes[row, :k] = codes_of[h.codes[part]]
    return model.user_vectors(recent, weights, ages, mask, codes)


def _past(histories: list[History], n_items: int, length: int) -> csr_matrix:
    """Return how much each item of the last events counts [q, n_items]; refusals are no part of a past."""
    shares, items = [], []
    for history in histories:
        weights = history.weights[-length:]
        liked = weights > 0
        shares.append(past_shares(weights[None, liked], np.ones((1, liked.sum()), bool))[0])
        items.append(history.items[-length:][liked])
    ends = np.concatenate([[0], np.cumsum([len(some) for some in items])])
    return csr_matrix((np.concatenate(shares), np.concatenate(items), ends), shape=(len(histories), n_items))


def _standard(scores: Floats) -> Floats:
    """Return each row in standard deviations from its mean; zeros where all are equal."""
    spread = scores.std(axis=1, keepdims=True)
    out: Floats = (scores - scores.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return out
