"""Where are the vectors of a whole catalogue kept, and which texts must be encoded again when it changes?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from encoders.errors import ModelFolderError
from encoders.interest import ITEM_VECTORS, TOKEN_VECTORS, TOKENIZER, TRANSFORMER, Floats, InterestModel, unit_rows
from ingest import columns as c
from ingest.file_digests import named_files_sha256
from ingest.progress import Progress, silent

FORMAT: Final = 1
_ABOUT: Final = "vectors.json"
_ITEMS: Final = "items.parquet"
_VECTORS: Final = "vectors.npy"
_SCALES: Final = "scales.npy"
_PRINT_BYTES: Final = 16
_AT_ONCE: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What a refresh did."""

    encoded: int
    """Distinct texts that went through the encoder."""
    kept: int
    """Items whose vector was taken over as it was."""
    removed: int
    """Items that are no longer in the catalogue."""


@dataclass(frozen=True, kw_only=True)
class CatalogueVectors:
    """One vector an item, small on disk, with what tells whether it still holds: its text and its encoder.

    `float16` keeps three decimals. `int8` keeps 127 steps on either side of zero and one scale a row, chosen so that
    the row's length stays what it was: half the bytes of `float16`.
    """

    ids: Sequence[str]
    texts: NDArray[np.uint8]
    """A fingerprint of each item's text [n, 16]."""
    stored: NDArray[Any]
    """Rows in their small form [n, dim]."""
    scales: Floats | None
    """What each row of `int8` is multiplied by [n]; None for `float16`."""
    encoder: str
    """Fingerprint of the encoder that made them."""

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return int(self.stored.shape[1])

    @property
    def form(self) -> str:
        """`float16` or `int8`."""
        return "float16" if self.scales is None else "int8"

    @classmethod
    def encode(
        cls,
        model: InterestModel,
        ids: Sequence[str],
        texts: Sequence[str],
        form: str = "float16",
        progress: Progress = silent,
    ) -> CatalogueVectors:
        """Encode a catalogue, each distinct text once."""
        stored, scales = compressed(np.zeros((0, model.dim), np.float32), form)
        prints = np.zeros((0, _PRINT_BYTES), np.uint8)
        nothing = cls(ids=[], texts=prints, stored=stored, scales=scales, encoder=encoder_fingerprint(model))
        return nothing.refresh(model, ids, texts, progress)[0]

    def floats(self, dim: int | None = None) -> Floats:
        """Return the vectors as float32: unit rows up to rounding, or zeros; cut to `dim` numbers if given."""
        if dim is None or dim == self.dim:
            return decompressed(self.stored, self.scales)
        return unit_rows(self.stored[:, :dim].astype(np.float32))

    def at(self, rows: NDArray[np.integer]) -> Floats:
        """Return some vectors as float32 [..., dim], read from the disk alone where they are memory-mapped."""
        scales = None if self.scales is None else self.scales[rows]
        return decompressed(self.stored[rows], scales)

    def places(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return where each text's vector stands [n], -1 where there is none of it."""
        found = (self._place.get(row.tobytes(), -1) for row in text_fingerprints(texts))
        return np.fromiter(found, np.int64, len(texts))

    @cached_property
    def _place(self) -> dict[bytes, int]:
        return {row.tobytes(): n for n, row in enumerate(self.texts)}

    def refresh(
        self, model: InterestModel, ids: Sequence[str], texts: Sequence[str], progress: Progress = silent
    ) -> tuple[CatalogueVectors, Refreshed]:
        """Return the vectors of a catalogue as it is now, in the order of `ids`; only unknown texts are encoded.

        A text is known when these vectors hold it, whichever item had it, and the encoder is the same; then its row is
        taken over bit by bit. With another encoder, or the same cut to another length, every text is encoded.
        """
        encoder = encoder_fingerprint(model)
        old = [self] if encoder == self.encoder else []
        prints = text_fingerprints(texts)
        keys = [row.tobytes() for row in prints]
        place = dict(self._place) if old else {}
        unknown = {key: text for key, text in zip(keys, texts, strict=True) if key not in place}
        n_old = sum(map(len, old))
        place |= {key: n_old + n for n, key in enumerate(unknown)}
        rows = np.fromiter((place[key] for key in keys), np.int64, len(keys))
        fresh, fresh_scales = _encoded(model, list(unknown.values()), self.form, progress)
        stored = np.concatenate([*(vectors.stored for vectors in old), fresh])[rows]
        scales = None
        if fresh_scales is not None:
            scales = np.concatenate([*(vectors.scales for vectors in old if vectors.scales is not None), fresh_scales])
        done = CatalogueVectors(
            ids=list(ids),
            texts=prints,
            stored=stored,
            scales=None if scales is None else scales[rows],
            encoder=encoder,
        )
        kept, removed = int((rows < n_old).sum()), len(set(self.ids) - set(ids))
        return done, Refreshed(encoded=len(unknown), kept=kept, removed=removed)

    def save(self, folder: Path) -> None:
        """Write the folder that `load` opens; no pickle."""
        import pyarrow as pa
        from pyarrow import parquet

        folder.mkdir(parents=True, exist_ok=True)
        prints = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(_PRINT_BYTES), len(self), [None, pa.py_buffer(np.ascontiguousarray(self.texts))]
        )
        parquet.write_table(
            pa.table({c.ITEM_ID: pa.array(self.ids, pa.string()), "text_fingerprint": prints}), folder / _ITEMS
        )
        np.save(folder / _VECTORS, self.stored)
        if self.scales is not None:
            np.save(folder / _SCALES, self.scales)
        about = {"format": FORMAT, "form": self.form, "encoder": self.encoder, "items": len(self)}
        (folder / _ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> CatalogueVectors:
        """Open what `save` wrote, arrays memory-mapped; anything else raises `ModelFolderError`."""
        from pyarrow import parquet

        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']!r} instead of {FORMAT}")
            table = parquet.read_table(folder / _ITEMS)
            # A plain array: NumPy's own class for mapped ones makes each look at them slow.
            stored = np.load(folder / _VECTORS, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            scales = np.load(folder / _SCALES, allow_pickle=False) if about["form"] == "int8" else None
            prints = np.frombuffer(b"".join(table.column("text_fingerprint").to_pylist()), np.uint8).reshape(
                -1, _PRINT_BYTES
            )
            if not len(stored) == len(prints) == about["items"]:
                raise ValueError(f"{len(stored)} vectors for {len(prints)} items")
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:  # pyarrow's own errors are of these kinds
            raise ModelFolderError(f"{folder}: wanted vectors of a catalogue, got {error}; train again") from error
        ids = table.column(c.ITEM_ID).to_pylist()
        return cls(ids=ids, texts=prints, stored=stored, scales=scales, encoder=about["encoder"])


def compressed(vectors: Floats, form: str) -> tuple[NDArray[Any], Floats | None]:
    """Return rows in their small form, and for `int8` what each row is multiplied by to have its length again.

    >>> rows, scales = compressed(np.array([[0.6, -0.8], [0.0, 0.0]], np.float32), "int8")
    >>> rows.tolist()
    [[95, -127], [0, 0]]
    >>> decompressed(rows, scales).astype(float).round(2).tolist()
    [[0.6, -0.8], [0.0, 0.0]]
    """
    if form == "float16":
        return vectors.astype(np.float16), None
    if form != "int8":
        raise ValueError(f"wanted float16 or int8, got {form!r}")
    peak = np.abs(vectors).max(axis=1, initial=0)
    steps = np.rint(vectors * (127 / np.where(peak > 0, peak, 1))[:, None])
    reached = np.linalg.norm(steps, axis=1)
    scales = np.linalg.norm(vectors, axis=1) / np.where(reached > 0, reached, 1)
    return steps.astype(np.int8), scales.astype(np.float32)


def decompressed(rows: NDArray[Any], scales: Floats | None) -> Floats:
    """Return what `compressed` was given, up to rounding."""
    out = rows.astype(np.float32)
    return out if scales is None else out * scales[..., None]


def encoder_fingerprint(model: InterestModel) -> str:
    """Return what tells two text encoders apart: their files and the length of their vectors, not the user tower."""
    folder = model.folder
    files: Iterable[Path] = (folder / TOKENIZER, folder / TOKEN_VECTORS)
    if model.kind != "static":
        files = sorted(path for path in (folder / TRANSFORMER).rglob("*") if path.is_file())
        files = files or [folder / ITEM_VECTORS / _VECTORS]  # its vectors are all that was brought of it
    beginning = json.dumps([model.kind, model.dim, model.config.get("max_tokens")])
    return named_files_sha256(beginning, ((str(path.relative_to(folder)), path) for path in files))


def text_fingerprints(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Return what tells texts apart, 16 bytes each [n, 16]."""
    prints = b"".join(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_PRINT_BYTES).digest() for text in texts
    )
    return np.frombuffer(prints, np.uint8).reshape(-1, _PRINT_BYTES)


def _encoded(
    model: InterestModel, texts: list[str], form: str, progress: Progress
) -> tuple[NDArray[Any], Floats | None]:
    """Encode texts and compress some at a time: the vectors of a large catalogue are several times what is kept."""
    parts = [compressed(np.zeros((0, model.dim), np.float32), form)]
    for start in range(0, len(texts), _AT_ONCE):
        parts.append(compressed(model.encode(texts[start : start + _AT_ONCE]), form))
        progress("encode texts", min(start + _AT_ONCE, len(texts)), len(texts))
    rows, scales = zip(*parts, strict=True)
    return np.concatenate(rows), None if scales[0] is None else np.concatenate(scales)
