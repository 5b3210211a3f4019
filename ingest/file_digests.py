"""Is a file still what it was? Digests, read piece by piece: a model may be larger than memory."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _hashlib import HASH, _HashObject


def file_sha256(path: Path) -> "HASH":
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def named_files_sha256(beginning: str, files: Iterable[tuple[str, Path]]) -> str:
    """Return one SHA-256, in hexadecimal, of a beginning and of files, each by its name and its own digest."""
    digest = hashlib.sha256(beginning.encode())
    for name, path in files:
        digest.update(name.encode())
        digest.update(file_sha256(path).digest())
    return digest.hexdigest()


def add_file(digest: "_HashObject", path: Path) -> None:
    """Let a digest go on over a file's content."""
    with path.open("rb") as file:
        hashlib.file_digest(file, lambda: digest)
