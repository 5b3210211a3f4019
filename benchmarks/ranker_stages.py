"""Where does the time of one answer go? Clocks around the steps of an answer, without a line in the ranker itself."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest.mock import patch

import numpy as np

STAGES = {
    "situation": ("ranker.rank.Ranker._situation",),
    "items": ("ranker.sources.Sources.given",),
    "rules": ("ranker.rank.Ranker._allowed", "ranker.arrange.Arranger.arrange"),
    "scores": ("ranker.candidates.score_all",),
    "propose": ("ranker.model.propose",),
    "features": ("ranker.model.compute", "ranker.rank.compute"),
    "score": ("ranker.blend.Trees.score", "ranker.fusion.Fusion.score"),
}
"""The functions whose time makes up each stage; what they call of one another counts once, where it happens."""

REST = "rest"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Milliseconds of each answer."""

    whole: Sequence[float]
    """By the clock on the wall, without the clocks of the stages."""
    processor: float
    """Mean time of the processor, which other jobs of the machine lengthen less."""
    stages: dict[str, float]
    """Median of each stage, with its clocks; what is in none is `rest`."""

    def quantile(self, q: float) -> float:
        """Return a quantile of the whole."""
        return float(np.quantile(self.whole, q))


def timed(asks: Sequence[Callable[[], object]], *, warm: int = 20) -> Timed:
    """Ask one question after another: the first few for warmth, then all once without and once with stage clocks."""
    for ask in asks[:warm]:
        ask()
    whole, began = [], time.process_time()
    for ask in asks:
        started = time.perf_counter()
        ask()
        whole.append((time.perf_counter() - started) * 1e3)
    processor = (time.process_time() - began) * 1e3 / len(asks)
    answers: list[dict[str, float]] = []
    with _clocks() as spent:
        for ask in asks:
            spent.clear()
            started = time.perf_counter()
            ask()
            took = time.perf_counter() - started
            answers.append({**spent, REST: took - sum(spent.values())})
    names = [*STAGES, REST]
    medians = {name: float(np.median([answer.get(name, 0.0) for answer in answers])) * 1e3 for name in names}
    return Timed(whole=whole, processor=processor, stages=medians)


@contextmanager
def _clocks() -> Iterator[dict[str, float]]:
    """Put a clock around every function of `STAGES`; yields the seconds of each stage."""
    spent: dict[str, float] = defaultdict(float)
    inner = [0.0]  # seconds that clocked calls took inside each call that is open

    def clocked(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **named: Any) -> Any:
            started = time.perf_counter()
            inner.append(0.0)
            try:
                return function(*args, **named)
            finally:
                took = time.perf_counter() - started
                spent[stage] += took - inner.pop()
                inner[-1] += took

        return run

    with ExitStack() as stack:
        for stage, places in STAGES.items():
            for place in places:
                owner, name = place.rsplit(".", 1)
                found = _found(owner)
                stack.enter_context(patch.object(found, name, clocked(stage, getattr(found, name))))
        yield spent


def _found(path: str) -> Any:
    import pkgutil

    return pkgutil.resolve_name(path)
