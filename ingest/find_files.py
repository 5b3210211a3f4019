"""Which files do folders and patterns stand for? Each file once; a folder's in the order of their names."""

from collections.abc import Sequence
from pathlib import Path

from ingest.errors import InputFileError
from ingest.sources import format_of, is_readable

_WILDCARDS = frozenset("*?[")


def find_files(paths: Sequence[Path | str], preset: str | None = None) -> list[Path]:
    """Replace folders and patterns by the files that they hold; a plain name stands for itself.

    A folder means the readable files in it and below. A pattern has `*`, `?`, `[...]`, or `**` for folders at any
    depth; of what it matches, folders count as folders. Hidden files are passed over, and so are names of no known
    format, or with a preset those that it does not know. A plain name is never passed over.
    InputFileError: a name is nowhere, or nothing is left of a folder or pattern.
    """
    found: dict[Path, Path] = {}
    for given in map(Path, paths):
        try:
            is_folder, is_there = given.is_dir(), given.exists()
        except OSError as error:
            raise InputFileError(
                f"{given}: wanted a file, a folder or a pattern, got {error.strerror}; check the name"
            ) from error
        if is_folder:
            files = _within(given, preset)
        elif is_there or not _WILDCARDS & set(str(given)):
            files = [_named(given, preset)]
        else:
            matches = _matching(given)
            files = [file for match in matches for file in ([match] if match.is_file() else _within(match, preset))]
            files = [file for file in files if _is_data(file, preset)]
        if not files:
            raise InputFileError(_nothing(given, preset))
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _named(path: Path, preset: str | None) -> Path:
    if not path.exists():
        raise InputFileError(f"{path}: wanted a file, a folder or a pattern, found none of that name; check the name")
    if not path.is_file():
        raise InputFileError(
            f"{path}: wanted a file, got a pipe or a device; write what comes from it into a file first"
        )
    if preset is None:
        format_of(path)
    return path


def _within(folder: Path, preset: str | None) -> list[Path]:
    below = (path for path in folder.rglob("*") if not _is_hidden(path.relative_to(folder)))
    return sorted(path for path in below if path.is_file() and _is_data(path, preset))


def _matching(pattern: Path) -> list[Path]:
    # The part before the first wildcard is where to look; hidden names match only where they are spelled.
    fixed = next(at for at, part in enumerate(pattern.parts) if _WILDCARDS & set(part))
    start, rest = Path(*pattern.parts[:fixed]), Path(*pattern.parts[fixed:])
    hidden_too = _is_hidden(rest)
    try:
        return sorted(path for path in start.glob(str(rest)) if hidden_too or not _is_hidden(path.relative_to(start)))
    except ValueError as error:  # such as a**b
        raise InputFileError(f"{pattern}: wanted a pattern, got one that means nothing ({error}); mend it") from error


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_data(path: Path, preset: str | None) -> bool:
    if preset is None:
        return is_readable(path)
    from ingest.presets import is_known

    return is_known(path, preset)


def _nothing(given: Path, preset: str | None) -> str:
    wanted = "CSV, JSON lines or Parquet (.gz, .zst)" if preset is None else f"a file that the preset {preset} knows"
    if given.is_dir():
        return f"{given}: wanted a folder with {wanted}, found none in it or below; name the files themselves"
    return f"{given}: wanted a pattern that fits {wanted}, found none; check it, in quotes if the shell changes it"
