import threading

import pytest

from ingest.ahead import ahead


def test_ahead_keeps_the_order():
    assert list(ahead(iter(range(100)), depth=3)) == list(range(100))
    assert list(ahead([])) == []


def test_ahead_raises_the_error_after_what_came_before_it():
    def source():
        yield 1
        raise ZeroDivisionError

    items = ahead(source())
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_ahead_closes_the_source_when_the_caller_stops_early():
    closed = threading.Event()

    def source():
        try:
            yield from range(1000)
        finally:
            closed.set()

    items = ahead(source())
    assert next(items) == 0
    items.close()
    assert closed.is_set()
    assert not any(thread.name == "ahead" for thread in threading.enumerate())


def test_ahead_runs_no_further_than_its_depth():
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number

    items = ahead(source(), depth=2)
    next(items)
    # One handed over, two waiting, one in the reader's hand.
    assert len(made) <= 4
    items.close()
