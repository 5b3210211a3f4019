"""A hundred analysts, each a process with nothing but duckdb: they open the copy again and again until told to stop.

Run as `python hundred_readers.py COPY STOP`; each prints a line when it has first read, one for each later copy that it
comes to see, and one at its end.
"""

import json
import os
import sys
import time

import duckdb

READERS = 100
PAUSE = 3.0
"""Opening costs some 40 ms of a core: a hundred at it without a pause would leave none to the job."""
COUNTS = """
    SELECT
        (SELECT count(*) FROM loads),
        (SELECT count(*) FROM interactions),
        (SELECT coalesce(sum(rows_loaded), 0) FROM loads),
        (SELECT coalesce(max(arrival), -1) + 1 FROM interactions),
        (SELECT count(DISTINCT load_id) FROM interactions)
"""


def read(copy: str, stop: str) -> dict[str, object]:
    """Open, look, wait, look again, close; every look is whole, the same until closed, and never older than before.

    The last round begins after `stop` is there, so it sees what was published last.
    """
    seen: list[int] = []
    told = False
    try:
        while not told or len(seen) < 2:
            told = os.path.exists(stop)
            with duckdb.connect(copy, read_only=True) as connection:
                loads, *events = first = connection.execute(COUNTS).fetchone()
                if len({*events[:3]}) > 1 or events[3] != loads or loads < max(seen, default=0):
                    return {"error": f"inconsistent: {first} after {seen}"}
                if not seen or loads > seen[-1]:
                    say({"later" if seen else "first": loads})
                pause(stop)
                again = connection.execute(COUNTS).fetchone()
                if again != first:
                    return {"error": f"changed while open: {first} to {again}"}
            seen.append(loads)
            pause(stop)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"seen": seen}


def pause(stop: str) -> None:
    end = time.monotonic() + PAUSE
    while time.monotonic() < end and not os.path.exists(stop):
        time.sleep(0.2)


def say(what: dict[str, object]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")  # whole lines, whoever else writes


if __name__ == "__main__":
    for _ in range(READERS):
        time.sleep(0.03)
        if os.fork() == 0:
            say(read(*sys.argv[1:]))
            os._exit(0)
    for _ in range(READERS):
        os.wait()
