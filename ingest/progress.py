"""How does long work say how far it is? One callable, handed in by whoever shows it."""

from typing import Protocol


class Progress(Protocol):
    """Told after each step of a long job; cheap enough to call a few times a second."""

    def __call__(self, step: str, done: int, total: int | None = None, note: str = "") -> None:
        """Report that `done` of `total` units of `step` are finished; `note` is a short value such as a loss."""


def silent(step: str, done: int, total: int | None = None, note: str = "") -> None:
    """Show nothing: for tests and for callers without a terminal."""
