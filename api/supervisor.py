"""What happens when a process of the service dies? A worker is replaced at once; without a parent, workers end."""

import multiprocessing
import os
import signal
import threading

from uvicorn.supervisors import Multiprocess


class Supervisor(Multiprocess):
    """uvicorn's supervisor, but for its wait when a worker dies after it was asked whether it lives.

    uvicorn waits for the answer as long as for that of a busy worker, a minute, and meanwhile replaces no other worker
    and hears no SIGTERM: it holds both ends of the pipe to each worker, so the pipe outlives the worker.
    """

    def keep_subprocess_alive(self) -> None:
        """Replace workers that do not answer."""
        for worker in self.processes:
            worker.child_conn.close()
        super().keep_subprocess_alive()


def end_with_parent() -> None:
    """Let this process end, after the requests under way, when the one that started it is gone; returns at once.

    Workers whose parent was killed would serve on with nobody to replace or to stop them, and hold the port.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
