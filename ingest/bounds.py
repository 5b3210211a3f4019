"""Between which values may a number of the settings lie? The type of its field says so."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a number may be; it is always finite.

    >>> 0.5 in Bounds(over=0, most=1), 0 in Bounds(over=0, most=1), float("inf") in Bounds(least=0)
    (True, False, False)
    """

    least: float | None = None
    over: float | None = None
    most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            abs(value) < math.inf
            and (self.least is None or value >= self.least)
            and (self.over is None or value > self.over)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:,} to {self.most:,}"
        said = {"at least": self.least, "a number over": self.over, "at most": self.most, "below": self.below}
        return " and ".join(f"{words} {bound:,}" for words, bound in said.items() if bound is not None)


Size = Annotated[int, Bounds(least=0)]
"""How many; 0 is none."""
Positive = Annotated[int, Bounds(least=1)]
"""How many, where none makes no sense."""
Amount = Annotated[float, Bounds(least=0)]
"""How much; 0 is nothing."""
PositiveAmount = Annotated[float, Bounds(over=0)]
"""How much, where nothing makes no sense."""
Share = Annotated[float, Bounds(over=0, most=1)]
"""Some of a whole, or all of it."""
Fraction = Annotated[float, Bounds(least=0, most=1)]
"""None of a whole, some or all of it."""
Part = Annotated[float, Bounds(over=0, below=1)]
"""Some of a whole, and something is left."""
MOST_SEED = 2**32 - 1
"""The greatest seed that every library takes."""
Seed = Annotated[int, Bounds(least=0, most=MOST_SEED)]
"""Where a generator starts."""


def check_bounds(config: Any) -> None:
    """Raise ValueError for a number of a config outside the bounds in the type of its field, NaN and infinity too."""
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        many = get_origin(hint) is tuple
        for bounds in getattr(get_args(hint)[0] if many else hint, "__metadata__", ()):
            for number in value if many else (value,):
                if number not in bounds:
                    wanted = bounds if abs(number) < math.inf else "a finite number"
                    raise ValueError(f"{name}: wanted {wanted}, got {number}")
