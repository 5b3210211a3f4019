"""What is a moment here? Naive UTC, always."""

from datetime import UTC, datetime


def naive_utc(moment: datetime) -> datetime:
    """Drop the zone of an aware moment after turning it to UTC; naive ones are UTC already."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def utc_now() -> datetime:
    """Return the present moment as naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
