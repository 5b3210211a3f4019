"""How fast does a trained encoder serve on one core, and what do smaller forms of its vectors cost?

    python benchmarks/encoder_serving.py [--data DIR] [--model DIR] [--transformer DIR] [--out FILE]

`--data` is a folder of `readrank export-training`, `--model` a static encoder trained on it; without them a shop is
simulated and its encoder trained. `--transformer` is a trained encoder of the other kind; without it the base model is
taken as it is. Times of calls are medians of what each costs one core, the figure that stays when the machine is busy
with other things; wall times stand behind them. Forms are compared with whole float32 vectors: how many of a user's 100
items of most interest stay, how far interest moves, and how often a user's next item is among the first 50.
"""

# ruff: noqa: E402
import os
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the package of the same name
sys.path[0] = str(Path(__file__).resolve().parents[1])
# read once by the libraries, when they are first imported
os.environ |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
from pyarrow import parquet
from threadpoolctl import threadpool_limits

from benchmarks.encoder_histories import EVENTS, Histories, histories
from encoders.interest import Floats, InterestModel
from encoders.sequences import Sequences, read_sequences
from encoders.train import EncoderConfig, train
from encoders.vectors import CatalogueVectors
from ingest import columns as c

CUTS = (64, 128)
TOP, FIRST = 100, 50
MANY = 100_000
CHANGED = 0.01

