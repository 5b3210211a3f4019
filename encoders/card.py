"""What is this encoder? A card for machines and one for people, inside the model folder."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.errors import ModelFolderError
from encoders.newcomer_bonus import NewcomerBonus
from encoders.report import Epoch, Figures, Lead, TrainingReport, words_line
from ingest.moments import to_moment, utc_now

if TYPE_CHECKING:
    from encoders.train import EncoderConfig

JSON_CARD = "card.json"
READABLE_CARD = "README.md"
_COUNTS = ("items", "users", "events", "requests")
_LIBRARIES = ("torch", "numpy", "tokenizers", "transformers", "sentence-transformers", "peft")


def write_card(folder: Path, *, config: EncoderConfig, report: TrainingReport, window: tuple[int, int] | None) -> None:
    """Write `card.json` and `README.md`.

    They tell base, data window, counts, settings, figures beside those of words alone, and environment.
    """
    told = asdict(report)
    del told["folder"]
    card: dict[str, Any] = {
        "made_at": utc_now().isoformat(sep=" ", timespec="seconds"),
        "window": [_moment(window[0]), _moment(window[1])] if window else None,
        "counts": {name: told.pop(name) for name in _COUNTS},
        "settings": asdict(config),
        **told,
        "seconds": round(report.seconds, 1),
        "environment": _machine() | _versions(),
    }
    (folder / JSON_CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
    (folder / READABLE_CARD).write_text(_readable(card, report), encoding="utf-8")


def read_report(folder: Path) -> TrainingReport:
    """Read what the training that wrote this folder reported; `ModelFolderError` where its card does not say.

    Cards of before words alone were measured say nothing of them.
    """
    with _card(folder) as card:
        over_words = card.get("over_words")
        told = card | {name: _figures(card[name]) for name in ("untuned", "tuned")} | card["counts"]
        told |= {"words": _figures(card.get("words")), "over_words": Lead(**over_words) if over_words else None}
        told |= {"newcomers": NewcomerBonus.read(card["newcomers"])}
        told |= {"epochs": tuple(Epoch.read(row) for row in card["epochs"])}
        told |= {name: tuple(card.get(name, ())) for name in ("kinds", "log")}
        told |= {"folder": folder, "base_sha256": card.get("base_sha256")}
        return TrainingReport(**{field.name: told[field.name] for field in fields(TrainingReport)})


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of the training that wrote this folder; `ModelFolderError` where its card does not say."""
    with _card(folder) as card:
        return dict(card["settings"])


@contextmanager
def _card(folder: Path) -> Iterator[dict[str, Any]]:
    """Give what the card says; `ModelFolderError` where the block does not find in it what it needs."""
    try:
        yield json.loads((folder / JSON_CARD).read_text(encoding="utf-8"))
    except KeyError as error:
        raise ModelFolderError(f"{folder}: wanted {error} in its card, got one without; train anew") from error
    except (OSError, ValueError, TypeError) as error:
        raise ModelFolderError(f"{folder}: wanted a trained encoder with its card, got {error}; train anew") from error


def _figures(told: dict[str, Any] | None) -> Figures | None:
    return Figures(**told) if told else None


def _readable(card: dict[str, Any], report: TrainingReport) -> str:
    window = f"{card['window'][0]} to {card['window'][1]}" if card["window"] else "no events"
    checked = f" (SHA-256 {report.base_sha256})" if report.base_sha256 else ""
    lines = [
        f"# Text encoder, {report.kind}",
        "",
        f"Base: {report.base}{checked}.",
        f"Made {card['made_at']} UTC in {card['seconds']} s, epoch {report.best_epoch} kept.",
        f"Trained on {report.events} events of {report.users} users over {report.items} items, {window}.",
        "",
        f"Items that nobody has touched gain in interest: {report.newcomers}.",
        f"Kinds that count beside their weight: {', '.join(report.kinds) or 'none'}.",
        "",
        "Held-out next items, text interest alone, beside a TF-IDF profile; items already taken removed:",
        "",
        "| | untuned | words alone | tuned |",
        "| --- | --- | --- | --- |",
    ]
    for name in ("recall_at_10", "ndcg_at_10", "recall_at_50", "cold_recall_at_10"):
        values = (_value(figures, name) for figures in (report.untuned, report.words, report.tuned))
        lines.append(f"| {name} | {' | '.join(values)} |")
    if report.over_words is not None:
        said = words_line(report.over_words)
        lines += ["", f"{said[0].upper()}{said[1:]}."]
    if report.note:
        lines += ["", f"Note: {report.note}."]
    lines += ["", "Settings: " + ", ".join(f"{name} = {value}" for name, value in card["settings"].items()) + "."]
    lines += ["", "Environment: " + ", ".join(f"{name} {value}" for name, value in card["environment"].items()) + "."]
    return "\n".join(lines) + "\n"


def _value(figures: Figures | None, name: str) -> str:
    value = getattr(figures, name) if figures else None
    return f"{value:.4f}" if value is not None else "not measured"


def _moment(microseconds: int) -> str:
    return to_moment(microseconds).isoformat(sep=" ", timespec="seconds")


def _machine() -> dict[str, str]:
    """Return what was computed on: a result is told by it as much as by its settings."""
    import torch

    found = {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processors": str(os.cpu_count()),
    }
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found | {"python": platform.python_version()}


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
