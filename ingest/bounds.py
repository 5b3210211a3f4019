"""Between which values may a number of the settings lie? The type of its field says so."""

import math
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


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
    way_out: str = ""
    """What to write instead, where that is not plain."""

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
MOST_DAYS = 500_000
"""More days than this before or after a moment may lead out of the calendar."""
Days = Annotated[float, Bounds(least=0, most=MOST_DAYS)]
"""How long."""
MOST_SEED = 2**32 - 1
"""The greatest seed that every library takes."""
Seed = Annotated[int, Bounds(least=0, most=MOST_SEED)]
"""Where a generator starts."""


def check_bounds(config: Any) -> None:
    """Raise ValueError for a number of a config outside the bounds in the type of its field, NaN and infinity too.

    A tuple is checked by its numbers; None, where the type allows it, is none.
    """
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        numbers = value if get_origin(hint) is tuple else () if value is None else (value,)
        around = get_origin(hint) in (tuple, Union, UnionType)
        for bounds in getattr(get_args(hint)[0] if around else hint, "__metadata__", ()):
            for number in numbers:
                if number not in bounds:
                    wanted = bounds if abs(number) < math.inf else "a finite number"
                    way_out = f"; {bounds.way_out}" if bounds.way_out else ""
                    raise ValueError(f"{name}: wanted {wanted}, got {number}{way_out}")
