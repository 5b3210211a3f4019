"""How fast are the trees of a bundle scored, by LightGBM and by what compiles its models?

ONNX Runtime (with onnxmltools), lleaves and TL2cgen (with treelite and a C compiler) are not among the requirements:
one that does not import is told as not installed.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranker.arrays import Floats
from ranker.blend import Trees
from ranker.initial_score import NO_INITIAL

Score = Callable[[Floats], Any]

ENOUGH_S = 0.3
"""A measurement calls until this much time is spent, three times at least."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """One way to score rows, on one thread."""

    name: str
    score: Score | None
    """None when a library is missing."""
    compile_s: float = 0.0


def scorers(model: Path, features: Floats) -> list[Scorer]:
    """Open a LightGBM text model in every way there is; each scores `features` alike, or it raises."""
    trees = Trees.load(model, initial=NO_INITIAL)
    wanted = trees.score(features)
    out = [Scorer(name="readrank", score=trees.score)]
    out.append(Scorer(name="LightGBM predict", score=lambda rows: trees.booster.predict(rows, num_threads=1)))
    for name, open_ in {"ONNX Runtime": _onnx, "lleaves": _lleaves, "TL2cgen": _tl2cgen}.items():
        started = time.perf_counter()
        try:
            score = open_(model)
        except ImportError:
            out.append(Scorer(name=name, score=None))
            continue
        spent = time.perf_counter() - started
        got = np.asarray(score(features), np.float64).ravel()
        # ONNX sums single-precision leaves.
        if not np.allclose(got, wanted, atol=1e-4):
            raise RuntimeError(f"{name}: wanted the scores of LightGBM, got others by {np.abs(got - wanted).max()}")
        out.append(Scorer(name=name, score=score, compile_s=spent))
    return out


def milliseconds(score: Score, rows: Floats) -> float:
    """Return the median time of one call."""
    score(rows)
    took: list[float] = []
    while len(took) < 3 or sum(took) < ENOUGH_S:
        started = time.perf_counter()
        score(rows)
        took.append(time.perf_counter() - started)
    return float(np.median(took)) * 1e3


def _onnx(model: Path) -> Score:
    import lightgbm
    import onnxruntime
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = lightgbm.Booster(model_file=str(model))
    # onnxmltools knows regression but not lambdarank: a sum of trees is a sum of trees
    text = booster.model_to_string().replace("objective=lambdarank", "objective=regression")
    plain = lightgbm.Booster(model_str=text)
    shape = FloatTensorType([None, booster.num_feature()])
    converted = convert_lightgbm(plain, initial_types=[("rows", shape)], zipmap=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(converted.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"rows": rows})[0]


def _lleaves(model: Path) -> Score:
    import lleaves

    compiled = lleaves.Model(model_file=str(model))
    compiled.compile()
    return lambda rows: compiled.predict(rows, n_jobs=1)


def _tl2cgen(model: Path) -> Score:
    import tl2cgen
    import treelite

    loaded = treelite.frontend.load_lightgbm_model(str(model))
    library = Path(tempfile.mkdtemp(prefix="trees-")) / "trees.so"
    tl2cgen.export_lib(loaded, toolchain="gcc", libpath=str(library), params={"parallel_comp": 1}, verbose=False)
    predictor = tl2cgen.Predictor(str(library), nthread=1)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows))
