"""Where there is too little to learn from, the sources' ranks are fused, and sources that find more count more."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from ingest.moments import to_microseconds
from ingest.store import END_OF_TIME, Store
from ranker.blend import Trees
from ranker.boost import BlendConfig, Fitted, fit
from ranker.bundle import live_folder, read_manifest
from ranker.examples import Examples, ExamplesConfig
from ranker.fusion import OFFSET, PRIOR, Fusion, fuse_given
from ranker.gain import ndcg_of_queries
from ranker.given import impression_examples
from ranker.history import History
from ranker.learn import LATER_SHARE, learn, learn_given
from ranker.model import Model
from ranker.registry import FEATURE_NAMES
from ranker.slices import examples_begin
from ranker.sources import SOURCES
from ranker.train_config import TrainConfig
from tests.ranker.conftest import bundle_that_measured


def ranked(*rows: dict[str, int]) -> np.ndarray:
    """Features of candidates with these ranks in the sources."""
    features = np.full((len(rows), len(FEATURE_NAMES)), np.nan, np.float32)
    for row, ranks in zip(features, rows, strict=True):
        for name, rank in ranks.items():
            row[FEATURE_NAMES.index(f"rank_{name}")] = np.log(rank)
    return features


def questions(n: int, taken: dict[str, int], left: dict[str, int]) -> Examples:
    """Questions of two candidates each: one with the ranks `taken` was taken, the other was left."""
    return Examples(
        features=np.tile(ranked(taken, left), (n, 1)),
        labels=np.tile([1, 0], n).astype(np.int32),
        positions=np.zeros(2 * n, np.int32),
        groups=np.full(n, 2),
        as_of=np.arange(n),
        users=np.arange(n),
        negative_weight=np.ones(n, np.float32),
        retrieved=1.0,
    )


def test_what_more_sources_put_higher_comes_first():
    score = Fusion().score(ranked({"interest": 1}, {"interest": 2}, {"interest": 1, "words": 5}))
    first = 1 / (OFFSET + 1)
    assert score.tolist() == pytest.approx([first, 1 / (OFFSET + 2), first + 1 / (OFFSET + 5)], rel=1e-5)


def test_a_source_counts_what_it_found_in_its_first_ten_places():
    fusion = Fusion.fit([questions(30, {"popular": 2, "words": 11}, {"words": 1, "interest": 1})])
    found = 1 / np.log2(3)
    mean = found / len(SOURCES)
    popular, others = ((30 * gained + PRIOR * mean) / (30 + PRIOR) for gained in (found, 0.0))
    assert fusion.weights["popular"] / fusion.weights["words"] == pytest.approx(popular / others)
    assert fusion.weights["words"] == fusion.weights["interest"] == fusion.weights["fresh"]
    assert np.mean(list(fusion.weights.values())) == pytest.approx(1)
    taken, left = fusion.score(ranked({"popular": 2, "words": 11}, {"words": 1, "interest": 1}))
    assert taken > left
    taken, left = Fusion().score(ranked({"popular": 2, "words": 11}, {"words": 1, "interest": 1}))
    assert taken < left


def test_the_tenth_place_is_the_last_that_gains():
    weights = Fusion.fit([questions(30, {"popular": 10, "words": 11}, {})]).weights
    assert weights["popular"] > weights["words"] == weights["interest"]


def test_a_few_questions_move_weights_less_than_many():
    few, many = (Fusion.fit([questions(n, {"popular": 1}, {"words": 1})]).weights["popular"] for n in (2, 200))
    assert 1 < few < many < len(SOURCES)


def test_a_question_counts_once_however_much_was_taken():
    one, other = questions(10, {"popular": 1}, {}), questions(10, {"words": 1}, {})
    both_taken = replace(other, labels=np.ones(20, np.int32), features=ranked(*[{"words": 1}] * 20))
    weights = Fusion.fit([one, both_taken]).weights
    assert weights["words"] == pytest.approx(weights["popular"])


def test_without_anything_taken_all_sources_count_alike():
    nothing = replace(questions(3, {"popular": 1}, {}), labels=np.zeros(6, np.int32))
    for parts in ([], [nothing], [questions(3, {}, {})]):
        assert set(Fusion.fit(parts).weights.values()) == {1.0}


@pytest.fixture
def learned_with(ranker, shop, monkeypatch):
    """Learn from the shop, whose trees are `trees(fitted)` instead, with so few positives wanted."""
    with Store.open(shop.store_path, read_only=True) as store:
        history = History.from_frames(ranker.catalogue, store.interactions(before=END_OF_TIME))
    until = to_microseconds(ranker.cutoff)
    few = ExamplesConfig(max_queries=300, negatives=20)

    def learn_with(trees, *, safe: int):
        def fitted(*parts) -> Fitted:
            found = fit(*parts)
            return replace(found, earlier=trees(found.earlier))

        monkeypatch.setattr("ranker.learn.fit", fitted)
        monkeypatch.setattr("ranker.learn.MIN_POSITIVES", safe)
        config = TrainConfig(examples=few, blend=BlendConfig(trees=20))
        return learn(ranker.model.sources, history, examples_begin(history, until, 0.3), until, config)

    return learn_with


class Upside:
    """Orders as other trees do, worst first."""

    def __init__(self, trees: Trees):
        self.trees = trees

    def score(self, features):
        return -self.trees.score(features)


def test_trees_that_order_worse_than_fused_ranks_do_not_serve(learned_with):
    learned = learned_with(Upside, safe=50)
    assert isinstance(learned.blend, Fusion)
    assert learned.measured["weights"] == {
        name: pytest.approx(weight, abs=1e-4) for name, weight in learned.blend.weights.items()
    }
    assert len(set(learned.measured["weights"].values())) > 3
    assert "by trees" in learned.measured["why"]
    assert learned.sources["taken"] > 0, "what the sources find is told"


def test_given_items_are_ordered_by_fused_ranks_where_trees_are_worse(ranker, shop, monkeypatch, tmp_path):
    with Store.open(shop.store_path, read_only=True) as store:
        impressions = store.impressions(before=END_OF_TIME)
        history = History.from_frames(ranker.catalogue, store.interactions(before=END_OF_TIME), impressions)
    asked = ranker.model.sources, history, 0, impressions, TrainConfig()
    learned = learn_given(*asked)
    assert isinstance(learned.blend, Trees)
    assert 0 < learned.measured["ranks_ndcg@10"] < 1

    def upside_down(*parts) -> Fitted:
        found = fit(*parts)
        return replace(found, earlier=Upside(found.earlier))

    monkeypatch.setattr("ranker.learn.fit", upside_down)
    learned = learn_given(*asked)
    assert isinstance(learned.blend, Fusion)
    assert "by fused ranks" in learned.measured["why"]
    folder = bundle_that_measured(shop, tmp_path / "told", "given", learned.measured)
    manifest = read_manifest(folder)
    (folder / "ranker_given.txt").unlink()
    assert isinstance(Model.load(folder, manifest).blend_given, Fusion)


def test_equal_scores_of_given_items_do_not_follow_the_places_shown(ranker, shop, monkeypatch):
    """What stands first is clicked more: scores that are all alike would be as good as the order shown."""
    with Store.open(shop.store_path, read_only=True) as store:
        impressions = store.impressions(before=END_OF_TIME)
        history = History.from_frames(ranker.catalogue, store.interactions(before=END_OF_TIME), impressions)
    config = TrainConfig()
    shown = impression_examples(
        *(ranker.model.sources, history, impressions), since=0, max_requests=config.examples.max_requests, seed=0
    )
    later = shown.split(shown.as_of < np.quantile(shown.as_of, 1 - LATER_SHARE))[1]
    alike = np.zeros(len(later.labels))
    monkeypatch.setattr("ranker.learn.fuse_given", lambda features, request: alike)
    learned = learn_given(ranker.model.sources, history, 0, impressions, config)
    as_shown = ndcg_of_queries(later.labels, alike, later.groups).mean()
    order = np.random.default_rng(1).normal(size=(200, len(alike)))
    by_chance = np.array([ndcg_of_queries(later.labels, one, later.groups).mean() for one in order])
    assert as_shown > by_chance.max(), "or the log says nothing of places"
    assert by_chance.min() <= learned.measured["ranks_ndcg@10"] <= by_chance.max()


def test_with_few_positives_trees_must_be_better_by_an_interval(learned_with, monkeypatch):
    assert isinstance(learned_with(lambda trees: trees, safe=50).blend, Trees)
    monkeypatch.setattr("ranker.gain.Gain.is_better", property(lambda gain: False))
    assert isinstance(learned_with(lambda trees: trees, safe=50).blend, Trees), "enough positives"
    assert isinstance(learned_with(lambda trees: trees, safe=10**6).blend, Fusion)


def test_a_bundle_keeps_the_weights(shop, tmp_path):
    live = live_folder(shop.bundles_path)
    folder = shutil.copytree(live, tmp_path / "bundle")
    (folder / "ranker.txt").unlink()
    told = {"blend": {"learned": False, "why": "few", "weights": {"popular": 3.0}}}
    model = Model.load(folder, replace(read_manifest(live), measured=told))
    assert isinstance(model.blend, Fusion)
    assert (model.blend.weights["popular"], model.blend.weights["words"]) == (3.0, 1.0)


def of_given(*rows: tuple[float, float]) -> np.ndarray:
    """Features of given items, which no source proposed, with this interest and popularity."""
    features = ranked(*({} for _ in rows))
    for name in ("interest", "words", "together", "count_all"):
        features[:, FEATURE_NAMES.index(name)] = 0
    features[:, [FEATURE_NAMES.index(name) for name in ("interest", "count_all")]] = rows
    return features


def test_given_items_are_fused_within_their_request_whatever_else_is_asked():
    features = of_given((0.9, 1), (0.1, 5), (0.5, 1), (0.8, 7), (0.2, 0))
    request = np.array([0, 0, 0, 1, 1])
    together = fuse_given(features, request)
    for number in (0, 1):
        assert fuse_given(features[request == number], request[request == number]).tolist() == pytest.approx(
            together[request == number].tolist()
        )
    mixed = np.array([3, 0, 4, 2, 1])
    assert fuse_given(features[mixed], request[mixed]).tolist() == pytest.approx(together[mixed].tolist())


def test_given_items_of_equal_values_share_a_rank():
    same, other = of_given((0.5, 1), (0.5, 1), (0.4, 0)), np.zeros(3, np.int32)
    first, second, last = fuse_given(same, other)
    assert first == second == pytest.approx(4 / 61)
    assert last == pytest.approx(2 / 61 + 2 / 63)
