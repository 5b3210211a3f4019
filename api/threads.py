"""In which threads is work done beside the event loop? In a few, none of which keeps the process from ending."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any

log = logging.getLogger(__name__)

_Work = tuple[Future[Any], Callable[[], Any]]


class DaemonThreads(Executor):
    """So many threads that take work in turn; work begun is not interrupted, and not waited for when the process ends.

    `ThreadPoolExecutor` waits at the end of the process for what its threads are at: an answer that hangs would keep a
    service alive that was told to stop.
    """

    def __init__(self, n_threads: int, name: str):
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(n_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let the next free thread call `fn`; a future that is cancelled before that is never begun."""
        future: Future[Any] = Future()
        self._waiting.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let each thread end after what has been submitted; with `cancel_futures` after what it is at."""
        while cancel_futures:
            try:
                work = self._waiting.get_nowait()
            except Empty:
                break
            if work is not None:
                work[0].cancel()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self) -> None:
        while self._does_next():
            pass

    def _does_next(self) -> bool:
        """Wait for work and do it; False at the end. What was done is let go before the next is waited for."""
        work = self._waiting.get()
        if work is None:
            return False
        future, call = work
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:  # whatever it is belongs to who asked, and the thread goes on
                future.set_exception(error)
        return True


class Repeated:
    """A thread that does the same again and again, with a pause before each time; what fails is logged and repeated."""

    def __init__(self, work: Callable[[], object], every_s: float, name: str):
        self._work = work
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def start(self) -> None:
        """Begin with the first pause."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no more; what is under way is not waited for."""
        self._ended.set()

    def _repeat(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self._work()
            except Exception:
                log.exception("failed, and is tried again work=%s every_s=%.3f", self._thread.name, self._every_s)
