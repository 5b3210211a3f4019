import weakref

import duckdb
import polars as pl
import pytest

from ingest.window import ROW_GROUP, Window


def test_a_window_shows_one_frame_after_another_and_keeps_none_inside_a_transaction():
    with duckdb.connect() as connection:
        connection.execute("BEGIN")
        window = Window(connection, "shown")
        seen = []
        for number in range(3):
            with window.showing(pl.DataFrame({"n": [number] * (ROW_GROUP + 1)})):
                table = weakref.ref(window._table)
                seen.append(connection.execute("SELECT min(n), max(n), count(*) FROM shown").fetchall())
            assert table() is None
        assert seen == [[(number, number, ROW_GROUP + 1)] for number in range(3)]


def test_a_closed_window_says_so():
    with duckdb.connect() as connection:
        window = Window(connection, "shown")
        with window.showing(pl.DataFrame({"n": [1]})):
            pass
        with pytest.raises(Exception, match="shows nothing now"):
            connection.execute("SELECT * FROM shown").fetchall()
