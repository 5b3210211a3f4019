"""Which mistakes can a user make with models? The errors of this room."""

from ingest.errors import ReadrankError


class RankerError(ReadrankError):
    """Root of this room's errors."""


class NothingToLearnError(RankerError):
    """The store has no items or no interactions before the cutoff."""


class BundleError(RankerError):
    """A bundle is missing, incomplete, damaged, or of a format this version does not read."""


class QueryFileError(RankerError):
    """A file of queries or requests lacks columns or holds wrong types."""


class TuningError(RankerError):
    """A search cannot go on: its studies cannot be read, or another search is at work."""
