"""What of a log does a training learn from, and what of it is held out to ask for?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.kinds import Kinds
from encoders.measure import HeldOut, held_out, held_out_from
from encoders.sequences import Sequences
from encoders.trainer import kinds_to_tell
from ingest.moments import to_microseconds

if TYPE_CHECKING:
    from encoders.train import EncoderConfig


@dataclass(frozen=True, kw_only=True)
class Split:
    """A log in the kinds that the tower tells apart, and its parts."""

    everything: Sequences
    """All that may be known; held-out questions read their histories from it."""
    fitted: Sequences
    """What is learned from."""
    asked: HeldOut | None
    """What is measured by; None where nothing is held out."""
    since: int | None
    """From when on nothing is learned from, in microseconds."""
    kinds: Kinds


def split_log(
    everything: Sequences,
    config: EncoderConfig,
    *,
    fit_before: datetime | None,
    validate_from: datetime | None,
    init_from: Path | None,
    hold_out: bool,
) -> Split:
    """Cut a log at the moments that `encoders.train.train` was given; without `hold_out` all of it is learned from."""
    if fit_before is not None:
        everything = everything.before(to_microseconds(fit_before))
    since = held_out_from(everything, validate_from, hold_out=hold_out)
    kinds = kinds_to_tell(config, everything if since is None else everything.before(since), init_from)
    everything = everything.of_kinds(kinds)
    if since is None:
        return Split(everything=everything, fitted=everything, asked=None, since=None, kinds=kinds)
    asked = held_out(everything, since, most=config.validation_queries, seed=config.seed)
    return Split(everything=everything, fitted=everything.before(since), asked=asked, since=since, kinds=kinds)
