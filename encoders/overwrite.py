"""What may be written over? A new folder, an empty one or what the same command has made; never what others left."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from encoders.card import JSON_CARD, READABLE_CARD
from encoders.checkpoint import checkpoint_folder
from encoders.errors import EncoderError
from encoders.interest import CONFIG, ITEM_VECTORS, STATIC_PARTS, TOKEN_VECTORS, TOKENIZER, TOWER, TRANSFORMER
from encoders.training_folder import COLUMNS, ITEMS, LATER

MODEL_FILES: Final = frozenset(
    (CONFIG, TOWER, TOKENIZER, TOKEN_VECTORS, STATIC_PARTS, TRANSFORMER, ITEM_VECTORS, JSON_CARD, READABLE_CARD)
)
"""All that lies in a model folder."""
_CHECKPOINT_FILE: Final = re.compile(r"(state\.pt|best-\d+\.pt|finished\.json)(\.\d+)?")
_EXPORTED: Final = {name: set(columns) - LATER for name, columns in COLUMNS.items()}
"""Columns by which each file of an export is known, also one of an earlier version that had no others."""


def check_model_place(out: Path, data: Path) -> None:
    """Raise `EncoderError` unless a training on the folder `data` may leave its model at `out`.

    At its end whatever lies there is gone, and so is its checkpoint beside it. So each must be missing, empty or what
    an earlier training left, and neither may be or hold the training data.
    """
    if out.name in ("", "..") or out.is_symlink() or os.path.ismount(out):
        raise EncoderError(
            f"{out}: wanted a folder that can be replaced, got a link, a disk or a folder without a name; "
            "name one inside it"
        )
    beside = checkpoint_folder(out)
    for folder in (out, beside):
        if folder.resolve() in (data.resolve(), *data.resolve().parents):
            raise EncoderError(f"{folder}: wanted a folder to replace, it holds the training data {data}; name another")
    _check_writable(out, [*out.absolute().parents])
    with _told_in_one_line(out):
        names = _names(out)
        others = [name for name in names if name not in MODEL_FILES]
        _refuse(out, "model", others if others or _is_model(out) else names)
    with _told_in_one_line(beside):
        _refuse(beside, "checkpoint", [name for name in _names(beside) if not _CHECKPOINT_FILE.fullmatch(name)])


def check_export_place(folder: Path) -> None:
    """Raise `EncoderError` unless a training folder may be written to `folder`.

    Three files are replaced, so each must be missing or an earlier export's, which its columns tell: a catalogue of
    one's own may be called items.parquet too. Whatever else lies there stays.
    """
    _check_writable(folder, [folder.absolute(), *folder.absolute().parents])
    with _told_in_one_line(folder):
        there = [name for name in _names(folder) if name in _EXPORTED]
        _refuse(folder, "export", [name for name in there if not _is_exported(folder / name)])


def _check_writable(folder: Path, places: list[Path]) -> None:
    """Make and remove a folder in the first of the places that there is."""
    nearest = next(place for place in places if os.path.lexists(place))
    with _told_in_one_line(folder), TemporaryDirectory(prefix=f"{folder.name}.", dir=nearest):
        pass


@contextmanager
def _told_in_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EncoderError(f"{folder}: wanted a folder to write, got {error.strerror}; name another") from error


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.lexists(folder) else []


def _refuse(folder: Path, of: str, others: list[str]) -> None:
    if others:
        told = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise EncoderError(
            f"{folder}: wanted a new folder or an earlier {of}'s, it holds other files ({told}); "
            "name another or move them away"
        )


def _is_model(folder: Path) -> bool:
    """Tell our `config.json` from that of any other library."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and {"format", "kind", "dim", "history"} <= config.keys()


def _is_exported(path: Path) -> bool:
    from pyarrow import parquet

    try:
        columns = set(parquet.read_schema(path).names)
    except (OSError, ValueError):
        return False
    return columns == _EXPORTED[path.name] if path.name == ITEMS else columns >= _EXPORTED[path.name]
