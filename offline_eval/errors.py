"""Which mistakes can a user make in an evaluation?"""

from ingest.errors import ReadrankError


class EvaluationError(ReadrankError):
    """There is nothing to evaluate on: too little data, or a cutoff outside of it."""
