"""Which systems are compared, and how does each come to be? Trained on demand, once each."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.encoder_parts.cases import Prepared
from benchmarks.encoder_parts.scoring import Scorer, interest_scorer, profile_scorer, with_words
from encoders.pair import FINAL
from encoders.report import report_lines
from encoders.train import EncoderConfig, train
from ingest.progress import Progress

PROFILE, UNTUNED, TUNED, WITH_WORDS = "TF-IDF profile", "untuned", "tuned", "tuned + words"
ABLATIONS: dict[str, tuple[str, ...]] = {
    "without logQ": ("popularity_correction=0",),
    "without hard negatives": ("hard_negatives=0", "skipped_negatives=0"),
    "without kinds and ages": ("read_kinds_and_ages=false",),
    "mean pooling": ("layers=0",),
    "frozen text": ("tuning=none",),
    "without newcomers": ("newcomer_cost=-1",),
}
"""What each lacks, as settings that differ from those of the tuned system."""
ADDITIONS: dict[str, tuple[str, ...]] = {
    "with near neighbours": ("hard_negatives=512",),
    "with skipped items": ("skipped_negatives=8",),
}
"""What stands beside a tuned system that has none of these negatives."""
_OF_SHOWN: dict[str, Any] = {"skipped_negatives": 0, "impressions_share": 0.0}
"""Settings that a log without impressions knows nothing of."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One way to score items."""

    name: str
    scorer: Scorer
    kind: str = ""
    """The encoder's kind, where there is one."""
    seconds: float | None = None
    """What its training took; None where it was not trained here."""


def ablations(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """Return what to train beside a tuned system: without each part, and with negatives that it does not use."""
    added = {
        name: changes
        for name, changes in ADDITIONS.items()
        if not any(getattr(config, change.partition("=")[0]) for change in changes)
    }
    return ABLATIONS | added


def same_training(one: EncoderConfig, other: EncoderConfig, *, shown: bool) -> bool:
    """Return whether two settings come to the same encoder; `shown` says whether the log has impressions."""
    return one == other or (not shown and replace(one, **_OF_SHOWN) == replace(other, **_OF_SHOWN))


class Systems:
    """The systems of one case; a model is trained when first asked for, in `scratch`.

    `settings` holds those of the tuned system and of each variant of it, by their names.
    """

    def __init__(
        self,
        prepared: Prepared,
        settings: Mapping[str, EncoderConfig],
        scratch: Path,
        *,
        refit: bool = True,
        models: Path | None = None,
        words_share: float = 0.0,
    ) -> None:
        self._prepared = prepared
        self._settings = settings
        self._scratch = scratch
        self._refit = refit
        self._models = models
        self._words_share = words_share
        self._seconds: dict[str, float | None] = {}

    def make(self, name: str) -> System:
        """Return a system by its name, ready to score."""
        texts = self._prepared.texts
        if name == PROFILE:
            return System(name=name, scorer=profile_scorer(texts))
        model = TUNED if name == WITH_WORDS else name
        folder = self._folder(model)
        scorer = interest_scorer(folder, texts)
        if name == WITH_WORDS:
            scorer = with_words(scorer, profile_scorer(texts), self._words_share)
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["kind"]
        return System(name=name, scorer=scorer, kind=kind, seconds=self._seconds[model])

    def _folder(self, name: str) -> Path:
        if name == TUNED and self._models is not None:
            self._seconds[name] = None
            return self._models / self._prepared.name / FINAL
        if name not in self._seconds:
            config = self._settings[TUNED if name == UNTUNED else name]
            self._seconds[name] = self._train(name, config, refit=self._refit and name != UNTUNED)
        return self._place(name, refit=self._refit and name != UNTUNED)

    def _train(self, name: str, config: EncoderConfig, *, refit: bool) -> float:
        """Train as the product does: choose the epoch on the last part of the log, then train anew on all of it."""
        data, first = self._prepared.training, self._place(name, refit=False)
        report = train(data, first, config, epochs=0 if name == UNTUNED else None, progress=_progress(name))
        print(*(f"  {name}, held out: {line}" for line in report_lines(report)), sep="\n", flush=True)
        if not refit:
            return report.seconds
        second = self._place(name, refit=True)
        return report.seconds + train(data, second, config, repeat_of=first, progress=_progress(name)).seconds

    def _place(self, name: str, *, refit: bool) -> Path:
        return self._scratch / (name.replace(" ", "-") + ("-all" if refit else ""))


def _progress(name: str) -> Progress:
    started = time.monotonic()

    def show(step: str, done: int, total: int | None = None, note: str = "") -> None:
        if step == "tune encoder" and note:
            print(f"  {name}: {time.monotonic() - started:5.0f} s, epoch {done} of {total}, {note}", flush=True)

    return show
