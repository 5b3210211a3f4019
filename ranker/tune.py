"""Which settings of the blend suit this log? A search by trials, and a verdict by a window that no trial has seen.

since         trials learn           stop and value           judge          until
---|----------------------------------|--------------------------|--------------|
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ingest.bounds import Positive, Seed, Size, check_bounds
from ingest.errors import SettingsError
from ingest.progress import Progress, silent
from ingest.workspace import Workspace
from ranker import tuned
from ranker.boost import BlendConfig, dataset, fit, grow, initial_score
from ranker.gain import Gain, compare
from ranker.studies import alone, finished, run, study
from ranker.train_config import TrainConfig
from ranker.tuning_examples import TuningExamples, Windows, tuning_examples

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """How `readrank tune` searches."""

    trials: Positive = 40
    """Trials of a study in all; a study that was broken off goes on where it was. The first trial has the defaults."""
    random_trials: Size = 10
    """The first trials, whose settings are drawn evenly; later ones are drawn near the best so far."""
    seed: Seed = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class Range:
    """Between which values a setting is searched."""

    low: float
    high: float
    log: bool = False
    """Whether a step is a ratio."""


SPACE: Mapping[str, Range] = {
    "learning_rate": Range(low=0.02, high=0.2, log=True),
    "leaves": Range(low=7, high=127, log=True),
    "min_rows": Range(low=10, high=400, log=True),
    "l2": Range(low=0.1, high=100.0, log=True),
    "feature_share": Range(low=0.3, high=1.0),
    "row_share": Range(low=0.5, high=1.0),
    "truncation": Range(low=10, high=60, log=True),
}
"""Settings of `[blend]` that are searched."""
GIVEN_LEAVES = (3, 5, 7, 10, 15, 31)
"""What `given_leaves` may become."""
STEP = 0.25
"""Trials are compared for pruning each time trees x learning rate has grown by this: a small rate is no fault."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best trial of a study, and what the judge window says of it."""

    study: str
    trial: int
    trials: int
    """Trials finished, pruned ones among them."""
    pruned: int
    settings: dict[str, Any]
    stop_value: float
    """NDCG@10 on the window that stopped and valued the trials: best of many, so too good to be believed."""
    judged: Gain
    """On the judge window, beside the settings that hold without the search."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a search has come to."""

    cutoff: datetime
    recommend: Best
    given: Best | None
    settings: dict[str, Any]
    """What trainings use from now on; empty where nothing was shown to be better."""
    why: str


def tune(
    workspace: Workspace,
    config: TrainConfig,
    search: TuneConfig | None = None,
    *,
    until: datetime | None = None,
    timeout: float | None = None,
    progress: Progress = silent,
) -> Tuning:
    """Search settings of the blend with what lies before `until`, and leave them for trainings if they are better.

    Settings of `config` that are not defaults are kept. `timeout` is in seconds: after it no trial begins but the first
    of a study, which has the defaults. Trials lie in `tuning.sqlite`; the same search goes on where it was broken off,
    and comes to what it would have come to. Raises `NothingToLearnError` where the log is too short, `TuningError`
    where the studies cannot be used.
    """
    search = search or TuneConfig()
    space = {name: span for name, span in SPACE.items() if name in tuned.free_settings(config.blend)}
    if not space:
        raise SettingsError(
            f"{workspace.settings_path}: [blend]: wanted a setting to search, all of {', '.join(SPACE)} are set; "
            "remove those that tune may choose"
        )
    with alone(workspace):
        examples = tuning_examples(workspace, config, until=until, progress=progress)
        deadline = None if timeout is None else time.monotonic() + timeout
        recommend = _search(workspace, examples, config.blend, space, search, deadline, progress)
        better = recommend.settings if recommend.judged.is_better else {}
        given = None
        if examples.given is not None:
            given = _search_given(workspace, examples, config.blend, better, search, deadline, progress)
        settings, why = _verdict(recommend, given)
        _leave(workspace, settings, recommend if better else given, examples.cutoff, "recommend" if better else "given")
    return Tuning(cutoff=examples.cutoff, recommend=recommend, given=given, settings=settings, why=why)


def _verdict(recommend: Best, given: Best | None) -> tuple[dict[str, Any], str]:
    if recommend.judged.is_better:
        if given is not None and given.judged.is_worse:
            return {}, "better for recommendations, but worse for given items: the defaults stay"
        return {**recommend.settings, **(given.settings if given else {})}, "better on the judge window: adopted"
    if given is not None and given.judged.is_better:
        return dict(given.settings), "better for given items alone: adopted for these"
    return {}, "not shown to be better than the defaults on the judge window: the defaults stay"


