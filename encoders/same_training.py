"""Is it the same training? A killed one goes on only where it is, and only the same settings repeat an earlier one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from encoders.card import read_settings
from encoders.checkpoint import fingerprint, folder_fingerprint
from encoders.errors import EncoderError

if TYPE_CHECKING:
    from encoders.base import Base
    from encoders.report import TrainingReport
    from encoders.split import Split
    from encoders.train import EncoderConfig

ONLY_HOW: Final = ("texts_at_once", "tensorboard", "max_minutes", "vectors", "serve_dim")
"""Settings that change how a training runs or what is kept of it, not what it learns."""
NOT_REPEATED: Final = (
    *("threads", "compile_layers"),
    *("epochs", "patience", "continue_epochs", "validation_queries", "newcomer_cost"),
)
"""Settings that a repeated training does not read, as its epochs and what it adds for new items are the earlier one's,
or that do not decide what is learned, from one machine to another."""


def training_key(
    config: EncoderConfig,
    known: Split,
    base: Base,
    *,
    init_from: Path | None,
    earlier: TrainingReport | None,
    epochs: int,
    processes: int,
) -> dict[str, Any]:
    """Return what makes a training another one, which cannot go on from the checkpoint of this."""
    return {
        "config": _learned_by(asdict(config)),
        "data": fingerprint(known.everything),
        "since": known.since,
        "base": [base.name, folder_fingerprint(base.folder)],
        "init_from": folder_fingerprint(init_from),
        # where the repeated one lies and how long it took does not matter
        "repeat_of": asdict(earlier) | {"folder": None, "seconds": None, "epochs": earlier.to_repeat}
        if earlier
        else None,
        "epochs": epochs,
        "processes": processes,
    }


def check_same_settings(config: EncoderConfig, repeat_of: Path) -> None:
    """Raise `EncoderError` where the earlier training learned by other settings, as its figures then say nothing.

    A setting that its version of readrank did not have counts as today's default.
    """
    earlier = asdict(type(config)()) | read_settings(repeat_of)
    for name, value in _learned_by(asdict(config)).items():
        if name not in NOT_REPEATED and value != earlier[name]:
            raise EncoderError(
                f"repeat_of {repeat_of}: wanted the settings that it was trained with, got {name} = {value!r} instead "
                f"of {earlier[name]!r}; set {name} = {earlier[name]!r}, or train without repeat_of"
            )


def _learned_by(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in ONLY_HOW}
