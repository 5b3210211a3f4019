"""What sources find is counted as service would propose it."""

import numpy as np

from ranker.candidates import CandidatesConfig
from ranker.examples import all_later
from ranker.rules import RulesConfig
from ranker.source_recall import recall_of_sources
from ranker.sources import SOURCES


def later(ranker):
    times = np.sort(ranker.history.events(before=2**62)[3])
    return all_later(ranker.history, int(times[int(len(times) * 0.9)]), int(times[-1]) + 1)


def test_union_is_at_least_each_source_and_what_one_alone_found(ranker, rng):
    found = recall_of_sources(
        ranker.model.sources, ranker.history, later(ranker).sample(60, rng), CandidatesConfig(), RulesConfig()
    )
    assert found.taken > 60
    # the shop has fewer than 500 items: whatever is allowed stands among the first 500 of a source that speaks of it
    assert 0.8 < found.recall["interest"] <= 1
    assert found.union <= 1
    assert sum(found.alone.values()) <= found.union
    assert set(found.as_json()["recall@500"]) == set(SOURCES) - {"repeats"}


def test_source_that_may_propose_nothing_is_idle(ranker, rng):
    asked = later(ranker).sample(60, rng)
    found = recall_of_sources(ranker.model.sources, ranker.history, asked, CandidatesConfig(words=0), RulesConfig())
    assert found.alone["words"] == 0
    assert "words" in found.idle
    assert found.recall["words"] > 0


def test_only_source_finds_alone_all_that_is_found(ranker, rng):
    asked = later(ranker).sample(60, rng)
    only = CandidatesConfig(**{name: 0 for name in SOURCES if name != "evergreen"})
    found = recall_of_sources(ranker.model.sources, ranker.history, asked, only, RulesConfig())
    assert found.union == found.alone["evergreen"] > 0
