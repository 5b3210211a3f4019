"""How long is tuned, and which epoch is kept? Until a later window finds nothing better, and the best of it."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from encoders.checkpoint import Checkpoint
from encoders.encoder import all_vectors
from encoders.errors import EncoderError
from encoders.journal import Journal
from encoders.lexical import Words
from encoders.measure import HeldOut, figures_of, interest_ranks, measure
from encoders.memory import advised, vectors_advice
from encoders.newcomer_bonus import NO_BONUS, NewcomerBonus
from encoders.newcomers import fit_newcomers, may_add
from encoders.profile import lead, profile_ranks
from encoders.report import Epoch, Figures, Lead
from encoders.sequences import Sequences
from encoders.trainer import Trainer
from ingest.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What the epochs came to; the trainer holds the best one's weights."""

    untuned: Figures | None
    tuned: Figures | None
    best_epoch: int
    newcomers: NewcomerBonus
    epochs: tuple[Epoch, ...]
    words: Figures | None = None
    """Of a TF-IDF profile, asked the same."""
    over_words: Lead | None = None
    """By how much `tuned` is above it."""


def tune(
    trainer: Trainer,
    checkpoint: Checkpoint,
    data: Sequences,
    asked: HeldOut | None,
    *,
    total: int,
    resume: bool,
    logs: Path | None,
    progress: Progress,
    until: float | None,
    newcomers: NewcomerBonus = NO_BONUS,
) -> Tuned:
    """Run up to `total` epochs, from where a killed run stood if there was one, and keep the best.

    It ends earlier after `patience` epochs without a better goal on the held-out questions, or when the monotonic clock
    passes `until`. Without questions the last epoch is the best, and `newcomers` is taken as given. The first process
    measures, decides and writes.
    """
    ranks = trainer.ranks
    untuned = _figures(data, asked, trainer)
    state = checkpoint.load(trainer) if resume and total else None
    if len(set(ranks.all([trainer.steps]))) > 1:
        raise EncoderError(f"{checkpoint.folder}: wanted one folder that all processes see, got several; use one disk")
    done: list[Epoch] = state["epochs"] if state else []
    best, best_epoch = state["best"] if state else (untuned.goal if untuned else -1.0, 0)
    if not total:
        last = _at_last(data, asked, trainer, None)
        return Tuned(
            untuned=untuned,
            tuned=untuned,
            best_epoch=0,
            newcomers=newcomers,
            epochs=(),
            words=last.words,
            over_words=last.over_words,
        )
    journal = Journal(progress, logs, done_steps=trainer.steps, world=ranks.world)
    if state is None and ranks.first:
        checkpoint.remove()  # another training's state would take the weights that are written here for its own
        checkpoint.keep_best(trainer, 0)
    progress("tune encoder", len(done), total)
    with closing(journal):
        while len(done) < total:
            stale = asked is not None and len(asked.users) > 0 and len(done) - best_epoch >= trainer.config.patience
            if ranks.from_first(stale or (until is not None and time.monotonic() > until)):
                break
            done.append(_epoch(trainer, journal, len(done), total, data, asked))
            figures = done[-1].figures
            reached = figures.goal if figures else float(len(done))
            if reached > best or figures is None:
                best, best_epoch = reached, len(done)
                if ranks.first:
                    checkpoint.keep_best(trainer, best_epoch)
            if ranks.first:
                checkpoint.save(trainer, done, (best, best_epoch))
            progress("tune encoder", len(done), total, _note(done[-1]))
    if len(done) < total:
        progress("tune encoder", len(done), len(done), f"epoch {best_epoch} is the best")
    if ranks.first:
        checkpoint.take_best(trainer, best_epoch)
    last = _at_last(data, asked, trainer, None if asked is None else trainer.config.newcomer_cost)
    return Tuned(
        untuned=untuned,
        tuned=last.figures,
        best_epoch=best_epoch,
        newcomers=newcomers if asked is None or not len(asked.users) else last.newcomers,
        epochs=tuple(done),
        words=last.words,
        over_words=last.over_words,
    )


def _epoch(
    trainer: Trainer, journal: Journal, number: int, total: int, data: Sequences, asked: HeldOut | None
) -> Epoch:
    began = time.monotonic()
    steps = trainer.epoch(number, total, journal)
    loss, texts, tokens = trainer.ranks.sums([steps.loss, steps.texts, steps.tokens])
    figures = _figures(data, asked, trainer)
    epoch = Epoch(
        number=number + 1,
        loss=loss / max(steps.steps * trainer.ranks.world, 1),
        seconds=time.monotonic() - began,
        figures=figures,
        steps=steps.steps,
        training_s=steps.seconds,
        texts=int(texts),
        tokens=int(tokens),
    )
    journal.epoch(epoch)
    log.info("epoch number=%d loss=%.4f figures=%r", epoch.number, epoch.loss, figures)
    return epoch


def _figures(data: Sequences, asked: HeldOut | None, trainer: Trainer) -> Figures | None:
    """Measure on the first process, for all."""
    if asked is None or not len(asked.users):
        return None
    found = None
    if trainer.ranks.first:
        wanted = f"the vectors of {data.n_items} items and {len(asked.users)} held-out questions on {trainer.device}"
        with advised(lambda: wanted, lambda: vectors_advice(trainer.config)):
            vectors = all_vectors(trainer.encoder, data.n_items)
            found = measure(data, asked, vectors, trainer.tower, trainer.config.history)
    return trainer.ranks.from_first(found)


@dataclass(frozen=True, kw_only=True)
class _Last:
    """What the held-out questions say of the weights that are kept."""

    newcomers: NewcomerBonus = NO_BONUS
    figures: Figures | None = None
    words: Figures | None = None
    over_words: Lead | None = None


def _at_last(data: Sequences, asked: HeldOut | None, trainer: Trainer, cost: float | None) -> _Last:
    """Find what is added for new items, unless `cost` is None, and measure with it, beside words alone.

    The first process does, for all.
    """
    if asked is None or not len(asked.users):
        return _Last()
    found = _Last()
    if trainer.ranks.first:
        vectors, tower, length = all_vectors(trainer.encoder, data.n_items), trainer.tower, trainer.config.history
        words, bonus = Words.fit_rows(data.texts)[1], NO_BONUS
        if cost is not None and may_add(asked, cost):
            bonus = fit_newcomers(data, asked, vectors, tower, length, words, cost=cost)
        ours = interest_ranks(data, asked, vectors, tower, length, words=words, newcomers=bonus)
        by_words = profile_ranks(data, asked, words)
        found = _Last(
            newcomers=bonus,
            figures=figures_of(asked, ours),
            words=figures_of(asked, by_words),
            over_words=lead(ours, by_words, users=asked.users, seed=trainer.config.seed),
        )
    return trainer.ranks.from_first(found)


def _note(epoch: Epoch) -> str:
    return f"loss {epoch.loss:.3f}" + (f" recall@10 {epoch.figures.recall_at_10:.4f}" if epoch.figures else "")
