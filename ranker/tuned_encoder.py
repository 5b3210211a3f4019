"""Which encoder does the ranker learn from, which one serves? One tuned on the earlier log, one on all of it."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from encoders.beside import training
from encoders.card import JSON_CARD
from encoders.interest import InterestModel
from encoders.train import EncoderConfig
from ingest.progress import Progress
from ranker.ground import Ground
from ranker.history import EPOCH

BESIDE_FROM: Final = 50_000
"""With fewer interactions than this a training is over before a process of its own would have begun."""


class TwoEncoders:
    """One encoder tuned on what lies before the ranker's examples, then one anew on the whole log.

    The examples meet scores of an encoder that has not learned from them, as in service; they choose its number of
    epochs and what it adds for new items, no more. With no moment at which examples begin there is one encoder for
    both. On a machine with several cores, and with a log worth it, each is tuned beside what else is to be done.
    """

    def __init__(self, ground: Ground, config: EncoderConfig, progress: Progress) -> None:
        self.ground = ground
        self.config = config
        self.progress = progress
        folder = ground.data.parent
        self._early, self._final = folder / "early", folder / "final"
        n_events = ground.history.log_counts(np.array([ground.until]))[0]
        self._beside = bool(n_events >= BESIDE_FROM) and (os.cpu_count() or 1) > 1

    @contextmanager
    def early(self) -> Iterator[Callable[[], InterestModel]]:
        """Tune the encoder that the examples meet; yields what waits for it."""
        t1 = self.ground.t1
        out = self._final if t1 is None else self._early
        since = None if t1 is None else EPOCH + timedelta(microseconds=t1)
        with training(
            self.ground.data, out, self.config, beside=self._beside, validate_from=since, progress=self.progress
        ) as begun:
            yield lambda: InterestModel.load(begun.result())

    @contextmanager
    def final(self) -> Iterator[Callable[[], InterestModel]]:
        """Tune the encoder that serves; yields what waits for it. `early` must be over."""
        if self.ground.t1 is None:
            yield lambda: InterestModel.load(self._final)
            return
        with training(
            self.ground.data,
            self._final,
            self.config,
            beside=self._beside,
            repeat_of=self._early,
            progress=self.progress,
        ) as begun:
            yield lambda: InterestModel.load(begun.result())

    @property
    def measured(self) -> dict[str, Any]:
        """What the held-out part of the log said of the encoder, base -> tuned."""
        folder: Path = self._final if self.ground.t1 is None else self._early
        card = json.loads((folder / JSON_CARD).read_text(encoding="utf-8"))
        figures = {
            f"{state}_{short}": card[state] and round(card[state][name], 4)
            for short, name in (("recall@10", "recall_at_10"), ("ndcg@10", "ndcg_at_10"))
            for state in ("untuned", "tuned")
        }
        return {name: card[name] for name in ("base", "kind", "best_epoch", "seconds", "note")} | figures
