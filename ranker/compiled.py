"""How are trees scored fast? As machine code, compiled once at training, where the library for it is installed."""

import logging
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

COMPILED = "ranker*.o"
"""Machine code in a bundle."""
_BASELINE_CPU = {"x86_64": "x86-64", "AMD64": "x86-64"}
"""Code for the oldest processor of its kind, so that a bundle may move to another machine."""
_CHECKED_ROWS = 256
_EXACT = 1e-9


def compile_trees(model: Path) -> Path | None:
    """Compile a LightGBM text model with lleaves, beside it; None where lleaves is not installed or cannot do it.

    The file's name says for which processor and system it is. Scores were those of LightGBM on rows drawn at random,
    or there is no file.
    """
    try:
        import lleaves
    except ImportError:
        return None
    import lightgbm

    written = _path(model)
    try:
        compiled = lleaves.Model(model_file=str(model))
        compiled.compile(
            cache=written, target_cpu=_BASELINE_CPU.get(platform.machine(), "generic"), target_cpu_features=""
        )
        wrong = _differs(compiled, lightgbm.Booster(model_file=str(model)))
    except Exception as error:  # whatever the compiler stumbles over: LightGBM gives the same scores, only later
        log.warning("trees not compiled model=%s error=%s: %s", model.name, type(error).__name__, error)
        written.unlink(missing_ok=True)
        return None
    if not wrong <= _EXACT:
        log.warning("trees not compiled model=%s scores differ by %g", model.name, wrong)
        written.unlink()
        return None
    return written


def load_compiled(model: Path, booster: Any) -> Any | None:
    """Return what scores rows [n, n_features] by `predict(rows, n_jobs=1)`, or None: then `booster` is to score.

    None where it was not compiled for here and by this lleaves, cannot be loaded, or does not score as `booster` does.
    """
    path = _path(model)
    if not path.is_file():
        return None
    try:
        import lleaves

        compiled = lleaves.Model(model_file=str(model))
        compiled.compile(cache=path)
        if _differs(compiled, booster) <= _EXACT:
            return compiled
    except Exception as error:  # a faster way that is closed: LightGBM gives the same scores
        log.warning("machine code not used model=%s error=%s: %s", model.name, type(error).__name__, error)
    return None


def _differs(compiled: Any, booster: Any) -> float:
    rng = np.random.default_rng(0)
    rows = rng.normal(scale=3, size=(_CHECKED_ROWS, booster.num_feature())).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    return float(np.abs(compiled.predict(rows, n_jobs=1) - booster.predict(rows, num_threads=1)).max())


def _path(model: Path) -> Path:
    try:
        compiler = version("lleaves")
    except PackageNotFoundError:
        compiler = "none"
    return model.with_suffix(f".{sys.platform}-{platform.machine()}-lleaves-{compiler}.o")
