"""Why does an item stand where it does? Exact SHAP values by family, and the past item that speaks most for it."""

import numpy as np
import numpy.typing as npt

from ranker.blend import Trees
from ranker.candidates import Candidates
from ranker.history import Floats
from ranker.query import Reason
from ranker.registry import FAMILIES, FEATURES
from ranker.sources import ItemSet, Situation, Sources

PERSONAL_FAMILIES = frozenset({"text interest", "similarity", "collaborative", "category affinity"})
REASONS = 3

_MEMBERSHIP = np.array([[feature.family == family for family in FAMILIES] for feature in FEATURES], float)


def family_weights(trees: Trees, features: Floats) -> npt.NDArray[np.float64]:
    """Sum the SHAP values of each family; shape [n, n_families] in the order of `FAMILIES`."""
    summed: npt.NDArray[np.float64] = trees.contributions(features)[:, :-1] @ _MEMBERSHIP
    return summed


def reasons(
    trees: Trees, features: Floats, candidates: Candidates, situation: Situation, items: ItemSet, sources: Sources
) -> list[tuple[Reason, ...]]:
    """Return for each pair its strongest families that speak for it, personal ones with the past item behind them."""
    weights = family_weights(trees, features)
    out = []
    for n, row in enumerate(weights):
        because = _speaks_most(situation, items, sources, int(candidates.query[n]), int(candidates.item[n]))
        # Without a past a personal family can only say that there is none, which is no reason.
        speaks = [f for f in range(len(FAMILIES)) if because is not None or FAMILIES[f] not in PERSONAL_FAMILIES]
        order = [family for family in np.argsort(-row) if row[family] > 0 and family in speaks][:REASONS]
        out.append(
            tuple(
                Reason(
                    family=FAMILIES[family],
                    weight=float(row[family]),
                    because=because if FAMILIES[family] in PERSONAL_FAMILIES else None,
                )
                for family in order
            )
        )
    return out


def _speaks_most(situation: Situation, items: ItemSet, sources: Sources, query: int, place: int) -> str | None:
    past = situation.recent.items[query][situation.recent.mask[query]]
    past = past[past != items.rows[place]]
    if not len(past):
        return None
    likeness = sources.everything.vectors[past] @ items.vectors[place]
    if items.rows[place] >= 0:
        behaviour = np.asarray(sources.together[past][:, [items.rows[place]]].todense()).ravel()
        likeness = likeness + behaviour / max(float(behaviour.max()), 1e-9)
    strongest: str = sources.catalogue.ids[int(past[int(np.argmax(likeness))])]
    return strongest
