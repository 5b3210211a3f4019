"""What does one file tell? One or several readings, each of which fills one table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ingest.batches import Batch
from ingest.mapping import Table


@dataclass(frozen=True)
class Reading:
    """One way of reading a file; a log of mixed events gives several, each reading the file again."""

    table: Table | None
    """None when only the rows tell: the columns of a file without a preset are not known before it is read."""
    batches: Callable[[], Iterator[Batch]]
    """Opens the file anew at each call."""
