"""What has been learned, and what does it put on which places? The same for one question as for many."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from ingest.moments import to_microseconds
from ranker.arrange import Arranged, Arranger, Wish
from ranker.arrays import Floats, Rows
from ranker.blend import Blend, Trees
from ranker.bundle import Manifest
from ranker.candidates import Candidates, CandidatesConfig, propose
from ranker.catalogue import Catalogue
from ranker.cold_users import BLEND, order_for_cold_users, weights_of_ranks
from ranker.features import compute
from ranker.fresh_places import FreshPlaces
from ranker.fusion import Fusion, fuse_given, weights_of_given
from ranker.initial_score import InitialScore
from ranker.query import PlacedBy
from ranker.registry import FEATURE_NAMES
from ranker.rules import RulesConfig
from ranker.situation import Situation
from ranker.sources import Sources
from ranker.untouched import demotion

_COUNT: Final = FEATURE_NAMES.index("count_all")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What was proposed to some queries, and what became of it."""

    pairs: Candidates
    features: Floats
    """[n_pairs, n_features]."""
    score: npt.NDArray[np.float64]
    """[n_pairs]."""
    lowered: npt.NDArray[np.float64]
    """By how much each pair's score was lowered, because nobody has touched its item [n_pairs]."""
    listed: npt.NDArray[np.bool_]
    """Marks the queries whose scores were handed out in the order of a popularity list [q]."""
    places: Arranged


@dataclass(frozen=True, kw_only=True)
class Model:
    """What was learned before the cutoff; nothing in it changes."""

    sources: Sources
    blend: Blend
    """Orders what the sources propose."""
    blend_given: Blend
    """Orders items that somebody else chose."""
    candidates: CandidatesConfig
    rules: RulesConfig
    cutoff: datetime
    known_until: datetime
    """The bundle's history holds what happened before this moment: later than the cutoff where it was refreshed."""
    cold_users_by: str = BLEND
    """What orders the candidates of users without a past."""
    untouched_lower_by: float = 0.0
    """How much lower the scores of untouched items are in live answers."""
    fresh_places: FreshPlaces = field(default_factory=FreshPlaces)
    """How many places new items have."""

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> Self:
        """Read a bundle whose manifest has been checked; what the later window chose stands in the manifest."""
        trees, given = folder / "ranker.txt", folder / "ranker_given.txt"
        learned_given = manifest.measured.get("given", {})
        blend: Blend = _trees(trees, manifest, "blend") or Fusion.of(manifest.measured)
        rules = RulesConfig(**manifest.settings["rules"])
        serve_dim = manifest.settings["encoder"].get("serve_dim", 0)
        return cls(
            sources=Sources.load(folder, Catalogue.load(folder), serve_dim=serve_dim),
            blend=blend,
            blend_given=_trees(given, manifest, "given") or (Fusion() if "fused" in learned_given else blend),
            candidates=CandidatesConfig(**manifest.settings["candidates"]),
            rules=rules,
            cutoff=datetime.fromisoformat(manifest.cutoff),
            known_until=datetime.fromisoformat(manifest.known_until or manifest.cutoff),
            cold_users_by=manifest.measured.get("cold_users", {}).get("by", BLEND),
            untouched_lower_by=manifest.measured.get("untouched", {}).get("by", 0.0),
            fresh_places=FreshPlaces.of(rules, manifest.measured),
        )

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue as it was at the training, or at the refresh."""
        return self.sources.catalogue

    @cached_property
    def arranger(self) -> Arranger:
        """What gives scored candidates their places."""
        return Arranger(self.catalogue, self.sources.everything.vectors, self.rules)

    def score_given(self, features: Floats, request: Rows) -> npt.NDArray[np.float64]:
        """Score items that somebody else chose [n_pairs], each among those of its request; `request` are numbers."""
        if isinstance(self.blend_given, Trees):
            return self.blend_given.score(features)
        return fuse_given(features, request)

    def place(self, situation: Situation, allowed: npt.NDArray[np.bool_], wish: Wish) -> Placed:
        """Propose, score and place items for each query, among those `allowed` [q, n_items].

        A question later than `known_until` is a live one: it asks what comes next, and not what comes at all.
        """
        pairs = propose(self.sources, situation, allowed, self.candidates)
        features = compute(situation, self.sources.everything, pairs, self.sources)
        live = (situation.moments.as_of > to_microseconds(self.known_until))[pairs.query]
        lowered = demotion(features, live, self.untouched_lower_by)
        warm = np.asarray(situation.recent.mask.any(axis=1))
        listed = ~warm if self.cold_users_by != BLEND else np.zeros_like(warm)
        score = order_for_cold_users(pairs, self.blend.score(features) - lowered, warm, self.cold_users_by)
        places = self.arranger.arrange(pairs, score, allowed, wish, self.fresh_places.at(features, live))
        by_list = listed[places.query] & (places.by == PlacedBy.SCORE)
        places = replace(places, by=np.where(by_list, PlacedBy.LIST, places.by))
        return Placed(pairs=pairs, features=features, score=score, lowered=lowered, listed=listed, places=places)

    def weights(self, found: Placed, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return what each feature adds to the scores of some of the pairs found for one query [n, n_features].

        With what all pairs share they sum to the score. What an item loses for not being touched is its count's doing.
        """
        if found.listed.any():
            return weights_of_ranks(found.pairs, found.score, self.cold_users_by, chosen)
        weights = self.blend.contributions(found.features[chosen])[:, :-1]
        weights[:, _COUNT] -= found.lowered[chosen]
        return weights

    def weights_given(self, features: Floats, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return what each feature adds to the scores of some of one request's items [n, n_features]."""
        if isinstance(self.blend_given, Trees):
            return self.blend_given.contributions(features[chosen])[:, :-1]
        return weights_of_given(features, chosen)


def _trees(path: Path, manifest: Manifest, name: str) -> Trees | None:
    """Read the trees of a blend; where they began stands in the manifest. None where training has learned none."""
    return Trees.load(path, initial=InitialScore.of(manifest.measured.get(name, {}))) if path.is_file() else None
