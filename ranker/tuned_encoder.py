"""Which encoder does the ranker learn from, which one serves? One tuned on the earlier log, one on all of it."""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from encoders.export import export_frames
from encoders.interest import InterestModel
from encoders.report import TrainingReport
from encoders.train import EncoderConfig
from encoders.train import train as train_encoder
from ingest.progress import Progress
from ranker.history import EPOCH


@dataclass(frozen=True, kw_only=True)
class TunedEncoder:
    """The encoder as it was before the examples, and as it serves."""

    early: InterestModel
    final: InterestModel
    measured: dict[str, Any]

    def copy_into(self, folder: Path) -> None:
        """Copy the serving form of the final encoder."""
        shutil.copytree(
            self.final.folder,
            folder,
        )


def tune_encoder(
    items: pl.DataFrame,
    texts: list[str],
    interactions: pl.DataFrame,
    impressions: pl.DataFrame,
    scratch: Path,
    config: EncoderConfig,
    *,
    examples_from: int | None,
    until: datetime,
    progress: Progress,
) -> TunedEncoder:
    """Tune on what lies before `examples_from` (microseconds), then anew on everything before `until`.

    The ranker's examples lie at or after `examples_from`: it meets scores of an encoder that has not learned from them,
    as in service; they choose its number of epochs and what it adds for new items, no more. With no such moment, there
    is one encoder for both.
    """
    if examples_from is None:
        export_frames(items, interactions, scratch / "data", before=until, impressions=impressions, texts=texts)
        report = train_encoder(scratch / "data", scratch / "final", config, progress=progress)
        model = InterestModel.load(scratch / "final")
        return TunedEncoder(early=model, final=model, measured=_measured(report))
    early, report = tune_early_encoder(
        items,
        texts,
        interactions,
        impressions,
        scratch,
        config,
        examples_from=examples_from,
        until=until,
        progress=progress,
    )
    train_encoder(scratch / "data", scratch / "final", config, repeat_of=scratch / "early", progress=progress)
    return TunedEncoder(early=early, final=InterestModel.load(scratch / "final"), measured=_measured(report))


def tune_early_encoder(
    items: pl.DataFrame,
    texts: list[str],
    interactions: pl.DataFrame,
    impressions: pl.DataFrame,
    scratch: Path,
    config: EncoderConfig,
    *,
    examples_from: int,
    until: datetime,
    progress: Progress,
) -> tuple[InterestModel, TrainingReport]:
    """Tune on what lies before `examples_from` alone: the encoder that the ranker's examples meet."""
    export_frames(items, interactions, scratch / "data", before=until, impressions=impressions, texts=texts)
    moment = EPOCH + timedelta(microseconds=examples_from)
    report = train_encoder(scratch / "data", scratch / "early", config, validate_from=moment, progress=progress)
    return InterestModel.load(scratch / "early"), report


def _measured(report: TrainingReport) -> dict[str, Any]:
    untuned, tuned = report.untuned, report.tuned
    return {
        "base": report.base,
        "kind": report.kind,
        "best_epoch": report.best_epoch,
        "seconds": round(report.seconds, 1),
        "note": report.note,
        "untuned_recall@10": untuned and round(untuned.recall_at_10, 4),
        "tuned_recall@10": tuned and round(tuned.recall_at_10, 4),
        "untuned_ndcg@10": untuned and round(untuned.ndcg_at_10, 4),
        "tuned_ndcg@10": tuned and round(tuned.ndcg_at_10, 4),
    }
