"""How do the next batches get ready while the last one is being stored? In a thread of their own, a few ahead."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1


class _End:
    """What the reading thread hands over last: nothing, or the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T], *, depth: int = 1) -> Generator[T, None, None]:
    """Yield the items in order while up to `depth` further ones are made; an error comes out where it would have.

    When the caller stops early, the source is closed in the thread that ran it.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def read() -> None:
        error: BaseException | None = None
        try:
            source = iter(items)
            try:
                for item in source:
                    if not _put(ready, item, stopped):
                        break
            finally:
                close = getattr(source, "close", None)
                if close is not None:
                    close()
        except BaseException as raised:
            error = raised
        _put(ready, _End(error), stopped)

    thread = threading.Thread(target=read, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def _put(ready: "queue.Queue[T | _End]", item: "T | _End", stopped: threading.Event) -> bool:
    """Wait for room; False when nobody waits for the item any more."""
    while not stopped.is_set():
        try:
            ready.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False
