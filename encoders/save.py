"""How does a trained encoder become a folder that serves? Written whole under another name, then renamed."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.card import write_card
from encoders.cuts import cut_dims
from encoders.interest import CONFIG, FORMAT, TOWER
from encoders.tower import UserTower, tower_arrays

if TYPE_CHECKING:
    from encoders.encoder import Encoder
    from encoders.report import TrainingReport
    from encoders.train import EncoderConfig


def save_model(
    out: Path,
    encoder: Encoder,
    tower: UserTower,
    *,
    config: EncoderConfig,
    report: TrainingReport,
    window: tuple[int, int] | None,
) -> None:
    """Write the folder that `InterestModel.load` opens, with its card; an earlier one of that name is replaced."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh, replaced = (out.with_name(f"{out.name}.{os.getpid()}.{state}") for state in ("new", "replaced"))
    for stale in out.parent.iterdir():
        if re.fullmatch(re.escape(out.name) + r"\.\d+\.(new|replaced)", stale.name):  # what a killed run left
            shutil.rmtree(stale, ignore_errors=True)
    fresh.mkdir()
    try:
        described = encoder.save(fresh)
        described |= {"cut_dims": cut_dims(config.cut_dims, encoder.dim)}
        described |= {"trained_before": window[1] + 1 if window else None, "newcomers": asdict(report.newcomers)}
        described |= {"read_kinds_and_ages": config.read_kinds_and_ages, "kinds": list(report.kinds)}
        described |= {"format": FORMAT, "history": config.history, "heads": tower.heads, "layers": len(tower.layers)}
        (fresh / CONFIG).write_text(json.dumps(described, indent=1), encoding="utf-8")
        arrays: dict[str, Any] = {name: value.numpy() for name, value in tower_arrays(tower).items()}
        np.savez(fresh / TOWER, allow_pickle=False, **arrays)
        write_card(fresh, config=config, report=report, window=window)
        if out.exists():
            out.rename(replaced)  # a run killed while removing it would leave half a model, which is nobody's
        try:
            fresh.rename(out)
        except OSError:
            if replaced.exists():
                replaced.rename(out)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
