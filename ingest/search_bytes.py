"""Do the bytes of a file name this person? Text as it stands, compressed text unpacked, other files byte for byte."""

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ingest.mentions import Person

_HEAD = 8_192
"""Bytes at the beginning that tell text from anything else, which has a zero among them: UTF-16 as well."""
_BLOCK = 1 << 20
_MARGIN = 4_096
"""Blocks overlap by this and the id's length, so that nothing is cut in two."""


@dataclass(frozen=True, kw_only=True)
class ByteHits:
    """What the bytes of one file hold."""

    certain: int
    """Places that name the person."""
    doubtful: int
    """Places that may: a bare number, or the id inside something longer in a binary file."""


def _zstd(path: Path) -> Any:
    import zstandard

    return zstandard.open(path, "rb")


_PACKED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _zstd,
}


def search_bytes(path: Path, person: Person) -> ByteHits:
    """Search one file, unpacked if it is gzip, bzip2, xz or zstd; OSError when it cannot be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for magic, opened in _PACKED.items():
        if head.startswith(magic):
            try:
                with opened(path) as unpacked:
                    binary = b"\x00" in unpacked.read(_HEAD)
                with opened(path) as unpacked:
                    # Text may lie within other content, as in a tar archive, and there is no noise of compression.
                    return _search(unpacked, person, text=True, binary=binary)
            except Exception as error:
                raise OSError(f"cannot be unpacked: {error}") from error
    with path.open("rb") as file:
        binary = b"\x00" in head
        return _search(file, person, text=not binary, binary=binary)


def count_anywhere(path: Path, person: Person) -> int:
    """Count ids of six characters or more in the bytes of a file, delimited or not; shorter ones occur by chance."""
    if person.raw is None:
        return 0
    with path.open("rb") as file:
        return sum(_count(person.raw, *part) for part in _blocks(file, person))


def _search(file: IO[bytes], person: Person, *, text: bool, binary: bool) -> ByteHits:
    """Search content as text, where any id counts, as bytes, where only long ones do, or both."""
    certain = doubtful = 0
    for part in _blocks(file, person):
        # What is compressed holds any short id by chance.
        anywhere = _count(person.raw, *part) if binary and person.raw is not None else 0
        if not anywhere and not (text and any(literal in part[0] for literal in person.literals)):
            continue
        named = _count(person.alone, *part) + (_count(person.wide, *part) if binary else 0)
        certain, doubtful = certain + named, doubtful + max(anywhere - named, 0)
        if text and person.number_alone is not None:
            doubtful += _count(person.number_alone, *part)
    return ByteHits(certain=certain, doubtful=doubtful)


def _blocks(file: IO[bytes], person: Person) -> Iterator[tuple[bytes, int, int]]:
    """Cut a file into blocks that overlap; each comes with the bounds between which matches may begin in it."""
    margin = _MARGIN + 4 * max(map(len, person.literals))
    block, start = file.read(_BLOCK), 0
    while block:
        more = file.read(_BLOCK)
        end = len(block) - margin if more else len(block)
        yield block, start, end
        kept = block[max(end - margin, 0) :]
        start = min(margin, end)
        block = kept + more if more else b""


def _count(pattern: "re.Pattern[bytes]", block: bytes, start: int, end: int) -> int:
    return sum(start <= match.start() < end for match in pattern.finditer(block))
