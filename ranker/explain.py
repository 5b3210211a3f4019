"""Why does an item stand where it does? What each feature adds, by family, and the past item behind it."""

from itertools import islice

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats
from ranker.candidates import Candidates
from ranker.query import Comparison, FamilyDifference, FeatureDifference, FeatureWeight, Reason
from ranker.registry import FAMILIES, FEATURE_NAMES, FEATURES
from ranker.situation import ItemSet, Situation
from ranker.sources import PERSONAL, Sources

PERSONAL_FAMILIES = frozenset({"text interest", "similarity", "collaborative", "affinity"})
"""Families behind which an item of the user's past stands."""
EXPLAINED = 50
"""Places of an answer that are explained at most, from the first: TreeSHAP takes more than a millisecond for each."""
REASONS = 3
"""Families told of an item at most."""
STRONGEST = 3
"""Features told of a family at most."""

_PERSONAL_RANKS = frozenset(f"rank_{source}" for source in PERSONAL if source != "repeats")
"""Ranks in sources that propose what is like the user's past."""
_OF_THE_PAST = np.array([family in {*PERSONAL_FAMILIES, "user habits"} for family in FAMILIES])
"""Families that without a past can only say that there is none, which is no reason."""
_MEMBERSHIP = np.array([[feature.family == family for family in FAMILIES] for feature in FEATURES], float)
_MEMBERS = [np.flatnonzero(_MEMBERSHIP[:, n]) for n in range(len(FAMILIES))]


def reasons(
    weights: npt.NDArray[np.float64],
    features: Floats,
    candidates: Candidates,
    situation: Situation,
    items: ItemSet,
    sources: Sources,
) -> list[tuple[Reason, ...]]:
    """Return for each pair its strongest families that speak for it, personal ones with the past item behind them.

    `weights` and `features` [n, n_features] say what each feature adds to the score, and what it is. Each family comes
    with those of its features that weigh most, for or against. One of which none of these is defined is no reason.
    """
    families = weights @ _MEMBERSHIP
    has_past = np.asarray(situation.recent.mask.any(axis=1))[candidates.query]
    families[~has_past[:, None] & _OF_THE_PAST] = 0
    because = _speak_most(situation, items, sources, candidates)
    out = []
    for row, past in enumerate(because):
        order = [family for family in np.argsort(-families[row]).tolist() if families[row, family] > 0]
        strongest = ((family, _strongest(family, features[row], weights[row])) for family in order)
        told = ((family, most) for family, most in strongest if any(np.isfinite(feature.value) for feature in most))
        out.append(
            tuple(
                Reason(
                    family=FAMILIES[family],
                    weight=float(families[row, family]),
                    because=past if _is_personal(family, most[0]) else None,
                    features=most,
                )
                for family, most in islice(told, REASONS)
            )
        )
    return out


def compare(weights: npt.NDArray[np.float64], features: Floats, first: str, second: str) -> Comparison:
    """Say why the first of two items scores higher than the second, or lower; rows [2, n_features] in that order.

    `weights` and `features` are as for `reasons`. Differences of the features' weights sum to that of their family, and
    those of the families to the difference of the scores: what both items share falls out.
    """
    weight = weights[0] - weights[1]
    summed = weight @ _MEMBERSHIP
    return Comparison(
        first=first,
        second=second,
        difference=float(summed.sum()),
        families=tuple(
            FamilyDifference(
                family=FAMILIES[family],
                weight=float(summed[family]),
                features=tuple(
                    FeatureDifference(
                        name=FEATURE_NAMES[n],
                        first=float(features[0, n]),
                        second=float(features[1, n]),
                        weight=float(weight[n]),
                    )
                    for n in _by_weight(_MEMBERS[family], weight)
                ),
            )
            for family in np.argsort(-np.abs(summed)).tolist()
        ),
    )


def _is_personal(family: int, most: FeatureWeight) -> bool:
    """Tell whether a past item is behind a family, of which one feature weighs most: the rank in a source may, too."""
    by_rank = most.name in _PERSONAL_RANKS and most.weight > 0 and bool(np.isfinite(most.value))
    return by_rank or FAMILIES[family] in PERSONAL_FAMILIES


def _strongest(family: int, values: Floats, weights: npt.NDArray[np.float64]) -> tuple[FeatureWeight, ...]:
    return tuple(
        FeatureWeight(name=FEATURE_NAMES[n], value=float(values[n]), weight=float(weights[n]))
        for n in _by_weight(_MEMBERS[family], weights)[:STRONGEST]
    )


def _by_weight(members: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> list[int]:
    """Order features by how much they weigh, for or against; those that weigh nothing are left out."""
    order = members[np.argsort(-np.abs(weights[members]), kind="stable")]
    return [n for n in order.tolist() if weights[n]]


def _speak_most(situation: Situation, items: ItemSet, sources: Sources, candidates: Candidates) -> list[str | None]:
    """Name for each pair the item of the user's past most like it in text and in who took it; None without a past."""
    out: list[str | None] = []
    for query in np.unique(candidates.query).tolist():
        places = candidates.item[candidates.query == query]
        past = np.unique(situation.recent.items[query][situation.recent.mask[query]])
        rows = items.rows[places]
        if not len(past):
            out += [None] * len(places)
            continue
        likeness = sources.everything.vectors[past] @ items.vectors[places].T
        known = rows >= 0
        itself = past[:, None] == rows[None]
        # One cut for all items: a cut of the sparse matrix for each took longer than all the rest.
        behaviour = np.where(itself[:, known], 0, sources.together[past][:, rows[known]].toarray())
        likeness[:, known] += behaviour / np.maximum(behaviour.max(axis=0), 1e-9)
        likeness[itself] = -np.inf
        best, most = likeness.argmax(axis=0), likeness.max(axis=0)
        out += [
            sources.catalogue.ids[int(past[row])] if value > -np.inf else None
            for row, value in zip(best.tolist(), most.tolist(), strict=True)
        ]
    return out
