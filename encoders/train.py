"""How are encoder and user tower tuned on behaviour? Next-item interest by sampled softmax, from a training folder."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from encoders.errors import EncoderError
from encoders.interest import EncoderKind
from encoders.newcomer_bonus import NO_BONUS
from encoders.origin import remembered
from encoders.overwrite import check_model_place
from encoders.report import TrainingReport
from encoders.sequences import read_ids, read_sequences
from encoders.settings import check_settings
from ingest.bounds import Amount, Bounds, Fraction, Positive, Seed, Size
from ingest.moments import to_moment
from ingest.progress import Progress, silent

if TYPE_CHECKING:
    from encoders.distributed import Ranks
    from encoders.epochs import Tuned
    from encoders.split import Split

_Rate = Annotated[float, Bounds(least=0, most=10)]
_Dropout = Annotated[float, Bounds(least=0, most=0.9)]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """How the text encoder is tuned on behaviour; one setting for every catalogue."""

    kind: EncoderKind = "static"
    """`static` (token vectors, for CPUs) or `transformer` (for GPUs)."""
    base: str = "auto"
    """Base model: `auto`, `catalogue`, a folder, an installed model package or a Hub id."""
    tuning: Literal["full", "lora", "none"] = "full"
    """What of the encoder is tuned: `full`, `none` (the user tower alone), or for a transformer `lora`."""
    lora_rank: Positive = 16
    """Rank of the adapters when tuning = lora."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """How matrices are multiplied: `float32`, `bfloat16`, or `auto`, which is bfloat16 on a GPU that has it."""
    compile_layers: bool = False
    """Compile a transformer's layers when they first run, which takes about a minute. For trying: MiniLM's steps on an
    H200 took as long with it as without."""
    dim: Positive = 256
    """Length of static vectors; a transformer keeps its own."""
    vectors: Literal["float16", "int8"] = "float16"
    """Form in which a bundle keeps item vectors: `float16`, or `int8`, which takes half the disk."""
    max_tokens: Positive = 256
    """Longest text in tokens; the rest is not read."""
    own_direction: Fraction = 0.85
    """Share of each static token vector that is the token's own rather than its meaning, from 0 to 1."""
    history: Positive = 32
    """How many of a user's latest events are read."""
    width: Positive = 128
    """Width of the tower's attention."""
    heads: Positive = 4
    """Attention heads."""
    layers: Size = 2
    """Attention layers; 0 leaves the weighted mean of recent items alone."""
    dropout: _Dropout = 0.2
    """Dropout in the tower."""
    token_dropout: _Dropout = 0.3
    """Share of an item's tokens that each step of the static kind leaves out; a transformer has its own dropout."""
    epochs: Annotated[int, Bounds(least=-1)] = -1
    """Most epochs of a first tuning; -1 means 6, and 12 for a transformer. A later window may stop it earlier."""
    patience: Positive = 2
    """Stop after this many epochs without a better result on the later window."""
    continue_epochs: Size = 2
    """Epochs when an earlier tuning is continued on a longer log (`init_from`)."""
    pairs_per_epoch: Positive = 200_000
    """Most (history, next item) pairs in an epoch; of a longer log each epoch draws its own sample."""
    pairs_at_once: Positive = 2048
    """Most pairs in a step of each process; a transformer on a CPU takes an eighth of them."""
    least_steps: Size = 16
    """Fewest steps in an epoch: on a small log each step takes fewer pairs, down to 32. 0 sets no minimum."""
    texts_at_once: Size = 0
    """Most texts encoded with gradient at a time; 0 encodes all of a step at once. Lower it when memory is full."""
    negatives: Size = 1024
    """Items drawn from the catalogue as negatives of a step, in addition to the batch's own."""
    hard_negatives: Size = 0
    """Near neighbours of its targets that a step adds to its negatives."""
    skipped_negatives: Size = 0
    """Most skipped items of its user that a pair has as negatives; 0 leaves skipped items to the listwise loss."""
    negatives_power: _Rate = 0.5
    """Negatives are drawn in proportion to how often items were taken, to this power."""
    recent_half: Amount = 0.15
    """A pair counts half when this share of the log's events came after it, a quarter after twice that; 0 counts all
    alike."""
    popularity_correction: Fraction = 0.5
    """Share of the logQ correction: 0 leaves popularity out of interest, 1 puts all of it in."""
    newcomer_cost: Annotated[float, Bounds(least=-1, most=1)] = 0.08
    """Share of known items' NDCG@10 that may be given up to find items that nobody has touched; below 0 adds
    nothing."""
    read_kinds_and_ages: bool = True
    """Whether the tower reads what was done and when; without, it knows only the order."""
    cut_dims: str = ""
    """Lengths at which vectors may be cut (Matryoshka), such as `64, 128`; each costs training time."""
    serve_dim: Size = 0
    """Length, one of `cut_dims`, at which a service scores items, to save memory and time; 0 is the whole length."""
    cold_share: Fraction = 0.3
    """Share of items that a step reads as if they were new, so that new items keep their place."""
    learning_rate: _Rate = 1e-3
    """Highest learning rate of tower and static token vectors."""
    transformer_rate: _Rate = 0.1
    """A transformer's weights learn at this share of `learning_rate`, adapters at four times that."""
    embedding_rate: _Rate = 1.0
    """A transformer's token embeddings learn at this share of `learning_rate`."""
    warmup_steps: Size = 20
    """Steps in which the learning rate rises; afterwards it falls evenly to a twentieth."""
    impressions_share: _Rate = 0.5
    """Weight of the loss over shown items, where the log has impressions."""
    validation_queries: Size = 3000
    """Most held-out questions by which the best epoch is chosen."""
    max_minutes: Amount = 0.0
    """Begin no epoch once this many minutes are over, reading and distilling included, and keep the best one; 0 sets
    no limit."""
    tensorboard: bool = False
    """Write TensorBoard logs: `python -m encoders.train` to `NAME.tensorboard` beside the model, `readrank train` to
    `reports/tensorboard/VERSION`."""
    threads: Size = 1
    """CPU threads of the static kind. Its steps are small: a second thread gains little, and costs on a busy
    machine."""
    seed: Seed = 0
    """Two runs with the same seed on a CPU give the same vectors."""

    @property
    def first_epochs(self) -> int:
        """Most epochs of a first tuning."""
        if self.epochs >= 0:
            return self.epochs
        return 12 if self.kind == "transformer" else 6


