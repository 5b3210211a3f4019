import doctest
import math
from dataclasses import dataclass
from typing import Annotated

import pytest

from ingest import bounds
from ingest.bounds import MOST_SEED, Amount, Bounds, Part, Positive, Seed, Share, Size, check_bounds


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    size: Size = 0
    positive: Positive = 1
    seed: Seed = 0
    amount: Amount = 0.0
    part: Part = 0.5
    shares: tuple[Share, ...] = (1.0,)
    leaves: Annotated[int, Bounds(least=2, most=5)] = 2
    days: Annotated[float, Bounds(least=0, way_out="leave it out")] | None = None
    name: str = "any"

    def __post_init__(self) -> None:
        check_bounds(self)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"size": -1}, "size: wanted at least 0, got -1"),
        ({"size": -(10**400)}, "size: wanted at least 0, got -1000"),
        ({"positive": 0}, "positive: wanted at least 1, got 0"),
        ({"seed": -1}, "seed: wanted 0 to 4,294,967,295, got -1"),
        ({"seed": 2**32}, "seed: wanted 0 to 4,294,967,295, got 4294967296"),
        ({"amount": math.nan}, "amount: wanted a finite number, got nan"),
        ({"amount": math.inf}, "amount: wanted a finite number, got inf"),
        ({"part": 0.0}, "part: wanted a number over 0 and below 1, got 0.0"),
        ({"part": 1.0}, "part: wanted a number over 0 and below 1, got 1.0"),
        ({"shares": (0.5, 0.0)}, "shares: wanted a number over 0 and at most 1, got 0.0"),
        ({"leaves": 6}, "leaves: wanted 2 to 5, got 6"),
        ({"days": -1.0}, "days: wanted at least 0, got -1.0; leave it out$"),
    ],
)
def test_a_number_out_of_bounds_is_told_by_its_name(values, told):
    with pytest.raises(ValueError, match=f"^{told}"):
        SampleConfig(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"size": 10**30},
        {"seed": MOST_SEED},
        {"part": 1e-9},
        {"shares": (1.0, 1e-9)},
        {"shares": ()},
        {"leaves": 5},
        {"days": 0.0},
    ],
)
def test_a_number_at_its_bounds_is_taken(values):
    assert vars(SampleConfig(**values)) | values == vars(SampleConfig(**values))


def test_examples_in_docstrings_hold():
    assert doctest.testmod(bounds) == (0, 1)
