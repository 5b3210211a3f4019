"""What lies in a training folder? Its files, and the names of their columns."""

from typing import Final

from ingest import columns as c

ITEMS: Final = "items.parquet"
SEQUENCES: Final = "sequences.parquet"
IMPRESSIONS: Final = "impressions.parquet"

ROWS: Final = "items"
"""A list of places in ITEMS: what a user did something with, or what a request showed."""
KINDS: Final = "kinds"
WEIGHTS: Final = "weights"
TIMES: Final = "times"
"""A list of moments in microseconds since 1970."""
TIME: Final = "time"
"""The moment of a request, likewise."""

COLUMNS: Final = {
    ITEMS: (c.ITEM_ID, c.TEXT),
    SEQUENCES: (c.USER_ID, ROWS, KINDS, WEIGHTS, TIMES),
    IMPRESSIONS: (c.REQUEST_ID, c.USER_ID, TIME, ROWS, c.CLICKED_AT),
}
"""What each file holds."""
LATER: Final = frozenset((KINDS, c.CLICKED_AT))
"""Columns that exports of earlier versions had not."""
