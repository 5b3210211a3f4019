"""How interested is a user in an item, served? The tuned encoder and user tower in NumPy, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from encoders.errors import ModelFolderError
from encoders.kinds import Codes, Kinds
from encoders.newcomer_bonus import NewcomerBonus
from encoders.served_tower import ServedTower
from ingest.moments import NEVER

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from encoders.vectors import CatalogueVectors

Floats = NDArray[np.float32]
EncoderKind = Literal["static", "transformer"]

FORMAT: Final = 1
CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
TOKEN_VECTORS: Final = "token_vectors.npy"
STATIC_PARTS: Final = "static.npz"
TOWER: Final = "tower.npz"
_EARLIER: Final = {"kind": "weight", "pool.kind": "pool.weight"}
"""What arrays of towers that knew kinds by their weights alone were called, and are now."""
TRANSFORMER: Final = "transformer"
ITEM_VECTORS: Final = "item_vectors"
"""Where a transformer that was tuned elsewhere keeps the vectors of the catalogue that it was tuned on."""
_TEXTS_AT_ONCE: Final = 4_096


class InterestModel:
    """A trained encoder folder, ready to turn texts into vectors and histories into interest.

    `interest(user, item) = user_vectors(...) @ item_vectors.T`, plus what `newcomers` says while training has not met
    the item. The static kind needs NumPy, SciPy and `tokenizers`; the transformer kind imports sentence-transformers
    when it meets a new text, and never for users.

    A model trained with `cut_dims` can be cut to one of these lengths (Matryoshka; Kusupati et al., 2022). Item vectors
    then are the first numbers of the whole ones, of length one again, and user vectors the first numbers of theirs.
    Histories may be given either way: whole vectors give exactly the first numbers of the whole user vector, as in
    training; of cut ones the tower reads what there is, as if the rest were zeros, which finds a little less.
    """

    def __init__(self, folder: Path, config: dict[str, Any], tower: dict[str, Floats]) -> None:
        self.folder = folder
        self.config = config
        self.dim: int = config["dim"]
        self.kind: EncoderKind = config["kind"]
        self.history: int = config["history"]
        """How many of a user's latest events the tower was trained on; more than that is ignored."""
        self.newcomers = NewcomerBonus.read(config.get("newcomers"))
        """What is added to the interest in an item that nobody had touched before `trained_before`."""
        self.kinds = Kinds(tuple(config.get("kinds", ())))
        """What the tower knows of events beside their weight: `user_vectors` reads codes of these."""
        self._tower = ServedTower(tower, config["heads"], config["layers"], config["history"])
        self._tokenizer: Tokenizer | None = None
        self._token_vectors: Floats | None = None
        self._transformer: Any = None
        self._known: CatalogueVectors | None = None

    @classmethod
    def load(cls, folder: Path | str, dim: int | None = None) -> InterestModel:
        """Open a trained encoder, cut to `dim` if given; `ModelFolderError` when it is none, or cannot be cut so."""
        folder = Path(folder)
        if not (folder / CONFIG).is_file():
            raise ModelFolderError(f"{folder}: wanted a trained encoder, found no {CONFIG}; train one first")
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if config.get("format") != FORMAT:
                raise ModelFolderError(
                    f"{folder}: wanted encoder format {FORMAT}, got {config.get('format')!r}; train the encoder again"
                )
            tower = {name: array.astype(np.float32) for name, array in read_tower(folder).items()}
            model = cls(folder, config, tower)
            if len(model.kinds) != len(tower.get("kinds.state", ())):
                raise ModelFolderError(
                    f"{folder}: wanted a row in {TOWER} for each of {len(model.kinds)} kinds, got "
                    f"{len(tower.get('kinds.state', ()))}; train it again"
                )
            if model.kind == "static":
                model._open_static()
        except ModelFolderError:
            raise
        except Exception as error:  # whatever a damaged file makes the readers raise, the way out is the same
            raise ModelFolderError(
                f"{folder}: wanted a complete encoder, got {type(error).__name__}: {error}; train it again"
            ) from error
        return model if dim is None else model.cut(dim)

    def cut(self, dim: int) -> InterestModel:
        """Return this model with vectors of length `dim`, one of those that it was trained to be cut to."""
        if dim == self.dim:
            return self
        allowed = sorted({self.dim, *(length for length in self.config.get("cut_dims", ()) if length < self.dim)})
        if dim not in allowed:
            raise ModelFolderError(
                f"{self.folder}: wanted vectors of a length that it was trained for, {', '.join(map(str, allowed))}, "
                f"got {dim}; choose one of these, or train with it among cut_dims"
            )
        short = copy(self)
        short.dim = dim
        short._tower = self._tower.cut(dim)
        if self._token_vectors is not None:
            short._token_vectors = np.ascontiguousarray(self._token_vectors[:, :dim])
        return short

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return unit rows [n, dim]; a text without any known token gives a row of zeros."""
        if not len(texts):
            return np.zeros((0, self.dim), np.float32)
        if self.kind == "static":
            return self._encode_static(texts)
        vectors = self._encode_known(texts) if (self.folder / ITEM_VECTORS).is_dir() else self._encode_new(texts)
        return vectors if vectors.shape[1] == self.dim else unit_rows(vectors[:, : self.dim])

    def user_vectors(
        self,
        recent_vectors: Floats,
        weights: Floats,
        ages_s: NDArray[np.floating],
        mask: NDArray[np.bool_],
        codes: Codes | None = None,
    ) -> Floats:
        """Return one vector a user [q, dim] from recent item vectors [q, L, d], oldest first; `d` is `dim` if not cut.

        `ages_s` are seconds between each event and the query's moment, `mask` says which of the L places hold an event
        (any side may be padded), `codes` what each was (of `kinds`; by default nothing is known but the weight). A user
        without events gets zeros. Places before the last `history` are ignored.
        """
        limit = self.history
        if codes is None or not self.config.get("read_kinds_and_ages", True):
            codes = np.zeros(mask.shape, np.uint8)
        if recent_vectors.shape[1] > limit and not mask[:, :-limit].any():
            recent_vectors, weights, ages_s = recent_vectors[:, -limit:], weights[:, -limit:], ages_s[:, -limit:]
            mask, codes = mask[:, -limit:], codes[:, -limit:]
        some = mask.any(axis=1)
        if not some.any():
            return np.zeros((len(mask), self.dim), np.float32)
        if not self.config.get("read_kinds_and_ages", True):
            weights, ages_s = np.ones_like(weights), np.zeros_like(ages_s)
        out = self._tower.users(*_pack(recent_vectors, weights, codes, ages_s, mask, limit))
        out[~some] = 0
        return out

    @property
    def trained_before(self) -> int:
        """The moment (microseconds since 1970) from which on nothing was learned: items first touched later are new."""
        return int(self.config.get("trained_before") or NEVER)

    def _encode_known(self, texts: Sequence[str]) -> Floats:
        """Take the vectors of texts that the folder has them of; encode the others."""
        from encoders.vectors import CatalogueVectors

        if self._known is None:
            self._known = CatalogueVectors.load(self.folder / ITEM_VECTORS)
        places = self._known.places(texts)
        vectors = self._known.at(np.maximum(places, 0))
        new = np.flatnonzero(places < 0)
        if len(new):
            vectors[new] = self._encode_new([texts[row] for row in new.tolist()])
        return vectors

    def _encode_new(self, texts: Sequence[str]) -> Floats:
        if not (self.folder / TRANSFORMER).is_dir():
            raise ModelFolderError(
                f"{self.folder}: wanted {TRANSFORMER}/ to encode {len(texts)} texts that it has no vectors of, found "
                "none; bring the whole folder, or tune again on the present catalogue"
            )
        from encoders.served_transformer import encode_served

        self._transformer, vectors = encode_served(self._transformer, self.folder / TRANSFORMER, texts)
        return blank_to_zero(texts, vectors)

    def _open_static(self) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(self.folder / TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=int(self.config["max_tokens"]))
        stored = np.load(self.folder / TOKEN_VECTORS, allow_pickle=False)
        if stored.ndim != 2 or stored.shape[1] != self.dim:
            raise ModelFolderError(
                f"{self.folder / TOKEN_VECTORS}: wanted rows of {self.dim}, got {stored.shape}; train the encoder again"
            )
        self._token_vectors = stored.astype(np.float32)

    def _encode_static(self, texts: Sequence[str]) -> Floats:
        assert self._tokenizer is not None
        assert self._token_vectors is not None
        parts = [sum_by_text(self._token_vectors, ids) for ids in token_ids(self._tokenizer, texts)]
        return unit_rows(np.concatenate(parts)) if parts else np.zeros((0, self.dim), np.float32)


def read_tower(folder: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model folder's tower by the names that they have now."""
    with np.load(folder / TOWER, allow_pickle=False) as stored:
        earlier = "pool.kind" in stored.files
        return {_EARLIER.get(name, name) if earlier else name: stored[name] for name in stored.files}


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[NDArray[np.int64]]]:
    """Yield the tokens of some thousand texts at a time: all that a tokenizer says of a text takes much memory."""
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        found = tokenizer.encode_batch_fast(list(texts[start : start + _TEXTS_AT_ONCE]), add_special_tokens=False)
        yield [np.asarray(one.ids, dtype=np.int64) for one in found]


