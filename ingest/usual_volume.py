"""Which earlier loads is a load's size compared with? Files named alike, or for what is drained, days."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NUMBERS = re.compile(r"\d+(?:[-_.:T]\d+)*")
_DAY = timedelta(days=1)


def family(path: str) -> str:
    """Return what the names of files of one feed share.

    >>> family("/logs/2024/events-2024-05-01.jsonl.gz")
    'events-#.jsonl.gz'
    >>> family("part-00000-3fa85f64-5717-4562-b3fc-2c963f66afa6-c000.parquet")
    'part-#-#-c#.parquet'
    """
    return _NUMBERS.sub("#", _UUID.sub("#", PurePath(path).name))


def alike_before(
    connection: "duckdb.DuckDBPyConnection", path: str, table: str, load_id: str
) -> list[tuple[int, datetime]]:
    """Return rows read and start of the loads of one feed before this one, newest first."""
    earlier = connection.execute(
        """
        SELECT path, rows_read, started_at
        FROM loads
        WHERE table_name = ? AND load_id < ?
        ORDER BY load_id DESC
        LIMIT 1000
        """,
        [table, load_id],
    ).fetchall()
    name = family(path)
    return [(n_rows, started) for other, n_rows, started in earlier if family(other) == name]


def by_days(earlier: Sequence[tuple[int, datetime]], now: datetime) -> tuple[int, list[int]]:
    """Sum rows up over the day that ends now, and over each day before it that had any, newest first.

    How much a drain finds depends on when the one before it ran: two drains are not alike, two days are.

    >>> now = datetime(2024, 5, 3)
    >>> by_days([(1, now), (2, now - _DAY * 0.9), (4, now - _DAY), (8, datetime(2024, 4, 1))], now)
    (3, [4, 8])
    """
    days: Counter[int] = Counter()
    for n_rows, started in earlier:
        days[max((now - started) // _DAY, 0)] += n_rows  # a clock may have been set back
    return days.pop(0, 0), [days[ago] for ago in sorted(days)]