def _leave(workspace: Workspace, settings: dict[str, Any], best: Best | None, cutoff: datetime, blend: str) -> None:
    if not settings or best is None:
        workspace.tuned_path.unlink(missing_ok=True)
        return
    tuned.write(
        workspace,
        tuned.Tuned(
            blend=blend,
            study=best.study,
            trial=best.trial,
            trials=best.trials,
            until=cutoff.isoformat(sep=" "),
            value=best.judged.value,
            defaults=best.judged.baseline,
            low=best.judged.low,
            high=best.judged.high,
            settings=settings,
        ),
    )


def _search(
    workspace: Workspace,
    examples: TuningExamples,
    blend: BlendConfig,
    space: Mapping[str, Range],
    search: TuneConfig,
    deadline: float | None,
    progress: Progress,
) -> Best:
    defaults = {name: getattr(blend, name) for name in space}

    def suggest(trial: "optuna.Trial") -> dict[str, Any]:
        return {name: _suggest(trial, name, span, like=defaults[name]) for name, span in space.items()}

    how = {name: value for name, value in asdict(search).items() if name != "trials"}
    told = [examples.fingerprint, asdict(blend), {name: asdict(span) for name, span in space.items()}, how]
    with study(workspace, f"recommend-{_short(told)}", search.random_trials) as trials:
        run(
            trials,
            search.trials,
            search.seed,
            [defaults],
            suggest,
            _value(examples.recommend, blend),
            deadline,
            progress,
        )
        return _judged(trials, examples.recommend, blend, blend, search.seed)


def _search_given(
    workspace: Workspace,
    examples: TuningExamples,
    blend: BlendConfig,
    better: dict[str, Any],
    search: TuneConfig,
    deadline: float | None,
    progress: Progress,
) -> Best:
    """Try the few sizes of the given items' trees, all else being as found for recommendations."""
    assert examples.given is not None
    now, free = blend.given_leaves, "given_leaves" in tuned.free_settings(blend)
    sizes = [now, *(leaves for leaves in GIVEN_LEAVES if leaves != now)] if free else [now]
    settings, rows = replace(blend, **better), len(examples.given.train.labels)

    def suggest(trial: "optuna.Trial") -> dict[str, Any]:
        return {"given_leaves": trial.suggest_int("given_leaves", min(sizes), max(sizes))}

    def of_given(config: BlendConfig) -> BlendConfig:
        return config.for_given(rows)

    told = [examples.fingerprint, asdict(settings), sizes, search.seed]
    asked = [{"given_leaves": leaves} for leaves in sizes]
    with study(workspace, f"given-{_short(told)}", len(sizes)) as trials:
        value = _value(examples.given, settings, of_given)
        run(trials, len(sizes), search.seed, asked, suggest, value, deadline, progress)
        return _judged(trials, examples.given, settings, blend, search.seed, of_given)


def _suggest(trial: "optuna.Trial", name: str, span: Range, like: float) -> float:
    if isinstance(like, int):
        return trial.suggest_int(name, int(min(span.low, like)), int(max(span.high, like)), log=span.log)
    return trial.suggest_float(name, min(span.low, like), max(span.high, like), log=span.log)


def _value(
    windows: Windows, blend: BlendConfig, as_trained: Callable[[BlendConfig], BlendConfig] = lambda config: config
) -> Callable[["optuna.Trial", dict[str, Any]], float]:
    """Return what a trial is worth: NDCG@10 on the stop window, at its best number of trees."""
    initial = initial_score(windows.train, as_trained(blend))
    data, later = dataset(windows.train, initial), dataset(windows.stop, initial)

    def value(trial: "optuna.Trial", settings: dict[str, Any]) -> float:
        import optuna

        config = as_trained(replace(blend, **settings))
        best, step = 0.0, 0

        def watch(trees: int, ndcg: float) -> None:
            nonlocal best, step
            best = max(best, ndcg)
            reached = int(trees * config.learning_rate / STEP + 1e-9)
            if reached > step:
                step = reached
                trial.report(best, step)
                if trial.should_prune():
                    raise optuna.TrialPruned

        trees, ndcg = grow(data, later, config, watch)
        trial.set_user_attr("trees", trees.booster.best_iteration)
        return ndcg

    return value


def _judged(
    trials: "optuna.Study",
    windows: Windows,
    blend: BlendConfig,
    defaults: BlendConfig,
    seed: int,
    as_trained: Callable[[BlendConfig], BlendConfig] = lambda config: config,
) -> Best:
    """Train the best and the defaults as a training does, on all but the judge window, and compare them there."""
    ended, best = finished(trials), trials.best_trial
    ours, theirs = (
        fit(windows.train, windows.stop, as_trained(config)).trees.score(windows.judge.features)
        for config in (replace(blend, **best.params), defaults)
    )
    return Best(
        study=trials.study_name,
        trial=best.number,
        trials=len(ended),
        pruned=sum(trial.state.name == "PRUNED" for trial in ended),
        settings=dict(best.params),
        stop_value=trials.best_value,
        judged=compare(windows.judge, ours, theirs, seed=seed),
    )


def _short(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