def train(
    data: Path | str,
    out: Path | str,
    config: EncoderConfig | None = None,
    *,
    fit_before: datetime | None = None,
    validate_from: datetime | None = None,
    init_from: Path | str | None = None,
    repeat_of: Path | str | None = None,
    epochs: int | None = None,
    progress: Progress = silent,
    resume: bool = True,
    leave_mark: bool = False,
) -> TrainingReport:
    """Tune encoder and tower on the training folder `data` and write the model folder `out`.

    An earlier model there is replaced; where anything else lies, `EncoderError` is raised before training begins.
    Nothing that occurred at or after `fit_before` is read. A first tuning trains on what lies before `validate_from`
    (by default the moment that 90 % of the events precede) and keeps the epoch with the best recall on what users took
    from then on. With `init_from`, an earlier model folder is continued for `epochs` (default `continue_epochs`) on all
    of the log, unless `validate_from` holds a part out. With `repeat_of`, an earlier model folder, training begins anew
    on all of the log, by the same settings, and runs as many epochs as ran there (there is more to learn, and the rate
    falls to the end): nothing is held out, and late events are learned as thoroughly as the rest, which continuing does
    not reach. A killed run resumes at its last epoch and ends at the same result. With `leave_mark` it leaves a mark
    when it is done, by which the same call returns its report at once, until `encoders.checkpoint.forget_mark`: for
    trainings that belong together, of which a later one may be killed. Without anything to learn the untuned base is
    written and the report says so. Under `torchrun` all processes train together: each takes its share of the batches,
    the first one measures and writes, and all return its report.
    """
    import torch

    from encoders.distributed import joined

    config = config or EncoderConfig()
    check_settings(config)
    if epochs is not None and epochs < 0:
        raise EncoderError(f"epochs: wanted 0 or more, got {epochs}; leave it out for those of the settings")
    if repeat_of is not None and (init_from is not None or validate_from is not None):
        other = "validate_from" if init_from is None else "init_from"
        raise EncoderError(f"repeat_of: trains anew on all of the log, got {other} as well; leave one of them out")
    check_model_place(Path(out), Path(data))
    before = torch.get_num_threads()
    if config.kind == "static":
        torch.set_num_threads(max(config.threads, 1))
    try:
        with joined() as ranks:
            return _train(
                Path(data),
                Path(out),
                config,
                ranks,
                fit_before=fit_before,
                validate_from=validate_from,
                init_from=Path(init_from) if init_from is not None else None,
                repeat_of=Path(repeat_of) if repeat_of is not None else None,
                epochs=epochs,
                progress=progress if ranks.first else silent,
                resume=resume,
                leave_mark=leave_mark,
            )
    finally:
        torch.set_num_threads(before)


