import weakref

import duckdb
import polars as pl
import pytest

from ingest.shown_frame import ROW_GROUP, FrameSlot


def test_a_slot_shows_one_frame_after_another_and_keeps_none_inside_a_transaction():
    with duckdb.connect() as connection:
        connection.execute("BEGIN")
        slot = FrameSlot(connection, "shown")
        seen = []
        for number in range(3):
            with slot.showing(pl.DataFrame({"n": [number] * (ROW_GROUP + 1)})):
                table = weakref.ref(slot._table)
                seen.append(connection.execute("SELECT min(n), max(n), count(*) FROM shown").fetchall())
            assert table() is None
        assert seen == [[(number, number, ROW_GROUP + 1)] for number in range(3)]


def test_a_closed_slot_says_so():
    with duckdb.connect() as connection:
        slot = FrameSlot(connection, "shown")
        with slot.showing(pl.DataFrame({"n": [1]})):
            pass
        with pytest.raises(Exception, match="shows nothing now"):
            connection.execute("SELECT * FROM shown").fetchall()
