"""What is to be lowered when memory is full? One sentence with a setting and a number, whoever ran out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from encoders.errors import OutOfMemoryError

if TYPE_CHECKING:
    from encoders.train import EncoderConfig

_FULL = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed", "defaultcpuallocator")
_FEWEST_TEXTS = 16
_SHORTEST = 64


def memory_is_full(error: BaseException) -> bool:
    """Say whether an error is torch's, CUDA's, the C library's or Python's way to say that memory is full."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _FULL)


@contextmanager
def advised(wanted: Callable[[], str], advice: Callable[[], str]) -> Iterator[None]:
    """Turn a full memory into `OutOfMemoryError` with what was wanted and what to do; other errors pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not memory_is_full(error):
            raise
        raise OutOfMemoryError(f"wanted {wanted()}, got no more memory; {advice()}") from error


def step_advice(config: EncoderConfig, texts: int) -> str:
    """Say which setting to lower, and to what, after a step over so many texts.

    First how many texts are held at once, which changes no result; then how much of a text is read; then the step.
    """
    now = config.texts_at_once or texts
    if min(now, texts) > _FEWEST_TEXTS:
        return (
            f"set texts_at_once = {max(min(now, texts) // 2, _FEWEST_TEXTS)} in [encoder] (now {config.texts_at_once})"
        )
    if config.max_tokens > _SHORTEST:
        return f"set max_tokens = {max(config.max_tokens // 2, _SHORTEST)} in [encoder] (now {config.max_tokens})"
    return f"set pairs_at_once = {max(config.pairs_at_once // 2, 1)} in [encoder] (now {config.pairs_at_once})"


def vectors_advice(config: EncoderConfig) -> str:
    """Say which setting to lower when the catalogue's vectors do not fit: all of them are needed to measure."""
    if config.kind == "transformer" and config.max_tokens > _SHORTEST:
        return f"set max_tokens = {max(config.max_tokens // 2, _SHORTEST)} in [encoder] (now {config.max_tokens})"
    if config.kind == "static":
        return f"set dim = {max(config.dim // 2, 1)} in [encoder] (now {config.dim}), or use a machine with more memory"
    return "set a smaller base in [encoder], or use a machine with more memory"
