"""How does an explanation read as JSON, in an answer and in the decision log?

Written by hand, because models of it cost more than ranking small requests. `AnswerOut` describes the same.
"""

from collections.abc import Callable
from typing import Any

from ranker.query import Comparison, Reason

Number = Callable[[float], float | None]
"""How a number is written: answers keep it as it is, the log shortens it."""


def reason_json(reason: Reason, number: Number) -> dict[str, Any]:
    """Return a reason as JSON."""
    return {
        "family": reason.family,
        "weight": number(reason.weight),
        "because": reason.because,
        "features": [
            {"name": feature.name, "value": number(feature.value), "weight": number(feature.weight)}
            for feature in reason.features
        ],
    }


def comparison_json(comparison: Comparison | None, number: Number) -> dict[str, Any] | None:
    """Return a comparison as JSON; None when there is none."""
    if comparison is None:
        return None
    return {
        "first": comparison.first,
        "second": comparison.second,
        "difference": number(comparison.difference),
        "families": [
            {
                "family": family.family,
                "weight": number(family.weight),
                "features": [
                    {
                        "name": feature.name,
                        "first": number(feature.first),
                        "second": number(feature.second),
                        "weight": number(feature.weight),
                    }
                    for feature in family.features
                ],
            }
            for family in comparison.families
        ],
    }