def sum_by_text(token_vectors: Floats, ids: Sequence[NDArray[np.int64]]) -> Floats:
    """Return the sum of each text's token vectors [n, dim]; zeros where there is no token."""
    from scipy.sparse import csr_matrix

    ends = np.concatenate([[0], np.cumsum([len(one) for one in ids])])
    tokens = np.concatenate(ids) if len(ids) else np.zeros(0, np.int64)
    counts = csr_matrix((np.ones(len(tokens), np.float32), tokens, ends), shape=(len(ids), len(token_vectors)))
    out: Floats = counts @ token_vectors
    return out


def unit_rows(vectors: Floats) -> Floats:
    """Return rows of length one; rows of zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: Floats = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return out


def blank_to_zero(texts: Sequence[str], vectors: Floats) -> Floats:
    """Give texts without a word a row of zeros, so that they speak for nothing."""
    vectors[[not text.strip() for text in texts]] = 0
    return vectors


def _pack(
    v: Floats, w: Floats, codes: Codes, ages: NDArray[np.floating], mask: NDArray[np.bool_], limit: int
) -> tuple[Floats, Floats, Codes, NDArray[np.floating], NDArray[np.integer]]:
    """Move each row's last `limit` events to the left; return them and their number."""
    if len(mask) == 1:
        held = np.flatnonzero(mask[0])[-limit:]
        return np.asarray(v[:, held], np.float32), w[:, held], codes[:, held], ages[:, held], np.array([len(held)])
    counts = mask.sum(axis=1)
    length = max(int(min(counts.max(), limit)), 1)
    order = np.argsort(~mask, axis=1, kind="stable")
    take = np.maximum(counts - length, 0)[:, None] + np.arange(length)[None, :]
    within = take < counts[:, None]
    index = np.take_along_axis(order, np.minimum(take, mask.shape[1] - 1), axis=1)
    rows = np.arange(len(mask))[:, None]
    packed = np.where(within[:, :, None], v[rows, index], 0).astype(np.float32)
    w, ages = np.where(within, w[rows, index], 1), np.where(within, ages[rows, index], 0)
    codes = np.where(within, codes[rows, index], 0).astype(np.uint8)
    return packed, w, codes, ages, np.minimum(counts, length)