_WITHOUT = """
import json, sys, time
began = time.perf_counter()
import numpy as np
from encoders.interest import InterestModel
model = InterestModel.load(sys.argv[1])
ready = time.perf_counter() - began
vectors = model.encode(["a new item's text"])[None]
one = np.ones((1, 1))
model.user_vectors(vectors, one, one, one.astype(bool))
heavy = ("torch", "transformers", "sentence_transformers", "polars", "duckdb")
print(json.dumps({"ready_s": ready, "imported": [name for name in heavy if name in sys.modules]}))
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    """At most this, where there is a bar."""
    note: str = ""


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="training folder; default: a simulated shop")
    parser.add_argument("--model", type=Path, help="static encoder trained on it; default: train one now")
    parser.add_argument("--transformer", type=Path, help="encoder of that kind; default: the base model as it is")
    parser.add_argument("--events", type=int, default=200_000, help="events of the simulated shop")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of the training")
    parser.add_argument("--no-transformer", action="store_true", help="leave the transformer out")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="readrank-serving-") as scratch, threadpool_limits(1):
        folder = given.data or simulated(Path(scratch), given.events)
        data = read_sequences(folder)
        ids = parquet.read_table(folder / "items.parquet", columns=[c.ITEM_ID]).column(0).to_pylist()
        place = given.model or trained(folder, Path(scratch) / "static", given.epochs)
        rows = [*serving(InterestModel.load(place), data), *without(place), *refreshing(place, ids, data.texts)]
        if not given.no_transformer:
            base = given.transformer or untrained(folder, Path(scratch))
            rows += transforming(base, ids, data.texts)
        rows += forms(place, ids, data)
    print_table(rows, len(ids))
    if given.out:
        told = {"items": len(ids), "machine": platform.processor(), "cores": os.cpu_count()}
        given.out.write_text(json.dumps(told | {"rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def simulated(scratch: Path, n_events: int) -> Path:
    """Simulate a shop and write its training folder."""
    from encoders.export import export_training
    from ingest.load import load_files
    from ingest.store import END_OF_TIME, Store
    from offline_eval.simulate import SimulationConfig, simulate

    files = simulate(SimulationConfig(n_events=n_events), scratch / "log")
    with Store.open(scratch / "readrank.duckdb") as store:
        load_files(store, [files.items, files.interactions])
        export_training(store, scratch / "data", before=END_OF_TIME)
    return scratch / "data"


def trained(folder: Path, out: Path, epochs: int) -> Path:
    """Train a static encoder that can be cut."""
    config = EncoderConfig(cut_dims=",".join(map(str, CUTS)))
    train(folder, out, config, epochs=epochs)
    return out


def untrained(folder: Path, scratch: Path) -> Path:
    """Write the base model as an encoder of the kind `transformer`; with which items does not matter."""
    few = scratch / "few"
    few.mkdir()
    parquet.write_table(parquet.read_table(folder / "items.parquet").slice(0, 8), few / "items.parquet")
    parquet.write_table(parquet.read_table(folder / "sequences.parquet").slice(0, 0), few / "sequences.parquet")
    train(few, scratch / "transformer", EncoderConfig(kind="transformer", tuning="none"), epochs=0)
    return scratch / "transformer"


def serving(model: InterestModel, data: Sequences) -> Iterator[Row]:
    """Measure users and a new text of the static kind."""
    vectors = model.encode(data.texts)
    for n_users, calls, bar in ((1, 400, 1.0), (256, 8, None)):
        asked = histories(data.of_kinds(model.kinds), n_users, exactly=EVENTS)
        ms, wall = median_ms(partial(asked.users, model, vectors), calls)
        what = "user vector" if n_users == 1 else f"user vector, {n_users} at once, each"
        note = f"wall {wall / n_users:.3f}; {EVENTS} events, {model.dim} numbers"
        yield Row(what=what, value=ms / n_users, unit="ms", bar=bar, note=note)
    texts = cycle(data.texts)
    ms, wall = median_ms(lambda: model.encode([next(texts)]), 400)
    yield Row(what="new text, static", value=ms, unit="ms", bar=1.0, note=f"wall {wall:.3f}; {words_of(data.texts)}")


def without(place: Path) -> Iterator[Row]:
    """Measure what another process imports to serve texts and users of the static kind."""
    run = [sys.executable, "-c", _WITHOUT, str(place)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    told = json.loads(done.stdout)
    yield Row(what="import and load, static", value=told["ready_s"] * 1e3, unit="ms")
    imported = told["imported"]
    note = f"of torch, transformers, sentence_transformers, polars, duckdb: {', '.join(imported) or 'none'}"
    yield Row(what="heavy packages imported for it", value=len(imported), unit="", bar=0, note=note)


def transforming(place: Path, ids: list[str], texts: Any) -> Iterator[Row]:
    """Measure a new text of the transformer kind, and a refresh of some hundred items."""
    model = InterestModel.load(place)
    began = time.perf_counter()
    model.encode(["The first text opens the model."])
    yield Row(what="open the transformer", value=time.perf_counter() - began, unit="s", note="once, at the first text")
    some = cycle(texts[:60])
    ms, wall = median_ms(lambda: model.encode([next(some)]), 40)
    note = f"wall {wall:.0f}; {words_of(texts[:60])}"
    yield Row(what="new text, transformer", value=ms, unit="ms", bar=50.0, note=note)
    yield from _refresh(model, ids[:500], list(texts[:500]), "transformer")


def refreshing(place: Path, ids: list[str], texts: Any) -> Iterator[Row]:
    """Measure a refresh of the whole catalogue, static."""
    yield from _refresh(InterestModel.load(place), ids, list(texts), "static")


def _refresh(model: InterestModel, ids: list[str], texts: list[str], kind: str) -> Iterator[Row]:
    began = time.process_time()
    kept = CatalogueVectors.encode(model, ids, texts)
    everything = time.process_time() - began
    step = round(1 / CHANGED)
    now = [f"{text} New edition." if row % step == 0 else text for row, text in enumerate(texts)]
    began = time.process_time()
    _, told = kept.refresh(model, ids, now)
    seconds = time.process_time() - began
    yield Row(what=f"encode {len(ids):,} items, {kind}", value=everything, unit="s")
    note = f"{told.encoded} texts encoded, {everything / seconds:.0f} times faster"
    yield Row(what=f"refresh of {CHANGED:.0%} of them", value=seconds, unit="s", note=note)


def forms(place: Path, ids: list[str], data: Sequences) -> Iterator[Row]:
    """Measure bytes an item, and what small and short vectors change in interest."""
    model = InterestModel.load(place)
    whole = model.encode(data.texts)
    asked = histories(data.of_kinds(model.kinds), 1000)
    interest = asked.users(model, whole) @ whole.T
    note = f"interest spreads by {interest.std(axis=1).mean():.2f}, recall@{FIRST} {found(interest, asked):.3f}"
    yield Row(what="kept as float32", value=4.0 * model.dim, unit="B/item", note=note)
    for form in ("float16", "int8"):
        kept = CatalogueVectors.encode(model, ids, data.texts, form)
        size = kept.stored.nbytes + (0 if kept.scales is None else kept.scales.nbytes)
        scores = asked.users(model, kept.floats()) @ kept.floats().T
        note = f"{compared(interest, scores)}, recall@{FIRST} {found(scores, asked):.3f}"
        yield Row(what=f"kept as {form}", value=size / len(ids), unit="B/item", note=note)
    for dim in (model.dim, *sorted(model.config.get("cut_dims", ()), reverse=True)):
        short, vectors = model.cut(dim), kept.floats(dim)
        users = asked.users(short, kept.floats())
        ms, _ = median_ms(partial(np.matmul, users[:1], np.ones((MANY, dim), np.float32).T), 20)
        scores = users @ vectors.T
        note = f"{4 * dim:,} B/item in memory, {compared(interest, scores)}, recall@{FIRST} {found(scores, asked):.3f}"
        if dim < model.dim:
            note += f" ({found(asked.users(short, vectors) @ vectors.T, asked):.3f} with cut histories)"
        yield Row(what=f"score {MANY:,} items by {dim} numbers", value=ms, unit="ms", note=note)


def compared(whole: Floats, other: Floats) -> str:
    """Tell how many of the top items stay, and how far interest moves."""
    top = min(TOP, whole.shape[1] - 1)
    tops = [np.argpartition(-scores, top, axis=1)[:, :top] for scores in (whole, other)]
    kept = np.mean([len(np.intersect1d(a, b)) / top for a, b in zip(*tops, strict=True)])
    return f"{kept:.1%} of the top {top} stay, interest off by {np.abs(whole - other).max():.3f} at most"


def found(scores: Floats, asked: Histories) -> float:
    """Return how often the next item is among the first, of those not in the history."""
    scores = scores.copy()
    rows, places = np.nonzero(asked.mask)
    scores[rows, asked.items[rows, places]] = -np.inf
    own = scores[np.arange(len(scores)), asked.following][:, None]
    return float(((scores > own).sum(axis=1) < FIRST).mean())


def median_ms(call: Callable[[], Any], calls: int) -> tuple[float, float]:
    """Return the median cost of so many calls on the core and by the clock, after three that do not count."""
    took = []
    for _ in range(calls + 3):
        began, cost = time.perf_counter(), time.process_time()
        call()
        took.append((time.process_time() - cost, time.perf_counter() - began))
    core, wall = np.median(took[3:], axis=0) * 1e3
    return float(core), float(wall)


def words_of(texts: Any) -> str:
    """Tell how long the texts are."""
    return f"{np.mean([len(text.split()) for text in texts]):.0f} words on average"


def print_table(rows: list[Row], n_items: int) -> None:
    """Print the figures, the bar beside each."""
    print(f"{n_items:,} items, one thread\n")
    for row in rows:
        digits = 3 if row.unit in ("ms", "s") and row.value < 10 else 0
        told = f"{row.value:,.{digits}f} {row.unit}".strip()
        bar = "" if row.bar is None else f"{'met' if row.value <= row.bar else 'MISSED'}: {row.bar:g}"
        print(f"{row.what:36}{told:>14}   {bar:12}{row.note}")


if __name__ == "__main__":
    main()
