"""A search goes on where it was broken off, is judged by what no trial has seen, and leaves only what is better."""

import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from ingest.errors import SettingsError
from ingest.load import load_files
from ingest.store import Store
from ingest.workspace import Workspace
from ranker import tune as module
from ranker import tuned, tuning_examples
from ranker.boost import BlendConfig, fit
from ranker.errors import NothingToLearnError, TuningError
from ranker.gain import Gain
from ranker.studies import study
from ranker.train_config import TrainConfig
from ranker.training_data import Frames
from ranker.tune import Best, TuneConfig, tune
from ranker.tuning_examples import Windows
from tests.ranker.test_gain import some_examples

BLEND = BlendConfig(trees=15, patience=6)
CONFIG = TrainConfig(blend=BLEND)
SEARCH = TuneConfig(trials=7, random_trials=4, seed=3)


def ingest(workspace: Workspace, *rows: tuple[str, str, int]) -> None:
    frame = pl.DataFrame(
        [(user, item, datetime(2024, 5, day)) for user, item, day in rows],
        schema=["user_id", "item_id", "occurred_at"],
        orient="row",
    )
    path = workspace.root / f"log{len(list(workspace.root.glob('log*')))}.parquet"
    frame.write_parquet(path)
    with Store.open(workspace.store_path) as store:
        load_files(store, [path])


def fingerprint(workspace: Workspace, until: datetime | None = None, config: TrainConfig = CONFIG) -> str:
    with Store.open(workspace.store_path) as store:
        return tuning_examples._fingerprint(Frames.read(store, until), config)


def windows(seed: int) -> Windows:
    return Windows(train=some_examples(seed), stop=some_examples(seed + 1, 40), judge=some_examples(seed + 2, 40))


@pytest.fixture
def make(tmp_path):
    """Make a workspace whose examples lie ready, as if an earlier search had made them."""

    def made(name: str = "shop", given: bool = False) -> Workspace:
        workspace = Workspace.create(tmp_path / name, "")
        ingest(workspace, ("ann", "a", 1), ("bob", "b", 2), ("ann", "b", 3))
        kept = {"recommend": windows(1), **({"given": windows(11)} if given else {})}
        tuning_examples._save(kept, workspace.tuning_path / f"{fingerprint(workspace)}.npz")
        return workspace

    return made


def trials_of(workspace: Workspace, name: str) -> list[tuple[dict, float | None, str]]:
    with study(workspace, name, SEARCH.random_trials) as found:
        return [(trial.params, trial.value, trial.state.name) for trial in found.trials if trial.state.name != "FAIL"]


def test_the_first_trial_is_the_defaults_trained_as_training_does(make):
    workspace = make()
    best = tune(workspace, CONFIG, replace(SEARCH, trials=1)).recommend
    ((params, value, _),) = trials_of(workspace, best.study)
    assert params == {name: getattr(BLEND, name) for name in module.SPACE}
    kept = windows(1)
    assert value == fit(kept.train, kept.stop, BLEND).measured["valid_ndcg@10"]
    assert (best.judged.value, best.judged.low, best.judged.high) == (best.judged.baseline, 0, 0)


