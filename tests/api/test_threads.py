import subprocess
import sys
import threading

import pytest

from api.threads import DaemonThreads, Repeated
from tests.api.conftest import until


@pytest.fixture
def one():
    threads = DaemonThreads(1, "one")
    yield threads
    threads.shutdown(wait=False, cancel_futures=True)


def test_work_gives_its_result_or_its_error_and_the_thread_goes_on(one):
    failed = one.submit(int, "no number")
    assert one.submit(int, "12", base=8).result(10) == 10
    with pytest.raises(ValueError, match="no number"):
        failed.result(10)


def test_what_is_cancelled_before_its_turn_is_not_begun(one):
    go, done = threading.Event(), []
    first = one.submit(go.wait, 60)
    second, third = one.submit(done.append, "second"), one.submit(done.append, "third")
    assert second.cancel()
    go.set()
    third.result(10)
    assert (first.result(10), done) == (True, ["third"])


@pytest.mark.parametrize("cancel", [True, False])
def test_threads_end_after_what_waits_or_after_what_they_are_at(cancel):
    threads, go, begun, done = DaemonThreads(1, "ending"), threading.Event(), threading.Event(), []
    threads.submit(lambda: (begun.set(), go.wait(60)))
    assert begun.wait(10)
    waiting = threads.submit(done.append, "waited")
    threads.shutdown(wait=False, cancel_futures=cancel)
    go.set()
    threads.shutdown()
    assert waiting.cancelled() == cancel
    assert done == ([] if cancel else ["waited"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ending")]


def test_the_end_of_the_process_waits_for_no_answer_that_hangs():
    script = """
import threading
from api.threads import DaemonThreads
begun = threading.Event()
threads = DaemonThreads(1, "hangs")
threads.submit(lambda: (begun.set(), threading.Event().wait()))
assert begun.wait(30)
threads.shutdown(wait=False, cancel_futures=True)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_what_is_repeated_goes_on_after_it_failed_and_ends_when_told(caplog):
    times = []

    def work():
        times.append(len(times))
        if len(times) == 1:
            raise OSError("a passing reason")

    repeated = Repeated(work, 0.01, "ticks")
    repeated.start()
    assert until(lambda: len(times) > 2)
    assert "a passing reason" in caplog.text
    repeated.stop()
    assert until(lambda: not any(thread.name == "ticks" for thread in threading.enumerate()))
