"""Which public data sets and exports of other tools are read as they stand? Each preset knows its files by name."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from ingest.errors import InputFileError, SettingsError
from ingest.mapping import ColumnsConfig

if TYPE_CHECKING:
    from ingest.batches import Reading
    from ingest.presets.known_files import KnownFile

PresetName = Literal["movielens", "mind", "amazon", "metarank", "gorse"]
PRESETS: tuple[PresetName, ...] = get_args(PresetName)


def checked_name(name: str) -> PresetName:
    """Return the name if there is such a preset; SettingsError names those that there are."""
    if name not in PRESETS:
        raise SettingsError(f"wanted a preset, one of {', '.join(PRESETS)}; got {name!r}")
    return name


def readings(path: Path, preset: str, columns: ColumnsConfig) -> "list[Reading]":
    """Tell how the preset reads a file; the list is empty for a file that it knows and passes over.

    InputFileError: the preset does not know the file. SettingsError: there is no such preset.
    """
    known = known_file(path, preset, columns)
    if known is None:
        files = _files(preset, columns)
        names = ", ".join(dict.fromkeys(file.name for file in files if file.fills))
        raise InputFileError(
            f"{path}: the preset {preset} reads {names}, but knows no file of this name; "
            "name files of that data set, or load this one without --preset"
        )
    return known.readings(path)


def known_file(path: Path, preset: str, columns: ColumnsConfig) -> "KnownFile | None":
    """Return how the preset describes a file of this name; SettingsError: there is no such preset."""
    return next((file for file in _files(preset, columns) if file.fits(path)), None)


def is_known(path: Path, preset: str) -> bool:
    """Tell whether the preset knows the file, be it to pass it over."""
    return known_file(path, preset, ColumnsConfig()) is not None


def _files(preset: str, columns: ColumnsConfig) -> "Sequence[KnownFile]":
    module = importlib.import_module(f"ingest.presets.{checked_name(preset)}")
    return cast("Sequence[KnownFile]", module.files(columns))
