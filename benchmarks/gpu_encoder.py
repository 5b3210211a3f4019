"""Tune the transformer on a GPU machine in one command, and bring back what the product is measured with.

    python benchmarks/gpu_encoder.py --package .gpu --cases-of DATA --judge JUDGE [--case NAME ...]
    python3 benchmarks/gpu_encoder.py --data .gpu/amazon_beauty .gpu/mind_ctr_lite --base .gpu/base --out OUT
    for f in OUT/*.tar; do tar xf $f -C MODELS; done
    python benchmarks/encoders.py --data DATA --judge JUDGE --models MODELS

The first command runs where the data sets are and writes what must travel: below 60 MiB. The second needs neither
polars nor duckdb nor lightgbm. It measures the device's matrix rate, then for each training folder some steps of
training (tokens a second without padding, useful operations a token, their share of the matrix rate, a table of the
kernels), then trains the pair that the product needs: an early encoder, whose best epoch is found on the last part of
the log, and one anew on all of it. It writes RESULTS.json, a profile, and for each data set NAME.early.tar and
NAME.final.tar with vectors, tower and card: at most 8 files, each below 16 MiB.

`--speed` times training with other settings beside that, on the first data set: `--speed "larger: pairs_at_once=8192"`.
`padded` among the settings runs it with padding.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # as a script, this file's own folder comes first and hides the package of its name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from benchmarks.gpu_speed import Speed, matrix_rate, measure_steps
from benchmarks.gpu_travel import MOST_FILES, bring_back, package
from encoders.command import shown
from encoders.distributed import Ranks
from encoders.errors import EncoderError
from encoders.pair import train_pair
from encoders.report import Figures, TrainingReport, words_line
from encoders.sequences import read_sequences
from encoders.settings import with_settings
from encoders.train import EncoderConfig

CASES = ("amazon_beauty", "movielens_small", "mind_ctr_lite")
_PADDED = "padded"


def main(given: Sequence[str] | None = None) -> int:
    """Do what the options ask for; return 0, or 2 after a mistake told in one line."""
    options = _parser().parse_args(given)
    try:
        return _package(options) if options.package else _run(options)
    except EncoderError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _package(options: argparse.Namespace) -> int:
    if options.cases_of is None or options.judge is None:
        raise EncoderError("--package: wanted --cases-of and --judge too, the folders of the data sets and the judge")
    size = package(
        options.package, data=options.cases_of, judge=options.judge, cases=options.case, base=options.base or "auto"
    )
    print(f"{options.package}: {', '.join(options.case)} and the base in float16, {size / 2**20:.1f} MiB to send")
    return 0


def _run(options: argparse.Namespace) -> int:
    if not options.data or options.out is None:
        raise EncoderError("wanted --data and --out, or --package; see --help")
    most = (MOST_FILES - 2) // 2
    if len(options.data) > most:
        raise EncoderError(f"--data: wanted {most} folders at most, got {len(options.data)}; run it again")
    options.out.mkdir(parents=True, exist_ok=True)
    config = replace(EncoderConfig(), kind="transformer", base=options.base or "auto")
    config = with_settings(config, options.set)
    device = Ranks().device
    rate = matrix_rate(device)
    results: dict[str, Any] = {"machine": _machine(device), "matrix_tflops": rate / 1e12, "speed": [], "training": []}
    print(f"{results['machine']}: matrices at {rate / 1e12:.1f} TFLOP/s", flush=True)
    variants = [_variant(text, config) for text in options.speed]
    for number, folder in enumerate(options.data):
        data = read_sequences(folder)
        timed = [(folder.name, config, False), *(variants if number == 0 else [])] if options.steps else []
        for name, settings, padded in timed:
            table = options.out / "profile.txt" if not results["speed"] else None
            speed = measure_steps(
                name, settings, data, rate, steps=options.steps, warm_up=options.warm_up, padded=padded, profile=table
            )
            results["speed"].append(asdict(speed))
            print(_told(speed), flush=True)
            _write(options.out, results)
        if not options.no_training:
            results["training"].append(_trained(folder, config, options.out))
            _write(options.out, results)
    return 0


def _trained(folder: Path, config: EncoderConfig, out: Path) -> Any:
    """Train a pair on one folder, write what is to be brought back, and return what came of it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="readrank-gpu-") as scratch, shown(sys.stderr) as progress:
        reports = train_pair(folder, Path(scratch), config, progress=progress)
        brought = bring_back(Path(scratch), out, folder.name)
    report = reports[0]
    epochs = [epoch for trained in reports for epoch in trained.epochs]
    tokens, seconds = (sum(getattr(epoch, name) for epoch in epochs) for name in ("tokens", "training_s"))
    print(f"{folder.name}: {_figures(report)}", flush=True)
    return {
        "data": folder.name,
        "untuned": asdict(report.untuned) if report.untuned else None,
        "words": asdict(report.words) if report.words else None,
        "tuned": asdict(report.tuned) if report.tuned else None,
        "over_words": asdict(report.over_words) if report.over_words else None,
        "best_epoch": report.best_epoch,
        "epochs": [[asdict(epoch) for epoch in trained.epochs] for trained in reports],
        "tokens_a_second": tokens / max(seconds, 1e-9),
        "seconds": time.monotonic() - began,
        "brought": brought,
    }


