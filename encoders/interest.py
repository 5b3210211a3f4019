"""How interested is a user in an item, served? The tuned encoder and user tower in NumPy, without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from encoders.buckets import age_bucket, weight_bucket
from encoders.errors import ModelFolderError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = NDArray[np.float32]

FORMAT: Final = 1
CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
TOKEN_VECTORS: Final = "token_vectors.npy"
TOWER: Final = "tower.npz"
TRANSFORMER: Final = "transformer"
_TOKENS_AT_ONCE: Final = 200_000


class InterestModel:
    """A trained encoder folder, ready to turn texts into vectors and histories into interest.

    `interest(user, item) = user_vectors(...) @ item_vectors.T`, plus `newcomers(user)` while nobody has touched the
    item. The static kind needs NumPy and `tokenizers` alone; the
    transformer kind imports sentence-transformers when it meets a new text, and never for users.
    """

    def __init__(self, folder: Path, config: dict[str, Any], tower: dict[str, Floats]) -> None:
        self.folder = folder
        self.config = config
        self.dim: int = config["dim"]
        self.kind: str = config["kind"]
        self.history: int = config["history"]
        """How many of a user's latest events the tower was trained on; more than that is ignored."""
        self.tower = tower
        self._heads: int = config["heads"]
        self._layers: int = config["layers"]
        self._tokenizer: Tokenizer | None = None
        self._token_vectors: Floats | None = None
        self._transformer: Any = None

    @classmethod
    def load(cls, folder: Path | str) -> InterestModel:
        """Open a trained encoder; a folder that is not one, or of another format, raises `ModelFolderError`."""
        folder = Path(folder)
        if not (folder / CONFIG).is_file():
            raise ModelFolderError(f"{folder}: wanted a trained encoder, found no {CONFIG}; train one first")
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if config.get("format") != FORMAT:
                raise ModelFolderError(
                    f"{folder}: wanted encoder format {FORMAT}, got {config.get('format')!r}; train the encoder again"
                )
            with np.load(folder / TOWER, allow_pickle=False) as stored:
                tower = {name: stored[name].astype(np.float32) for name in stored.files}
            model = cls(folder, config, tower)
            if model.kind == "static":
                model._open_static()
        except ModelFolderError:
            raise
        except Exception as error:  # whatever a damaged file makes the readers raise, the way out is the same
            raise ModelFolderError(
                f"{folder}: wanted a complete encoder, got {type(error).__name__}: {error}; train it again"
            ) from error
        return model

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return unit rows [n, dim]; a text without any known token gives a row of zeros."""
        if not len(texts):
            return np.zeros((0, self.dim), np.float32)
        if self.kind == "static":
            return self._encode_static(texts)
        from encoders.transformer import encode_served

        self._transformer, vectors = encode_served(self._transformer, self.folder / TRANSFORMER, texts)
        return blank_to_zero(texts, vectors)

    def user_vectors(self, recent_vectors: Floats, weights: Floats, ages_s: Floats, mask: NDArray[np.bool_]) -> Floats:
        """Return one vector a user [q, dim] from recent item vectors [q, L, dim], oldest first.

        `ages_s` are seconds between each event and the query's moment, `mask` says which of the L places hold an event
        (any side may be padded). A user without events gets zeros. Places before the last `history` are ignored.
        """
        limit = self.history
        if recent_vectors.shape[1] > limit and not mask[:, :-limit].any():
            recent_vectors, weights, ages_s = recent_vectors[:, -limit:], weights[:, -limit:], ages_s[:, -limit:]
            mask = mask[:, -limit:]
        some = mask.any(axis=1)
        if not some.any():
            return np.zeros((len(mask), self.dim), np.float32)
        v, w, ages, place = _pack(recent_vectors, weights, ages_s, mask, limit)
        out = self._forward(v, w, ages, place)
        out[~some] = 0
        return out

    @property
    def knows_newcomers(self) -> bool:
        """Whether the tower has learned what is to be added for items that nobody has touched."""
        return "newcomer" in self.tower

    def newcomers(self, users: Floats) -> Floats:
        """Return what each user's interest in an item gains while nobody has touched the item [q].

        Words of items that were taken have learned from it, those of new items have not: this makes the two comparable.
        Zeros where the tower was trained without it, and for users without events.
        """
        if not self.knows_newcomers:
            return np.zeros(len(users), np.float32)
        added: Floats = users @ self.tower["newcomer"]
        return added

    def _forward(self, v: Floats, weights: Floats, ages: Floats, mask: NDArray[np.bool_]) -> Floats:
        """Run the tower on left-aligned places and read its state at each row's last event."""
        p = self.tower
        q, length, _ = v.shape
        last = np.maximum(mask.sum(axis=1) - 1, 0)
        rows = np.arange(q)
        kinds = weight_bucket(weights)
        between = age_bucket(ages[:, None, :] - ages[:, :, None])
        steps = np.clip(np.arange(length)[:, None] - np.arange(length)[None, :], 0, len(p["pool.step"]) - 1)
        allowed = np.tril(np.ones((length, length), bool))[None] & mask[:, None, :]
        gap = age_bucket(ages[rows, last])

        logits = p["pool.kind"][kinds][rows] + p["pool.step"][steps[last]] + p["pool.age"][between[rows, last]]
        share = _softmax(np.where(allowed[rows, last], logits, -np.inf))
        mean = ((share * p["pool.direction"][kinds])[:, None] @ v)[:, 0]
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)

        x = v @ p["enter.weight"].T + p["kind"][kinds]
        width = x.shape[2]
        size = width // self._heads
        for n in range(self._layers):
            name = f"layers.{n}."
            h = _norm(x, p[name + "norm1.weight"], p[name + "norm1.bias"])
            top = n == self._layers - 1
            keys = h @ p[name + "key.weight"].T
            values = h @ p[name + "value.weight"].T
            bias = p[name + "step"][steps] + p[name + "age"][between]
            seen = allowed
            if top:  # only the last event's state is read, so only it is computed in the last layer
                h, x = h[rows, last][:, None], x[rows, last][:, None]
                bias, seen = bias[rows, last][:, None], seen[rows, last][:, None]
            queries = h @ p[name + "query.weight"].T
            shape = (q, -1, self._heads, size)
            scores = queries.reshape(shape).transpose(0, 2, 1, 3) @ keys.reshape(shape).transpose(0, 2, 3, 1)
            scores = scores / np.float32(np.sqrt(size)) + bias.transpose(0, 3, 1, 2)
            attention = _softmax(np.where(seen[:, None], scores, -np.inf))
            mixed = (
                (attention @ values.reshape(shape).transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3).reshape(q, -1, width)
            )
            x = x + mixed @ p[name + "out.weight"].T
            h = _norm(x, p[name + "norm2.weight"], p[name + "norm2.bias"])
            inner = np.maximum(h @ p[name + "up.weight"].T + p[name + "up.bias"], 0)
            x = x + inner @ p[name + "down.weight"].T + p[name + "down.bias"]
        state = x[:, 0] + p["gap"][gap]
        state = _norm(state, p["leave_norm.weight"], p["leave_norm.bias"])
        user = mean + p["gate"] * (state @ p["leave.weight"].T)
        return np.ascontiguousarray(user * np.exp(p["log_scale"]), dtype=np.float32)

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
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [np.asarray(one.ids, dtype=np.int64) for one in found]
        out = np.zeros((len(texts), self.dim), np.float32)
        start = 0
        while start < len(ids):
            end, held = start, 0
            while end < len(ids) and (end == start or held + len(ids[end]) <= _TOKENS_AT_ONCE):
                held += len(ids[end])
                end += 1
            out[start:end] = sum_by_text(self._token_vectors, ids[start:end])
            start = end
        return unit_rows(out)


