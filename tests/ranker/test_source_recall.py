"""What sources find is counted as service would propose it."""

import numpy as np
from scipy import sparse

from ranker.candidates import CandidatesConfig
from ranker.examples import all_later
from ranker.history import History
from ranker.learn import learn
from ranker.rules import RulesConfig
from ranker.source_recall import FEWEST, SourceRecall, idle_sources, recall_of_sources
from ranker.sources import SOURCES
from ranker.spoken import source_lines
from ranker.train_config import TrainConfig
from tests.ranker.conftest import DAY, catalogue, hand_made_sources, log


def later(ranker):
    times = np.sort(ranker.history.events(before=2**62)[3])
    return all_later(ranker.history, int(times[int(len(times) * 0.9)]), int(times[-1]) + 1)


def test_what_is_proposed_is_at_least_what_each_source_alone_found(ranker, rng):
    found = recall_of_sources(
        ranker.model.sources, ranker.history, later(ranker).sample(60, rng), CandidatesConfig(), RulesConfig()
    )
    assert found.taken > 60
    # the shop has fewer than 500 items: whatever is allowed stands among the first 500 of a source that speaks of it
    assert 0.8 < found.recall["interest"] <= 1
    assert sum(found.alone.values()) <= found.proposed <= 1
    assert set(found.as_json()["recall@500"]) == set(SOURCES) - {"repeats", "facets"}, (
        "here nothing is shared but texts"
    )


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
    assert found.proposed == found.alone["evergreen"] > 0
    assert set(found.idle) == set(SOURCES) - {"evergreen", "repeats", "facets"}


def test_where_everybody_comes_once_it_is_told_what_a_past_tells():
    """Nobody has a past when the window begins; a moment after the first taking they have one."""
    items = catalogue("a", "b")
    visits = [(f"u{n}", item, 2 * n + place) for n in range(40) for place, item in enumerate("ab")]
    sources = hand_made_sources(items, ["", ""], np.zeros((2, 2)))
    sources.following = sparse.csr_matrix(np.array([[0, 1], [0, 0]], np.float32))
    found = learn(sources, History.from_frames(items, log(*visits)), 40 * DAY, 80 * DAY, TrainConfig()).sources
    n_later, n_next = 5 * 2, 5 * 2  # of the last quarter of the window, asked in two ways
    assert found["taken"] == n_later + n_next
    assert found["recall@500"]["following"] == 5 / (n_later + n_next)


def by(*proposals: tuple[set[str], int]) -> np.ndarray:
    """Takings, each proposed by some sources, so many times."""
    rows = [[name in names for name in SOURCES] for names, n in proposals for _ in range(n)]
    return np.array(rows, bool)


def test_of_two_sources_that_propose_the_same_one_is_named():
    nothing = set(SOURCES) - {"words", "factors", "popular"}
    twins = by(({"words", "factors"}, 60), ({"popular"}, 40))
    assert set(idle_sources(twins)) - nothing == {"words"}
    assert set(idle_sources(by(({"words", "factors"}, 60), ({"factors", "popular"}, 40)))) - nothing == {
        "words",
        "popular",
    }


def test_few_takings_tell_of_no_idle_source():
    assert idle_sources(by(({"words"}, FEWEST - 1))) == []
    assert set(idle_sources(by(({"words"}, FEWEST)))) == set(SOURCES) - {"words"}


def test_what_is_printed_tells_of_how_many_takings():
    found = SourceRecall(recall={"words": 0.25}, alone={"words": 0.5}, proposed=0.5, taken=1_200, idle=["popular"])
    assert list(source_lines(found.as_json(), {}, {}, {})) == [
        "recall@500 of each source alone, of 1,200 takings: words 0.250",
        "candidates of all sources together hold 0.500 of these takings",
        "sources without which the others would hold as many: popular",
    ]
