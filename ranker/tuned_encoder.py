"""Which encoder does the ranker learn from, which one serves? One tuned on the earlier log, one on all of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from encoders.beside import training
from encoders.card import read_report
from encoders.errors import EncoderError
from encoders.interest import InterestModel
from encoders.origin import share_found
from encoders.pair import EARLY, FINAL
from encoders.train import EncoderConfig
from ingest.moments import to_microseconds, to_moment
from ingest.progress import Progress
from ranker.training_data import TrainingData

KNOWN_AGAIN: Final = 0.5
"""A store in which less than this of what encoders remember of their log is found is another one."""
BESIDE_FROM: Final = 50_000
"""With fewer interactions than this a training is over before a process of its own would have begun."""


def ready_encoders(folder: Path, config: EncoderConfig, until: datetime | None) -> tuple[EncoderConfig, int]:
    """Return the settings that a pair tuned elsewhere stands for, and from when on its early one knows nothing.

    `EncoderError` when the folder holds no pair, or when its final encoder knows what lies at or after `until`.
    """
    early, final = (InterestModel.load(folder / name) for name in (EARLY, FINAL))
    read_report(folder / EARLY)  # what the manifest will tell of it
    if until is not None and final.config.get("trained_before") and final.trained_before > to_microseconds(until):
        raise EncoderError(
            f"--encoders {folder}: wanted encoders that know nothing from {until} on, got some that do; "
            "export with the same --until and tune again"
        )
    return replace(config, kind=final.kind, tuning="full"), int(early.config.get("trained_before") or 0)


def _check_origin(ready: Path, data: TrainingData) -> None:
    """Raise `EncoderError` where a pair was tuned on the log of another store; pairs that remember none pass."""
    _, items, _, times = data.history.events(before=data.until)
    for name in (EARLY, FINAL):
        told = read_report(ready / name).log
        found = share_found(told, data.catalogue.ids, items, times)
        if found < KNOWN_AGAIN:
            raise EncoderError(
                f"--encoders {ready}: wanted encoders tuned on an export of this store, got {name}, of whose log "
                f"{found:.0%} is found here (or `[retention]` has taken it); "
                "run `readrank export-training` here and tune on that"
            )


class TwoEncoders:
    """One encoder tuned on what lies before the ranker's examples, then one anew on the whole log.

    The examples meet scores of an encoder that has not learned from them, as in service; they choose its number of
    epochs and what it adds for new items, no more. With no moment at which examples begin there is one encoder for
    both. On a machine with several cores, and with a log worth it, each is tuned beside what else is to be done. Both
    lie in `folder`, where each goes on from what an earlier training of the same settings and data has left: one that
    is finished is not tuned again. `ready` is a folder of both, tuned elsewhere.
    """

    def __init__(
        self, data: TrainingData, config: EncoderConfig, folder: Path, progress: Progress, *, ready: Path | None = None
    ) -> None:
        self.data = data
        self.config = config
        self.progress = progress
        self._ready = ready
        since, times = data.examples_since, data.history.events(before=data.until)[3]
        if ready is not None and since is not None and not (times >= since).any():
            raise EncoderError(
                f"--encoders {ready}: wanted an early encoder that leaves the latest part of the log to learn from, "
                "got one that knows all of it; export again and tune with --pair"
            )
        if ready is not None:
            _check_origin(ready, data)
        self._early, self._final = ((ready or folder) / name for name in (EARLY, FINAL))
        n_events = data.history.log_counts(np.array([data.until]))[0]
        self._beside = bool(n_events >= BESIDE_FROM) and (os.cpu_count() or 1) > 1

    @contextmanager
    def early(self) -> Iterator[Callable[[], InterestModel]]:
        """Tune the encoder that the examples meet; yields what waits for it."""
        if self._ready is not None:
            yield lambda: InterestModel.load(self._early)
            return
        since = self.data.examples_since
        out = self._final if since is None else self._early
        with training(
            self.data.folder,
            out,
            self.config,
            beside=self._beside,
            validate_from=None if since is None else to_moment(since),
            leave_mark=True,
            progress=self.progress,
        ) as begun:
            yield lambda: InterestModel.load(begun.result())

    @contextmanager
    def final(self) -> Iterator[Callable[[], InterestModel]]:
        """Tune the encoder that serves; yields what waits for it. `early` must be over."""
        if self.data.examples_since is None or self._ready is not None:
            yield lambda: InterestModel.load(self._final)
            return
        with training(
            self.data.folder,
            self._final,
            self.config,
            beside=self._beside,
            repeat_of=self._early,
            leave_mark=True,
            progress=self.progress,
        ) as begun:
            yield lambda: InterestModel.load(begun.result())

    @property
    def measured(self) -> dict[str, Any]:
        """What the held-out part of the log said of the encoder, base -> tuned, and of words alone."""
        folder: Path = self._final if self.data.examples_since is None and self._ready is None else self._early
        report = read_report(folder)
        figures = {
            f"{state}_{short}": found and round(getattr(found, name), 4)
            for short, name in (("recall@10", "recall_at_10"), ("ndcg@10", "ndcg_at_10"))
            for state, found in (("untuned", report.untuned), ("words", report.words), ("tuned", report.tuned))
        }
        told = {name: getattr(report, name) for name in ("base", "kind", "best_epoch", "seconds", "note")}
        return told | figures | {"over_words_ndcg@10": asdict(report.over_words) if report.over_words else None}
