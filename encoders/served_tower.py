"""How does a history become a user vector, served? The arithmetic of `tower` in NumPy, arranged for one core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from encoders.buckets import age_bucket, weight_bucket

Floats = NDArray[np.float32]

_EPSILON: Final = np.float32(1e-5)
_NEVER: Final = np.float32(-1e30)
"""What a place adds to the logit of one that comes after it: its share is exactly zero."""
_USERS_AT_ONCE: Final = 64
"""So many users' states stay in the processor's cache."""


@dataclass(frozen=True)
class _Layer:
    """One block of attention, its norms folded into the matrices that follow them."""

    query: Floats
    query_bias: Floats
    key_value: Floats
    key_value_bias: Floats
    out: Floats
    up: Floats
    up_bias: Floats
    down: Floats
    down_bias: Floats
    reach: Floats
    """What the distance between two places adds to a logit [heads, L, L]; later places are out of reach."""
    age: Floats
    """What the interval adds [heads, buckets]."""


class ServedTower:
    """A trained user tower, ready to answer; its results are those of `UserTower` up to rounding.

    Layer norms take the mean of a state away before they read it, so every matrix that writes into the state is stored
    with that mean already taken away, and a norm is left with one division. A state depends on earlier places alone, so
    that places of padding, which stand behind a row's events, need no mask.
    """

    def __init__(self, arrays: Mapping[str, Floats], heads: int, layers: int, longest: int) -> None:
        """Arrange the arrays that `tower_arrays` names; no history may be longer than `longest` events."""
        self._heads = heads
        self._enter = _centred(arrays["enter.weight"].T)
        self._done = _centred(_by_weight_and_kind(arrays, "weight", "state"))
        self._gap = _centred(arrays["gap"])
        self._layers = [_layer(arrays, f"layers.{n}.", heads, longest) for n in range(layers)]
        self._n_kinds = len(arrays["kinds.state"]) if "kinds.state" in arrays else 0
        self._pool = {
            "age": arrays["pool.age"],
            "share": _by_weight_and_kind(arrays, "pool.weight", "share"),
            "direction": _by_weight_and_kind(arrays, "pool.direction", "direction"),
        }
        self._pool_reach = _reach(arrays["pool.step"][None], longest)[0]
        self._scale = np.exp(arrays["log_scale"])
        leave = arrays["leave.weight"].T * (arrays["gate"] * self._scale)
        self._leave = _contiguous(arrays["leave_norm.weight"][:, None] * leave)
        self._leave_bias = arrays["leave_norm.bias"] @ leave

    def cut(self, dim: int) -> ServedTower:
        """Return the tower whose user vectors are the first `dim` numbers of this one's."""
        short = ServedTower.__new__(ServedTower)
        short.__dict__ |= self.__dict__
        short._leave = _contiguous(self._leave[:, :dim])
        short._leave_bias = self._leave_bias[:dim]
        return short

    def users(
        self,
        v: Floats,
        weights: Floats,
        kinds: NDArray[np.integer],
        ages: NDArray[np.floating],
        counts: NDArray[np.integer],
    ) -> Floats:
        """Return user vectors [q, dim] from item vectors [q, L, d], oldest first, `counts` of them in front of padding.

        `kinds` [q, L] are codes, 0 where only the weight is known. With `d` below the length that the tower was trained
        on, the numbers missing count as zeros.
        """
        done = weight_bucket(weights) * (self._n_kinds + 1) + kinds
        parts = [
            self._some(v[part], done[part], ages[part], counts[part])
            for part in (slice(n, n + _USERS_AT_ONCE) for n in range(0, len(v), _USERS_AT_ONCE))
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _some(
        self, v: Floats, done: NDArray[np.int64], ages: NDArray[np.floating], counts: NDArray[np.integer]
    ) -> Floats:
        """Return user vectors; `done` [q, L] are rows of what is said by weight and kind."""
        q, length, dim = v.shape
        last = np.maximum(counts - 1, 0)
        rows = np.arange(q)
        seconds = ages.astype(np.float64)
        own = seconds[rows, last][:, None]
        since = age_bucket(seconds - own)  # [q, L], from each event to the last one

        mean = self._mean(v, done, since, last)
        if not self._layers:
            return mean[:, : self._leave.shape[1]]
        x = v.reshape(-1, dim) @ self._enter[:dim] + self._done[done.ravel()]
        if len(self._layers) > 1:
            between = age_bucket(seconds[:, None, :] - seconds[:, :, None])
            for layer in self._layers[:-1]:
                bias = np.take(layer.age, between, axis=1)
                bias += layer.reach[:, None, :length, :length]
                x = self._block(layer, x, x, bias, q)
        state = x.reshape(q, length, -1)[rows, last]
        top = self._layers[-1]
        bias = top.reach[:, last, :length] + np.take(top.age, since, axis=1)
        state = self._block(top, state, x, bias[:, :, None], q)  # only the last event's state is read
        state += self._gap[age_bucket(own[:, 0])]
        user = _normed(state) @ self._leave
        user += self._leave_bias
        user += mean[:, : user.shape[1]]
        return user

    def _mean(self, v: Floats, done: NDArray[np.int64], since: NDArray[np.int64], last: NDArray[np.integer]) -> Floats:
        pool = self._pool
        share = _softmax(pool["share"][done] + self._pool_reach[last, : v.shape[1]] + pool["age"][since])
        mean = np.matmul((share * pool["direction"][done])[:, None], v, dtype=np.float32)[:, 0]
        length = np.sqrt(np.einsum("qd,qd->q", mean, mean))[:, None]
        scaled: Floats = mean * (self._scale / np.maximum(length, np.float32(1e-6)))
        return scaled

    def _block(self, layer: _Layer, x: Floats, past: Floats, bias: Floats, q: int) -> Floats:
        """Return the states [n, width] after attention of `x` to `past`; `bias` is [heads, q, places, past places]."""
        width, heads = x.shape[1], self._heads
        size = width // heads
        h = _normed(past)
        key_value = h @ layer.key_value
        key_value += layer.key_value_bias
        queries = (h if past is x else _normed(x)) @ layer.query
        queries += layer.query_bias
        queries = queries.reshape(q, -1, heads, size).transpose(2, 0, 1, 3)
        key_value = key_value.reshape(q, -1, 2, heads, size)
        scores = queries @ key_value[:, :, 0].transpose(2, 0, 3, 1)
        scores += bias
        mixed = _softmax(scores) @ key_value[:, :, 1].transpose(2, 0, 1, 3)
        x = x + np.matmul(mixed.transpose(1, 2, 0, 3).reshape(-1, width), layer.out, dtype=np.float32)
        inner = _normed(x) @ layer.up
        inner += layer.up_bias
        np.maximum(inner, 0, out=inner)
        x += inner @ layer.down
        x += layer.down_bias
        return x


def _by_weight_and_kind(arrays: Mapping[str, Floats], weight: str, kind: str) -> Floats:
    """Return what each weight's bucket says with each kind beside it, a row a pair: first the bucket alone."""
    by_weight, by_kind = arrays[weight], arrays.get(f"kinds.{kind}")
    if by_kind is None:
        return by_weight
    with_none = np.concatenate([np.zeros_like(by_kind[:1]), by_kind])
    return _contiguous((by_weight[:, None] + with_none).reshape(-1, *by_weight.shape[1:]))


def _layer(arrays: Mapping[str, Floats], name: str, heads: int, longest: int) -> _Layer:
    def read(what: str) -> Floats:
        return arrays[name + what]

    def after_norm(norm: str, weight: Floats) -> tuple[Floats, Floats]:
        """Return matrix and bias that read a state divided by its length alone."""
        return _contiguous(read(f"{norm}.weight")[:, None] * weight.T), read(f"{norm}.bias") @ weight.T

    size = np.float32(read("query.weight").shape[0] // heads)
    query, query_bias = after_norm("norm1", read("query.weight") / np.sqrt(size))
    both = np.concatenate([read("key.weight"), read("value.weight")])
    key_value, key_value_bias = after_norm("norm1", both)
    up, up_bias = after_norm("norm2", read("up.weight"))
    return _Layer(
        query=query,
        query_bias=query_bias,
        key_value=key_value,
        key_value_bias=key_value_bias,
        out=_centred(read("out.weight").T),
        up=up,
        up_bias=up_bias + read("up.bias"),
        down=_centred(read("down.weight").T),
        down_bias=_centred(read("down.bias")),
        reach=_reach(read("step").T, longest),
        age=_contiguous(read("age").T),
    )


def _reach(step: Floats, longest: int) -> Floats:
    back = np.arange(longest)[:, None] - np.arange(longest)
    return _contiguous(np.where(back < 0, _NEVER, step[:, np.clip(back, 0, step.shape[1] - 1)]))


def _normed(x: Floats) -> Floats:
    """Return rows, whose mean is zero, divided by their standard deviation."""
    square = np.einsum("nd,nd->n", x, x)
    square /= np.float32(x.shape[1])
    square += _EPSILON
    out: Floats = x / np.sqrt(square)[:, None]
    return out


def _softmax(x: Floats) -> Floats:
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)
    return x


def _centred(x: Floats) -> Floats:
    return _contiguous(x - x.mean(axis=-1, keepdims=True))


def _contiguous(x: Floats) -> Floats:
    return np.ascontiguousarray(x, dtype=np.float32)
