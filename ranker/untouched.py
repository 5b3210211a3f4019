"""How much lower does an item that nobody has touched stand in a live answer? By what finds most of what came next.

The blend learns from two questions: what came next, and what came at all until the end of a window. What is new has a
small part of the next takings, and a large one of all that come. So one order cannot suit both. A question at the end
of the bundle's history is of the second sort: nothing later is known, and its answer is for the time to come. A later
one has live history and is of the first: there the untouched stand lower, by as much as pays on a later window.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ingest.moments import NEVER
from ranker.arrays import Floats
from ranker.blend import Blend
from ranker.catalogue import UNDATED, Catalogue
from ranker.examples import EVERY_ITEM, Examples, Truth, rows_by_query
from ranker.gain import compare, ndcg_of_queries
from ranker.history import History
from ranker.registry import FEATURE_NAMES

FEWEST: Final = 50
"""With fewer questions whose answer was proposed nothing is known, and the blend's order stays."""
TRIED: Final = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""So much lower, by the standard deviation of scores within a question."""
_COUNT: Final = FEATURE_NAMES.index("count_all")


def with_waiting(truth: Truth, history: History, catalogue: Catalogue) -> Truth:
    """Count as on offer at each moment as many untouched items as wait at the log's end: those touched soonest after.

    Nothing tells which items without a publication time were on offer before anyone touched them, but service meets
    all that wait in the catalogue and may be shown. An item that was sold out when it was first touched did not wait.
    Where fewer were touched later than wait now, all count.
    """
    first = history.first_takings(len(catalogue))
    first = first[catalogue.available_each_at(first) & (catalogue.published_at == UNDATED)]
    n_waiting = int((first == NEVER).sum())
    if not n_waiting:
        return truth
    touched = np.sort(first[first < NEVER])
    last = np.searchsorted(touched, truth.moments.as_of) + n_waiting - 1
    known_by = np.append(touched + 1, EVERY_ITEM)[np.minimum(last, len(touched))]
    return replace(truth, known_by=known_by)


def choose_demotion(blend: Blend, soon: Examples | None) -> dict[str, Any]:
    """Return `by` how much the scores of untouched items are lowered, and NDCG@10 of each that was tried.

    `soon` holds questions of the later window, what came next, with all candidates of `with_waiting`. Nothing is
    lowered unless the 95 % interval of what that gains, on the questions that chose it, lies above zero.
    """
    if soon is None or len(soon.groups) < FEWEST or not untouched(soon.features).any():
        return {"by": 0.0, "tried": {}}
    taken = replace(soon, labels=(soon.labels > 0).astype(np.int32))
    score, new = blend.score(soon.features), untouched(soon.features)
    spread = _spread(score, soon.groups)
    steps = [0.0, *(share * spread for share in TRIED)]
    found = [float(ndcg_of_queries(taken.labels, score - by * new, soon.groups).mean()) for by in steps]
    by = steps[int(np.argmax(found))]  # of equals the least
    better = by > 0 and compare(taken, score - by * new, score, seed=0).is_better
    return {
        "by": by if better else 0.0,
        "tried": {f"{step:.3g}": round(value, 4) for step, value in zip(steps, found, strict=True)},
        "questions": len(soon.groups),
    }


def demotion(features: Floats, live: npt.NDArray[np.bool_], by: float) -> npt.NDArray[np.float64]:
    """Return by how much each pair's score is lowered [n]; `live` marks those asked about later than the cutoff."""
    return np.where(untouched(features) & live, by, 0.0)


def untouched(features: Floats) -> npt.NDArray[np.bool_]:
    """Mark the pairs whose item had no event of positive weight before its question's moment [n]."""
    return np.asarray(features[:, _COUNT] == 0)


def _spread(score: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> float:
    query = rows_by_query(groups)
    mean = np.bincount(query, score) / groups
    return float(np.sqrt(np.bincount(query, (score - mean[query]) ** 2) / groups).mean())