def sum_by_text(token_vectors: Floats, ids: Sequence[NDArray[np.int64]]) -> Floats:
    """Return the sum of each text's token vectors [n, dim]; zeros where there is no token."""
    lengths = np.array([len(one) for one in ids])
    out = np.zeros((len(ids), token_vectors.shape[1]), np.float32)
    filled = lengths > 0
    if filled.any():
        starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]])
        out[filled] = np.add.reduceat(token_vectors[np.concatenate(ids)], starts, axis=0)
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
    v: Floats, w: Floats, ages: Floats, mask: NDArray[np.bool_], limit: int
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Move each row's last `limit` events to the left, so that the last event stands at `count - 1`."""
    counts = mask.sum(axis=1)
    length = max(int(min(counts.max(), limit)), 1)
    order = np.argsort(~mask, axis=1, kind="stable")
    take = np.maximum(counts - length, 0)[:, None] + np.arange(length)[None, :]
    held = take < counts[:, None]
    index = np.take_along_axis(order, np.minimum(take, mask.shape[1] - 1), axis=1)
    rows = np.arange(len(mask))[:, None]
    packed = np.where(held[:, :, None], v[rows, index], 0).astype(np.float32)
    return packed, np.where(held, w[rows, index], 1), np.where(held, ages[rows, index], 0), held


def _softmax(x: Floats) -> Floats:
    x = x - np.max(np.where(np.isfinite(x), x, -1e30), axis=-1, keepdims=True)
    e = np.exp(x)
    total: Floats = e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-30)
    return total


def _norm(x: Floats, weight: Floats, bias: Floats) -> Floats:
    mean = x.mean(axis=-1, keepdims=True)
    spread = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    out: Floats = (x - mean) / np.sqrt(spread + 1e-5) * weight + bias
    return out
