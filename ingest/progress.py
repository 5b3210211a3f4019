"""How does long work say how far it is? One callable, handed in by whoever shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


class Progress(Protocol):
    """Told after each step of a long job; cheap enough to call a few times a second."""

    def __call__(self, step: str, done: int, total: int | None = None, note: str = "") -> None:
        """Report that `done` of `total` units of `step` are finished; `note` is a short value such as a loss."""


def silent(step: str, done: int, total: int | None = None, note: str = "") -> None:
    """Show nothing: for tests and for callers without a terminal."""


@contextmanager
def bars(stream: TextIO, *columns: "ProgressColumn") -> Iterator[Progress]:
    """Show a bar for each step on a terminal, `columns` between it and the note; one that goes back begins anew."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    shown = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TextColumn("{task.fields[note]}"),
        console=Console(file=stream),
    )
    tasks: dict[str, Any] = {}

    def show(step: str, done: int, total: int | None = None, note: str = "") -> None:
        if step not in tasks:
            tasks[step] = shown.add_task(step, total=total, note=note)
        elif done < shown.tasks[tasks[step]].completed:
            shown.reset(tasks[step], total=total)
        shown.update(tasks[step], completed=done, total=total, note=note)

    with shown:
        yield show