def test_a_search_broken_off_comes_to_what_it_would_have_come_to(make, monkeypatch):
    whole = tune(make("whole"), CONFIG, SEARCH).recommend
    workspace, grow, calls = make("broken"), module.grow, []

    def killed(data, later, config, watch):
        calls.append(config)
        if len(calls) in {3, 6}:
            raise KeyboardInterrupt
        return grow(data, later, config, watch)

    monkeypatch.setattr(module, "grow", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(workspace, CONFIG, SEARCH)
    broken = tune(workspace, CONFIG, SEARCH).recommend
    assert len(calls) == SEARCH.trials + 2
    found = trials_of(workspace, broken.study)
    assert found == trials_of(workspace.__class__(workspace.root.parent / "whole"), whole.study)
    assert len(found) == SEARCH.trials
    assert (broken.settings, broken.judged) == (whole.settings, whole.judged)


def test_trials_done_before_count_and_another_seed_is_another_study(make):
    workspace = make()
    first = tune(workspace, CONFIG, replace(SEARCH, trials=2)).recommend
    more = tune(workspace, CONFIG, replace(SEARCH, trials=3)).recommend
    assert (first.trials, more.trials, first.study == more.study) == (2, 3, True)
    assert tune(workspace, CONFIG, replace(SEARCH, trials=1, seed=4)).recommend.study != first.study


def test_without_time_there_is_one_trial_of_each_blend(make):
    workspace = make(given=True)
    short = tune(workspace, CONFIG, SEARCH, timeout=0)
    assert short.given is not None
    assert (short.recommend.trials, short.given.trials) == (1, 1)
    assert short.given.settings == {"given_leaves": BLEND.given_leaves}
    whole = tune(workspace, CONFIG, SEARCH).given
    assert whole is not None
    assert whole.trials == len({BLEND.given_leaves, *module.GIVEN_LEAVES}), "with time it goes on"


def test_settings_of_ones_own_are_not_searched(make):
    workspace = make()
    config = replace(CONFIG, blend=replace(BLEND, leaves=5, l2=0.5))
    best = tune(workspace, config, replace(SEARCH, trials=3)).recommend
    assert set(best.settings) == set(module.SPACE) - {"leaves", "l2"}
    everything = replace(BLEND, **{name: getattr(BLEND, name) * 0.9 for name in ("learning_rate", "l2")})
    everything = replace(everything, feature_share=0.5, row_share=0.6, leaves=9, min_rows=9, truncation=9)
    with pytest.raises(SettingsError, match="wanted a setting to search"):
        tune(workspace, replace(CONFIG, blend=everything))


def test_a_bad_trial_is_ended_early(make, monkeypatch):
    """From the sixth trial on, one whose NDCG falls behind is pruned before its trees are grown."""
    grown = []

    def poor(data, later, config, watch):
        grown.append(0)
        model, ndcg = real(data, later, replace(config, trees=1))
        for trees in range(1, 80):
            grown[-1] = trees
            watch(trees, 0.5 if len(grown) <= 5 else 0.1)
        return model, ndcg

    real = module.grow
    monkeypatch.setattr(module, "grow", poor)
    best = tune(make(), CONFIG, replace(SEARCH, trials=6)).recommend
    assert best.pruned == 1
    assert grown[:5] == [79] * 5
    assert grown[5] < 79


def gain(low: float, high: float) -> Gain:
    return Gain(value=0.5 + (low + high) / 2, baseline=0.5, low=low, high=high, queries=9)


def best(low: float, high: float, **settings) -> Best:
    return Best(study="s", trial=1, trials=2, pruned=0, settings=settings, stop_value=0.6, judged=gain(low, high))


BETTER, EVEN, WORSE = (0.01, 0.02), (-0.01, 0.02), (-0.02, -0.01)


@pytest.mark.parametrize(
    ("recommend", "given", "settings"),
    [
        (BETTER, None, {"leaves": 9}),
        (BETTER, BETTER, {"leaves": 9, "given_leaves": 3}),
        (BETTER, EVEN, {"leaves": 9, "given_leaves": 3}),
        (BETTER, WORSE, {}),
        (EVEN, None, {}),
        (EVEN, BETTER, {"given_leaves": 3}),
        (EVEN, EVEN, {}),
        (WORSE, WORSE, {}),
        ((0.0, 0.0), None, {}),
    ],
)
def test_only_what_is_shown_to_be_better_is_adopted(recommend, given, settings):
    found, _ = module._verdict(best(*recommend, leaves=9), given and best(*given, given_leaves=3))
    assert found == settings


@pytest.mark.parametrize("shown", [True, False])
def test_trainings_find_what_is_better_and_nothing_else(make, monkeypatch, shown):
    workspace = make(given=True)
    workspace.tuned_path.write_text("[blend]\nleaves = 5\n")
    verdict = gain(*BETTER) if shown else gain(*EVEN)
    monkeypatch.setattr(module, "compare", lambda *ignored, seed: verdict)
    told = tune(workspace, CONFIG, replace(SEARCH, trials=3))
    assert told.given is not None
    assert told.given.trials == len(module.GIVEN_LEAVES)
    left = tuned.read(workspace)
    if not shown:
        assert (left, told.settings) == (None, {})
        return
    assert left is not None
    assert left.settings == told.settings == {**told.recommend.settings, **told.given.settings}
    assert (left.trial, left.value, left.defaults) == (told.recommend.trial, verdict.value, 0.5)


def test_what_the_judge_sees_no_trial_has_seen(make, monkeypatch):
    seen, learned = [], []
    fit_now, compare_now, dataset_now = module.fit, module.compare, module.dataset
    monkeypatch.setattr(module, "fit", lambda *parts: learned.extend(parts[:2]) or fit_now(*parts))
    monkeypatch.setattr(module, "dataset", lambda part, *more: learned.append(part) or dataset_now(part, *more))
    monkeypatch.setattr(
        module, "compare", lambda part, *more, seed: seen.append(part) or compare_now(part, *more, seed)
    )
    tune(make(), CONFIG, replace(SEARCH, trials=1))
    (judge,) = seen
    np.testing.assert_array_equal(judge.features, windows(1).judge.features)
    assert not any(np.array_equal(part.features, judge.features) for part in learned)


def test_examples_are_kept_as_long_as_they_would_be_the_same(make):
    workspace = make()
    cutoff = datetime(2024, 5, 3)
    known, all_known = fingerprint(workspace, cutoff), fingerprint(workspace)
    assert fingerprint(workspace, cutoff) == known
    assert fingerprint(workspace, cutoff, replace(CONFIG, blend=BlendConfig(leaves=3))) == known
    other = replace(CONFIG, examples=replace(CONFIG.examples, negatives=7))
    assert fingerprint(workspace, cutoff, other) != known
    ingest(workspace, ("eve", "a", 3))  # at the cutoff itself: not known before it
    assert fingerprint(workspace, cutoff) == known
    assert fingerprint(workspace) != all_known
    ingest(workspace, ("eve", "a", 2))
    assert fingerprint(workspace, cutoff) != known


def test_kept_examples_come_back_whole_and_damaged_ones_not_at_all(tmp_path):
    path = tmp_path / "x.npz"
    kept = {"recommend": windows(1), "given": windows(11)}
    tuning_examples._save(kept, path)
    back = tuning_examples._load(path)
    assert set(back) == set(kept)
    for blend, made in kept.items():
        for name in tuning_examples.WINDOWS:
            ours, theirs = getattr(made, name), getattr(back[blend], name)
            assert ours.retrieved == theirs.retrieved
            for field in ("features", "labels", "groups", "as_of", "negative_weight"):
                np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
    path.write_bytes(path.read_bytes()[:500])
    assert tuning_examples._load(path) is None
    assert tuning_examples._load(tmp_path / "none.npz") is None


def test_too_short_a_log_says_what_to_do(tmp_path):
    workspace = Workspace.create(tmp_path / "shop", "")
    with pytest.raises(NothingToLearnError, match="run `readrank ingest` first"):
        tune(workspace, CONFIG)
    ingest(workspace, ("ann", "a", 1), ("bob", "b", 1))
    with pytest.raises(NothingToLearnError, match="different moments"):
        tune(workspace, CONFIG)
    with pytest.raises(NothingToLearnError, match="50 positive examples in each window, got 60, 49, 70"):
        tuning_examples._check_enough([60, 49, 70])


def test_damaged_studies_say_what_to_do(make):
    workspace = make()
    workspace.studies_path.write_bytes(b"not a database" * 100)
    with pytest.raises(TuningError, match="delete the file and search anew"):
        tune(workspace, CONFIG, SEARCH)


def test_two_searches_at_once_are_one_too_many(make):
    workspace = make()
    with module.alone(workspace), pytest.raises(TuningError, match="another `readrank tune` is at work"):
        tune(workspace, CONFIG, SEARCH)


FOUND = tuned.Tuned(
    blend="recommend",
    study="recommend-1",
    trial=4,
    trials=9,
    until="2024-05-03 00:00:00",
    value=0.3,
    defaults=0.25,
    low=0.01,
    high=0.09,
    settings={"leaves": 15, "learning_rate": 0.031},
)


def test_tuned_settings_give_way_to_those_that_are_no_default():
    own = BlendConfig(leaves=63)
    blend, used = tuned.with_tuned(own, FOUND, None)
    assert blend == BlendConfig(leaves=63, learning_rate=0.031)
    assert used is not None
    assert used.settings == {"learning_rate": 0.031}
    assert tuned.with_tuned(BlendConfig(), FOUND, None)[0] == BlendConfig(leaves=15, learning_rate=0.031)


@pytest.mark.parametrize(("day", "used"), [(2, False), (3, True), (4, True)])
def test_tuned_settings_are_not_used_before_what_they_know(day, used):
    blend, found = tuned.with_tuned(BlendConfig(), FOUND, datetime(2024, 5, day))
    assert (found is not None, blend.leaves) == (used, 15 if used else 31)


def test_tuned_settings_are_read_as_written(make):
    workspace = make()
    assert tuned.read(workspace) is None
    tuned.write(workspace, FOUND)
    assert tuned.read(workspace) == FOUND


@pytest.mark.parametrize(
    "text", ["[blend", "[blend]\nleavs = 3\n", "[blend]\nleaves = 'many'\n", "[blend]\nleaves = 3\n", "blend = 3\n"]
)
def test_tuned_settings_that_make_no_sense_say_what_to_do(make, text):
    workspace = make()
    workspace.tuned_path.write_text(text)
    with pytest.raises(SettingsError, match=r"tuned\.toml.*delete the file, or run `readrank tune` again"):
        tuned.read(workspace)


def test_answer_of_a_search_is_plain(make):
    from dataclasses import asdict

    told = tune(make(), CONFIG, replace(SEARCH, trials=1))
    assert json.loads(json.dumps(asdict(told), default=str))["recommend"]["judged"]["queries"] == 40