def _train(
    data: Path,
    out: Path,
    config: EncoderConfig,
    ranks: Ranks,
    *,
    fit_before: datetime | None,
    validate_from: datetime | None,
    init_from: Path | None,
    repeat_of: Path | None,
    epochs: int | None,
    progress: Progress,
    resume: bool,
    leave_mark: bool,
) -> TrainingReport:
    from encoders.card import read_report
    from encoders.checkpoint import Checkpoint
    from encoders.epochs import tune
    from encoders.same_training import check_same_settings, training_key
    from encoders.save import save_model
    from encoders.split import split_log
    from encoders.trainer import Trainer, bonus_before, build, seed_torch, start_from

    started = time.monotonic()
    earlier = read_report(repeat_of) if repeat_of is not None else None
    if repeat_of is not None:
        check_same_settings(config, repeat_of)
    known = split_log(
        read_sequences(data),
        config,
        fit_before=fit_before,
        validate_from=validate_from,
        init_from=init_from,
        hold_out=init_from is None and earlier is None,
    )

    seed_torch(config.seed)
    with ranks.first_before_others():
        encoder, tower, base = build(config, known.everything.texts, kinds=known.kinds, progress=progress)
    if init_from is not None:
        start_from(encoder, tower, init_from)
    trainer = Trainer(config, encoder, tower, known.fitted, continued=init_from is not None, ranks=ranks)
    usual = config.first_epochs if init_from is None else config.continue_epochs
    if earlier and earlier.to_repeat is not None:
        usual = earlier.to_repeat
    total = epochs if epochs is not None else usual
    key = training_key(config, known, base, init_from=init_from, earlier=earlier, epochs=total, processes=ranks.world)
    checkpoint = Checkpoint(out, key)
    done = checkpoint.report_of_finished(asdict(config)) if resume and ranks.first else None
    done = ranks.from_first(done)  # who reads by itself may find the mark removed already
    if done is not None:
        return done

    tuned = tune(
        trainer,
        checkpoint,
        known.everything,
        known.asked,
        total=total if trainer.batches.has_pairs else 0,
        resume=resume,
        logs=out.with_name(out.name + ".tensorboard") if config.tensorboard and ranks.first else None,
        progress=progress,
        until=started + config.max_minutes * 60 if config.max_minutes else None,
        newcomers=earlier.newcomers if earlier else bonus_before(init_from) if init_from else NO_BONUS,
    )
    note = "" if trainer.batches.has_pairs else _nothing_to_learn(known.since)
    if earlier and total and not note:
        note = "trained anew on all of the log; the figures are those of the earlier training that it repeats"
    report = TrainingReport(
        folder=out,
        kind=config.kind,
        base=base.name,
        base_sha256=base.sha256() if ranks.first else None,
        log=tuple(remembered(read_ids(data), known.fitted.items, known.fitted.times)) if ranks.first else (),
        seconds=time.monotonic() - started,
        note=note,
        **_of_the_log(known),
        **_of_the_epochs(tuned, earlier),
    )
    if ranks.first:
        times = known.fitted.times
        window = (int(times.min()), int(times.max())) if len(times) else None
        save_model(out, encoder, tower, config=config, report=report, window=window)
        if leave_mark:
            checkpoint.mark_finished(asdict(config))
        else:
            checkpoint.remove()
    return ranks.from_first(report)


def _nothing_to_learn(since: int | None) -> str:
    before = "" if since is None else f" before {to_moment(since)}, from when on all is held out"
    return f"no user took two items with text{before}: nothing to tune on"


def _of_the_log(known: Split) -> dict[str, Any]:
    """Return what a report tells of the log."""
    return {
        "items": known.everything.n_items,
        "users": known.everything.n_users,
        "events": len(known.fitted.items),
        "requests": len(known.fitted.shown.users),
        "kinds": known.kinds.names,
    }


def _of_the_epochs(tuned: Tuned, earlier: TrainingReport | None) -> dict[str, Any]:
    """Return what a report tells of the epochs; figures are those of the earlier training where one is repeated."""
    measured = earlier or tuned
    return {
        "untuned": measured.untuned,
        "tuned": measured.tuned,
        "words": measured.words,
        "over_words": measured.over_words,
        "best_epoch": tuned.best_epoch,
        "newcomers": tuned.newcomers,
        "epochs": tuned.epochs,
    }


if __name__ == "__main__":
    from encoders.command import leave, main

    leave(main())
