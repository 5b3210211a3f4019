"""How does a training run beside other work? In a process of its own, which ends with the one that began it.

Two cores are both in use while an encoder learns on one of them. The process reads what to do from its first line of
input; the end of its input is the end of the one that began it, however that came about.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from encoders.errors import EncoderError
from encoders.train import EncoderConfig, train
from ingest.progress import Progress, silent


class Training:
    """A training that has begun, or that begins when its result is asked for."""

    def __init__(self, asked: dict[str, Any], progress: Progress, *, beside: bool) -> None:
        self._asked = asked
        self._progress = progress
        self._process = _begin(asked) if beside else None
        self._error = ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        if self._process is not None:
            self._listener.start()

    def result(self) -> Path:
        """Wait for the model folder and return it; `EncoderError` says what went wrong."""
        if self._process is None:
            return _train(self._asked, self._progress)
        self._listener.join()
        status = self._process.wait()
        if status:
            why = "it was killed, most likely for want of memory" if status == -signal.SIGKILL else "see what it wrote"
            raise EncoderError(self._error or f"the encoder's training ended with status {status}: {why}")
        return Path(self._asked["out"])

    def stop(self) -> None:
        """End a training whose result nobody wants any more."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._listener.join()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as told:  # closed also when showing progress fails: nobody writes to a full pipe
            for line in told:
                said = json.loads(line)
                if "error" in said:
                    self._error = said["error"]
                else:
                    self._progress(**said)


@contextmanager
def training(
    data: Path,
    out: Path,
    config: EncoderConfig,
    *,
    beside: bool,
    validate_from: datetime | None = None,
    repeat_of: Path | None = None,
    leave_mark: bool = False,
    progress: Progress = silent,
) -> Iterator[Training]:
    """Train as `encoders.train.train` does, beside the block or, without `beside`, once the result is asked for.

    Both write the same model. A block that ends early ends the training.
    """
    asked = {
        "data": str(data),
        "out": str(out),
        "config": asdict(config),
        "validate_from": validate_from.isoformat() if validate_from else None,
        "repeat_of": str(repeat_of) if repeat_of else None,
        "leave_mark": leave_mark,
    }
    begun = Training(asked, progress, beside=beside)
    try:
        yield begun
    finally:
        begun.stop()


def _begin(asked: dict[str, Any]) -> subprocess.Popen[str]:
    # The process finds the same packages, wherever it starts; its arithmetic outside torch stays on one core.
    here = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(path for path in (here, os.environ.get("PYTHONPATH", "")) if path)
    process = subprocess.Popen(
        [sys.executable, "-m", "encoders.beside"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()
    return process


def _train(asked: dict[str, Any], progress: Progress) -> Path:
    report = train(
        asked["data"],
        asked["out"],
        EncoderConfig(**asked["config"]),
        validate_from=datetime.fromisoformat(asked["validate_from"]) if asked["validate_from"] else None,
        repeat_of=asked["repeat_of"],
        leave_mark=asked["leave_mark"],
        progress=progress,
    )
    return report.folder


def _run(asked: dict[str, Any], out: IO[str]) -> int:
    """Train and say on `out`, a line of JSON each, how far it is and what went wrong; return the exit status."""

    def tell(step: str, done: int, total: int | None = None, note: str = "") -> None:
        out.write(json.dumps({"step": step, "done": done, "total": total, "note": note}) + "\n")
        out.flush()

    try:
        _train(asked, tell)
    except EncoderError as error:
        out.write(json.dumps({"error": str(error)}) + "\n")
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _end_with(parent: IO[str]) -> None:
    parent.read()
    os._exit(1)


if __name__ == "__main__":
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with, args=[sys.stdin], daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the one that began it, with which this one ends
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no message
    status = _run(asked, messages)
    messages.flush()
    os._exit(status)  # the thread that waits for the end of the input would hold the interpreter's own end
