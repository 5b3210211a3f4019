"""How does long work say how far it is? One callable, handed in by whoever shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


class Progress(Protocol):
    """Told after each step of a long job; cheap enough to call a few times a second."""

    def __call__(self, step: str, done: int, total: int | None = None, note: str = "") -> None:
        """Report that `done` of `total` units of `step` are finished; `note` is a short value such as a loss."""


def silent(step: str, done: int, total: int | None = None, note: str = "") -> None:
    """Show nothing: for tests and for callers without a terminal."""


@contextmanager
def unseen() -> Iterator[Progress]:
    """Open what `bars` opens, where nobody watches."""
    yield silent


_SPEED_OVER_S: Final = 3600.0
"""Seconds of progress over which the remaining time is estimated: one unit, such as an epoch, may take minutes."""


@contextmanager
def bars(stream: TextIO, how_far: "ProgressColumn") -> Iterator[Progress]:
    """Show a bar for each step on a terminal: how far it is, how long it has taken, how long it will, and the note.

    A step whose `done` falls, or that had ended and has more to do, is another of the same name: its bar and its clock
    begin anew.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    shown = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        how_far,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(file=stream),
        speed_estimate_period=_SPEED_OVER_S,
    )
    tasks: dict[str, Any] = {}

    def show(step: str, done: int, total: int | None = None, note: str = "") -> None:
        if step not in tasks:
            tasks[step] = shown.add_task(step, total=total, note=note)
        task = shown.tasks[tasks[step]]
        if done < task.completed or (task.finished and (total is None or done < total)):
            shown.reset(task.id, total=total)
        shown.update(task.id, completed=done, total=total, note=note)

    with shown:
        yield show
