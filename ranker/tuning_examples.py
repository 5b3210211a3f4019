"""What does a search for settings learn from and what judges it? Three windows of examples, made once and kept."""

import hashlib
import json
import logging
import zipfile
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits

from encoders.lexical import Words
from encoders.settings import check_settings
from ingest.progress import Progress, silent
from ingest.store import Store
from ingest.take_in import drain_outbox
from ingest.whole_file import written_whole
from ingest.workspace import Workspace
from ranker.errors import NothingToLearnError
from ranker.examples import Examples
from ranker.given import impression_examples
from ranker.learn import MIN_POSITIVES
from ranker.registry import FEATURE_NAMES
from ranker.slices import Slice, make_slices, window_bounds
from ranker.train import fit_behaviour, fit_sources
from ranker.train_config import TrainConfig
from ranker.training_data import Frames, TrainingData, scratch_folder
from ranker.tuned_encoder import TwoEncoders

log = logging.getLogger(__name__)

SHARES = (0.6, 0.2, 0.2)
"""Of the later log: what trials learn from, what stops and values them, what judges the best beside the defaults."""
WINDOWS = ("train", "stop", "judge")
_FORMAT = 4
"""Raised when what is kept changes its meaning."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Examples in the order of time."""

    train: Examples
    stop: Examples
    judge: Examples


@dataclass(frozen=True, kw_only=True)
class TuningExamples:
    """What trials need: neither encoder nor sources any more."""

    fingerprint: str
    """Of everything that the examples depend on."""
    cutoff: datetime
    """Nothing from this moment on is in them."""
    recommend: Windows
    given: Windows | None
    """Of what was shown; None where impressions are too few."""


def tuning_examples(
    workspace: Workspace, config: TrainConfig, *, until: datetime | None = None, progress: Progress = silent
) -> TuningExamples:
    """Return the examples of the log before `until`: those kept in `tuning/`, where log and settings are the same.

    `NothingToLearnError` where a window holds fewer than 50 positive examples. They hold numbers only, no ids.
    """
    check_settings(config.encoder)
    with Store.open(workspace.store_path) as store:
        drain_outbox(workspace, store)
        frames = Frames.read(store, until)
    fingerprint = _fingerprint(frames, config)
    path = workspace.tuning_path / f"{fingerprint}.npz"
    kept = _load(path)
    if kept is None:
        kept = _make(workspace, config, frames, progress)
        _save(kept, path)
        for old in workspace.tuning_path.glob("*.npz"):
            if old != path:
                old.unlink(missing_ok=True)
    else:
        log.info("tuning examples taken from %s", path)
    return TuningExamples(
        fingerprint=fingerprint,
        cutoff=frames.cutoff,
        recommend=kept["recommend"],
        given=kept.get("given"),
    )


def _make(workspace: Workspace, config: TrainConfig, frames: Frames, progress: Progress) -> dict[str, Windows]:
    with scratch_folder(workspace) as scratch, threadpool_limits(1, "blas"):
        data = TrainingData.of(
            frames,
            config.text,
            scratch / "data",
            examples_share=config.examples.share,
            repeats=config.rules.repeats,
        )
        history, since, cutoff = data.history, data.examples_since, data.until
        if since is None:
            raise NothingToLearnError(
                "tune wants interactions at different moments before the cutoff, got none; ingest a log first, "
                "or move --until"
            )
        with TwoEncoders(data, config.encoder, scratch, progress).early() as early_model:
            progress("fit sources", 0, 1)
            words, behaviour = Words.fit_rows(data.texts), fit_behaviour(data, since, config)
            progress("fit sources", 1, 1)
            sources = fit_sources(data, words, early_model(), behaviour, config)
        between = window_bounds(history, since, cutoff, SHARES)
        made = make_slices(
            sources, history, between, SHARES, config.candidates, config.examples, config.rules, progress
        )
        _check_enough([window.positives for window in made])
        found = {"recommend": _windows(made)}
        if not frames.impressions.is_empty():
            outcomes = impression_examples(
                sources,
                history,
                frames.impressions,
                since=since,
                max_requests=config.examples.max_requests,
                seed=config.examples.seed,
            )
            shown = _by_time(outcomes, between)
            if shown is not None:
                found["given"] = shown
    return found


def _windows(made: list[Slice]) -> Windows:
    return Windows(**{name: Examples.concatenate(part.parts) for name, part in zip(WINDOWS, made, strict=True)})


def _by_time(shown: Examples, between: list[int]) -> Windows | None:
    """Split what was shown where the log is split, what came before it being learned from; None with too little."""
    train, later = shown.split(shown.as_of < between[1])
    middle, last = later.split(later.as_of < between[2])
    if min(_positives(part) for part in (train, middle, last)) < MIN_POSITIVES:
        return None
    return Windows(train=train, stop=middle, judge=last)


def _check_enough(positives: list[int]) -> None:
    if min(positives) < MIN_POSITIVES:
        raise NothingToLearnError(
            f"tune wants {MIN_POSITIVES} positive examples in each window, got {', '.join(map(str, positives))}; "
            "ingest a longer log, or raise `share` under [examples]"
        )


def _positives(examples: Examples) -> int:
    return int((examples.labels > 0).sum())


def _fingerprint(frames: Frames, config: TrainConfig) -> str:
    said = {
        "format": _FORMAT,
        "cutoff": str(frames.cutoff),
        "features": FEATURE_NAMES,
        "versions": {name: version(name) for name in ("readrank", "polars", "numpy")},
        "windows": SHARES,
        "settings": [
            asdict(config.text),
            asdict(config.encoder),
            asdict(config.examples),
            asdict(config.candidates),
            asdict(config.neighbours),
            asdict(config.factors),
            config.rules.price_attribute,
            config.rules.repeats,
        ],
        "frames": [_digest(frame) for frame in (frames.catalogue.items, frames.interactions, frames.impressions)],
    }
    if len(frames.catalogue.absences):
        said["absences"] = _digest(frames.catalogue.absences)
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _digest(frame: pl.DataFrame) -> str:
    rows = np.sort(frame.hash_rows(seed=0).to_numpy())
    return hashlib.sha256(rows.tobytes() + repr(frame.schema).encode()).hexdigest()


def _save(kept: dict[str, Windows], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {
        f"{blend}.{name}.{field.name}": np.asarray(getattr(getattr(windows, name), field.name))
        for blend, windows in kept.items()
        for name in WINDOWS
        for field in fields(Examples)
    }
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _load(path: Path) -> dict[str, Windows] | None:
    """Read kept examples; None where there are none, or none that can be read: they are made anew."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            blends = dict.fromkeys(name.split(".")[0] for name in stored.files)
            return {
                blend: Windows(**{name: _examples(stored, f"{blend}.{name}") for name in WINDOWS}) for blend in blends
            }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be read (%s): made anew", path, error)
        return None


def _examples(stored: Any, prefix: str) -> Examples:
    values = {field.name: stored[f"{prefix}.{field.name}"] for field in fields(Examples)}
    return Examples(**{name: value.item() if value.ndim == 0 else value for name, value in values.items()})
