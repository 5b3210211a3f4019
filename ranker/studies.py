"""How is a search run so that, broken off, it goes on? Studies in SQLite; a trial follows from those before it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.errors import first_line
from ingest.held import held
from ingest.progress import Progress
from ingest.workspace import Workspace
from ranker.errors import TuningError

if TYPE_CHECKING:
    import optuna

WARM_UP = 4
"""No trial is pruned before this many steps."""
UNPRUNED = 5
"""So many trials are run to their end before any is pruned."""


@contextmanager
def study(workspace: Workspace, name: str, random_trials: int) -> Iterator["optuna.Study"]:
    """Open a study, made where there is none of that name; what SQLite refuses becomes a `TuningError`."""
    import optuna
    from sqlalchemy import URL
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = workspace.studies_path
    try:
        storage = optuna.storages.RDBStorage(
            URL.create("sqlite", database=str(path.resolve())).render_as_string(hide_password=False)
        )
        try:
            opened = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=WARM_UP),
            )
            opened.set_user_attr("random_trials", random_trials)
            yield opened
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (DatabaseError, optuna.exceptions.StorageInternalError) as error:
        raise TuningError(
            f"{path}: wanted the trials of a search, cannot use it ({first_line(error)}); "
            "if the disk is not full, delete the file and search anew"
        ) from error


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """Let one search at a time run in a workspace; a killed one leaves nothing locked."""
    with held(workspace.tuning_path) as mine:
        if not mine:
            raise TuningError(f"{workspace.tuning_path}: another `readrank tune` is at work; wait for its end")
        yield


def run(
    study: "optuna.Study",
    n_trials: int,
    seed: int,
    first: list[dict[str, Any]],
    suggest: Callable[["optuna.Trial"], dict[str, Any]],
    value: Callable[["optuna.Trial", dict[str, Any]], float],
    deadline: float | None,
    progress: Progress,
) -> None:
    """Run trials until the study has `n_trials`; the first ones have the settings `first`.

    What a trial tries follows from the seed and the trials finished before it, wherever the search was broken off.
    """
    import optuna
    from optuna.trial import TrialState

    for left in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        study.tell(left.number, state=TrialState.FAIL)
    step = f"trials of {study.study_name.split('-')[0]}"
    while (done := len(finished(study))) < n_trials:
        note = f"best {study.best_value:.4f}" if done else ""
        progress(step, done, n_trials, note)
        if done and deadline is not None and time.monotonic() > deadline:
            return
        study.sampler = _sampler(study, seed, done)
        if done < len(first) and not study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
            study.enqueue_trial(first[done])
        trial = study.ask()
        try:
            worth = value(trial, suggest(trial))
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, worth)
    progress(step, done, n_trials, f"best {study.best_value:.4f}")


def finished(study: "optuna.Study") -> list[Any]:
    """Return the trials that came to an end, pruned ones too."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])


def _sampler(study: "optuna.Study", seed: int, done: int) -> Any:
    from optuna.samplers import TPESampler

    state = int(np.random.SeedSequence([seed, done]).generate_state(1)[0])
    return TPESampler(n_startup_trials=study.user_attrs["random_trials"], seed=state)