def _figures(report: TrainingReport) -> str:
    def value(figures: Figures | None, name: str) -> str:
        found = getattr(figures, name) if figures else None
        return "-" if found is None else f"{found:.4f}"

    names = ("ndcg_at_10", "recall_at_10", "recall_at_50", "cold_recall_at_10")
    moved = [f"{name} {value(report.untuned, name)} -> {value(report.tuned, name)}" for name in names]
    if report.over_words:
        moved.append(words_line(report.over_words))
    return f"{', '.join(moved)}; epoch {report.best_epoch} of {len(report.epochs)} in {report.seconds:.0f} s"


def _told(speed: Speed) -> str:
    return (
        f"{speed.name}: {speed.step_ms:.1f} ms a step of {speed.texts_a_step:.0f} texts, "
        f"{speed.tokens_a_second:,.0f} tokens/s, "
        f"{'no padding' if speed.padding_free else f'{100 * speed.padding:.1f} % padding'}, "
        f"{speed.gflop_a_token * 1e3:.1f} MFLOP a token, {100 * speed.share_of_rate:.1f} % of the matrix rate "
        f"(encoder alone {100 * speed.encoder_share_of_rate:.1f} %), {speed.peak_gib:.1f} GiB"
    )


def _variant(text: str, config: EncoderConfig) -> tuple[str, EncoderConfig, bool]:
    """Read `NAME: SETTING=VALUE ... [padded]`."""
    name, _, changes = text.partition(":")
    words = changes.split()
    return name.strip(), with_settings(config, [word for word in words if word != _PADDED]), _PADDED in words


def _machine(device: torch.device) -> str:
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{chip}, torch {torch.__version__}, Python {platform.python_version()}"


def _write(out: Path, results: dict[str, Any]) -> None:
    (out / "RESULTS.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", help="training folders")
    parser.add_argument("--base", help="the transformer to tune: a folder (weights may be float16), or a name")
    parser.add_argument("--out", type=Path, help="folder for what is brought back")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="encoder settings")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed, and as many profiled; 0: none")
    parser.add_argument("--warm-up", type=int, default=10, help="steps before these")
    parser.add_argument(
        "--speed", action="append", default=[], metavar="'NAME: SETTING=VALUE ...'", help="time steps with these too"
    )
    parser.add_argument("--no-training", action="store_true", help="measure speed alone")
    parser.add_argument("--package", type=Path, metavar="DIR", help="write what must travel to the GPU machine")
    parser.add_argument("--cases-of", type=Path, metavar="DATA", help="with --package: the folder of data sets")
    parser.add_argument("--judge", type=Path, help="with --package: the judge's folder")
    parser.add_argument("--case", nargs="+", default=list(CASES), help="with --package: which cases")
    return parser


if __name__ == "__main__":
    sys.exit(main())
