"""How likely is it, where a score has no unit? Scores become probabilities, measured on questions not learned from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ranker.blend import Blend
from ranker.examples import Examples

CALIBRATION = "calibration.json"
"""Where a bundle keeps its calibrations."""
MIN_TAKEN = 40
"""With fewer items taken than this, a probability would be a guess."""
N_BINS = 10

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A curve from score to probability: a logistic one, so two numbers, and never falling."""

    slope: float
    """Change of the log odds as the score grows by one; not negative."""
    intercept: float
    """Log odds at score 0."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.intercept) and 0 <= self.slope < np.inf):
            raise ValueError(f"a calibration wants numbers and a slope that is not negative, got {self}")

    def probability(self, scores: Numbers) -> Numbers:
        """Return the probability of each score; a higher score never gets a lower one.

        >>> Calibration(slope=2.0, intercept=-1.0).probability(np.array([0.5, 0.5 + np.log(3) / 2])).round(6).tolist()
        [0.5, 0.75]
        """
        # exp of what is below -700 would overflow, and its probability is 0 all the same
        return np.asarray(1 / (1 + np.exp(-np.maximum(self.slope * scores + self.intercept, -700))), np.float64)

    @classmethod
    def fit(cls, scores: Numbers, taken: npt.NDArray[np.bool_], weights: Numbers) -> Self:
        """Learn the curve under which what was taken is likeliest; where it would fall, it is level at the base rate.

        Platt, Probabilistic outputs for support vector machines, 1999. Where one in hundreds is taken, an isotonic
        curve's last steps hold a few takings and claim near certainty: see docs/ranker.md.
        """
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1e6, solver="newton-cholesky")
        model.fit(scores[:, None], taken, sample_weight=weights)
        slope = float(model.coef_[0, 0])
        if slope >= 0:
            return cls(slope=slope, intercept=float(model.intercept_[0]))
        odds = float(weights[taken].sum() / weights[~taken].sum())
        return cls(slope=0.0, intercept=float(np.log(odds)))


def calibrate(blend: Blend, later: Examples | None) -> tuple[Calibration | None, dict[str, Any]]:
    """Learn how likely a score is, from questions that `blend` has not learned from; return it and what was measured.

    Candidates that nobody took count as often as they were proposed, not as often as they were kept as examples. What
    is measured, each half of the questions (earlier, later) has from the curve of the other half.
    """
    if later is None:
        return None, {"learned": False, "why": "nobody took anything new in the later window"}
    scores = blend.score(later.features)
    taken = later.labels > 0
    weights = np.where(taken, 1.0, np.repeat(later.negative_weight, later.groups))
    earlier = np.argsort(np.argsort(later.as_of, kind="stable")) < len(later.as_of) / 2
    half = np.repeat(earlier, later.groups)
    enough = [int((taken & part).sum()) for part in (half, ~half)]
    left = [int((~taken & part).sum()) for part in (half, ~half)]
    if min(enough) < MIN_TAKEN / 2 or not min(left):
        why = f"{' and '.join(map(str, enough))} items taken in the halves of the later window, {MIN_TAKEN // 2} wanted"
        return None, {"learned": False, "why": why}
    out_of_sample = np.empty(len(scores))
    for part in (half, ~half):
        curve = Calibration.fit(scores[~part], taken[~part], weights[~part])
        out_of_sample[part] = curve.probability(scores[part])
    measured = reliability(out_of_sample, taken, weights)
    untreated = reliability(1 / (1 + np.exp(-scores)), taken, weights)
    return Calibration.fit(scores, taken, weights), {
        "learned": True,
        **measured,
        "uncalibrated_error": untreated["error"],
    }


def reliability(probabilities: Numbers, taken: npt.NDArray[np.bool_], weights: Numbers) -> dict[str, Any]:
    """Compare what was said with what happened, in ten bins that were each expected to hold a tenth of the takings.

    `error` is the expected calibration error, the mean over candidates of a bin's |predicted - observed| (Naeini et
    al., AAAI 2015). Saying the base rate of everything has none, but tells nothing either: compare the log losses, per
    item taken.
    """
    order = np.argsort(probabilities, kind="stable")
    said, took, weight = probabilities[order], taken[order].astype(np.float64), weights[order]
    mass = np.cumsum(said * weight)
    bins = np.minimum((N_BINS * (mass - said * weight / 2) / mass[-1]).astype(np.int64), N_BINS - 1)
    n, expected, observed = (np.bincount(bins, values, N_BINS) for values in (weight, said * weight, took * weight))
    base_rate = float(observed.sum() / n.sum())
    return {
        "bins": [
            {
                "predicted": round(float(expected[b] / n[b]), 6),
                "observed": round(float(observed[b] / n[b]), 6),
                "n": round(float(n[b])),
                "taken": int(observed[b]),
            }
            for b in np.flatnonzero(n)
        ],
        "error": round(float(np.abs(expected - observed).sum() / n.sum()), 6),
        "base_rate": round(base_rate, 6),
        "log_loss": round(_log_loss(said, took, weight), 4),
        "base_log_loss": round(_log_loss(np.full_like(said, base_rate), took, weight), 4),
    }


def save(calibrations: Mapping[str, Calibration | None], folder: Path) -> None:
    """Write the calibrations that there are into a bundle's folder, by the name of their blend."""
    plain = {name: asdict(curve) for name, curve in calibrations.items() if curve is not None}
    (folder / CALIBRATION).write_text(json.dumps(plain, indent=1), encoding="utf-8")


def load(folder: Path) -> dict[str, Calibration]:
    """Read a bundle's calibrations; one written before there were any has none."""
    path = folder / CALIBRATION
    if not path.is_file():
        return {}
    return {name: Calibration(**plain) for name, plain in json.loads(path.read_text(encoding="utf-8")).items()}


def _log_loss(said: Numbers, took: Numbers, weight: Numbers) -> float:
    said = np.clip(said, 1e-12, 1 - 1e-12)
    return float(-(weight * (took * np.log(said) + (1 - took) * np.log1p(-said))).sum() / max(took.sum(), 1.0))
