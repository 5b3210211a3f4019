"""How do the bytes of a file come? Decompressed, checked for being what the name says, whole lines at a time."""

import gzip
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast

from ingest.errors import InputFileError

Format = Literal["csv", "jsonl", "parquet"]

CHUNK_BYTES = 16 << 20
"""How much text is parsed at once."""
MAX_LINE_BYTES = 64 << 20
"""A longer line means that the file is no table of lines."""

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"SQLite format 3": "an SQLite database",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x7fELF": "a program",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True)
class FileFormat:
    """What a file's name promises."""

    name: Format
    compression: str | None


def format_of(path: Path, form: Format | None = None) -> FileFormat:
    """Read format and compression from the name; InputFileError lists what is understood.

    `form` is the format of a file whose name does not tell it.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = _COMPRESSED.get(suffixes[-1]) if suffixes else None
    if form is not None:
        return FileFormat(form, compression)
    if compression:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in _FORMATS:
        raise InputFileError(
            f"{path}: wanted a name that ends in {', '.join(_FORMATS)}, each also with .gz or .zst; "
            "rename, unpack or convert the file, or name its data set with --preset"
        )
    return FileFormat(_FORMATS[suffixes[-1]], compression)


def is_readable(path: Path) -> bool:
    """Tell whether the name is one of a format that is understood."""
    return Path(bare_name(path)).suffix.lower() in _FORMATS


def bare_name(path: Path) -> str:
    """Return the name without .gz or .zst."""
    return path.stem if path.suffix.lower() in _COMPRESSED else path.name


class Text(Protocol):
    """Text that comes in pieces of whole lines."""

    @property
    def bytes_done(self) -> int:
        """How much of it has been read."""

    def chunks(self) -> Iterator[bytes]:
        """Yield whole lines, some megabytes at once."""


class Source:
    """An open file: decompressed bytes, and how much of the file they took."""

    def __init__(self, path: Path, form: Format | None = None) -> None:
        self.path = path
        self.format = format_of(path, form)
        try:
            self._file: BinaryIO = path.open("rb")
        except IsADirectoryError as error:
            raise InputFileError(f"{path}: wanted a file, got a folder; name the files in it") from error
        except OSError as error:
            raise InputFileError(
                f"{path}: cannot be read: {error.strerror}; check the name and its permissions"
            ) from error
        self._stream = self._decompressed()

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    @property
    def bytes_done(self) -> int:
        """Position in the file as it lies on disk."""
        return self._file.tell()

    def read(self, size: int) -> bytes:
        """Read up to `size` decompressed bytes; empty at the end. InputFileError for damaged compression."""
        try:
            return self._stream.read(size)
        except (OSError, EOFError, zlib.error, RuntimeError) as error:
            raise InputFileError(self._damaged(error)) from error

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Hand out the decompressed content as a file that can seek, by way of a temporary file if need be."""
        if self.format.compression is None:
            yield self._file
            return
        with tempfile.NamedTemporaryFile() as spool:
            while block := self.read(1 << 20):
                spool.write(block)
            spool.seek(0)
            yield cast(BinaryIO, spool)

    def chunks(self) -> Iterator[bytes]:
        """Yield whole lines, some megabytes at once; the last line need not end in a newline."""
        rest = b""
        first = True
        while block := self.read(CHUNK_BYTES):
            if first:
                block = self._text_start(block)
                first = False
            cut = block.rfind(b"\n") + 1
            if cut:
                yield b"".join((rest, memoryview(block)[:cut]))
                rest = block[cut:]
                continue
            rest += block
            if len(rest) > MAX_LINE_BYTES:
                raise InputFileError(
                    f"{self.path}: wanted lines, got one of over {MAX_LINE_BYTES >> 20} MiB; write one row a line"
                )
        if rest:
            yield rest

    def _text_start(self, block: bytes) -> bytes:
        """Drop a byte order mark and refuse what is plainly not UTF-8 text."""
        if block.startswith(b"\xef\xbb\xbf"):
            return block[3:]
        wanted = "CSV" if self.format.name == "csv" else "JSON lines"
        for magic, description in _MAGIC.items():
            if block.startswith(magic):
                raise InputFileError(
                    f"{self.path}: wanted {wanted} in UTF-8, got {description}; name the right file or convert it"
                )
        head = block[:4096]
        # Text has no NUL and few other control characters; a picture or a program is full of them.
        strange = sum(byte < 9 or 13 < byte < 32 for byte in head)
        if strange > len(head) // 10:
            raise InputFileError(f"{self.path}: wanted {wanted} in UTF-8, got binary data; name the right file")
        return block

    def _decompressed(self) -> BinaryIO:
        if self.format.compression == "gzip":
            return gzip.GzipFile(fileobj=self._file)  # type: ignore[return-value]
        if self.format.compression == "zstd":
            return _ZstdReader(self._file)  # type: ignore[return-value]
        return self._file

    def _damaged(self, error: Exception) -> str:
        if self.format.compression is None:
            return f"{self.path}: cannot be read: {error}"
        name = self.format.compression
        return f"{self.path}: wanted {name} data, got a damaged or cut file ({error}); copy or download it again"


class _ZstdReader:
    """Decompress zstd frames one after another; a frame that is cut short is an error, not an end."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._new: Callable[[], Any] = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._begun = False
        self._ready = bytearray()

    def read(self, size: int) -> bytes:
        import zstandard

        while len(self._ready) < size:
            block = self._file.read(1 << 20)
            if not block:
                if self._begun:
                    raise EOFError("the compressed data ends in the middle")
                break
            while block:
                self._begun = True
                try:
                    self._ready += self._frame.decompress(block)
                except zstandard.ZstdError as error:
                    raise OSError(str(error)) from error
                block = b""
                if self._frame.eof:
                    block = self._frame.unused_data
                    self._frame = self._new()
                    self._begun = False
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken
