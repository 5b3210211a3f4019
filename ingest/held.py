"""Whose is a folder? Its owner holds a lock beside it, which the kernel opens when the owner ends, however that is."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

LOCK: Final = ".lock"
"""What the name of a folder's lock has at its end."""


@contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Own a folder, which need not be there yet, while the block runs; yields False when somebody else does.

    With `wait` it waits for the other. Where the file system knows no locks nobody can own anything, nor clear it.
    The lock is not inherited by processes that the block starts.
    """
    path = lock_of(folder)
    lock = _take(path, wait)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            path.unlink(missing_ok=True)  # while it is held: whoever waits for it finds that it has no name any more
            lock.close()


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Give a new folder that is its maker's alone, and gone afterwards; the lock is there before the folder is."""
    folder = parent / f"{prefix}{secrets.token_hex(6)}"
    with held(folder, wait=True):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def is_held(folder: Path) -> bool:
    """Whether a living process owns the folder; nothing is changed."""
    try:
        lock = lock_of(folder).open("r+b")
    except FileNotFoundError:
        return False
    with lock:
        return not _locks(lock, wait=False)


def lock_of(folder: Path) -> Path:
    """Return where the lock of a folder lies."""
    return folder.with_name(folder.name + LOCK)


def _take(path: Path, wait: bool) -> IO[bytes] | None:
    """Open and lock a file; one that lost its name meanwhile belonged to somebody who has gone: then once more."""
    while True:
        lock = path.open("ab")
        if not _locks(lock, wait):
            lock.close()
            return None
        try:
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        except FileNotFoundError:
            pass
        lock.close()


def _locks(lock: IO[bytes], wait: bool) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
