"""Measure text interest alone: no LightGBM, no counts, only the user tower's dot product with item vectors.

    python benchmarks/encoders.py --data DIR --judge DIR [--case NAME ...] [--inner] [--set NAME=VALUE ...]
    python benchmarks/encoders.py --data DIR --judge DIR --ablations --markdown docs/encoders.md
    python benchmarks/encoders.py --data DIR --judge DIR --models MODELS

`--judge` holds `case.py`, `score.py` and `score_rank.py`; `--data` the data sets. With `--inner` each case is cut from
what was known before its cutoff, which is where settings are chosen; without it the figures are the final ones.

Tuned is what the product does: the epoch is chosen on the last tenth of the known log, then training begins anew on all
of it; seconds are the sum of both. It stands beside the untuned encoder, a TF-IDF profile of the same history, and the
sum of interest and profile. `--ablations` trains once more without each part that is in use and with each sort of hard
negatives that is not, `--variant` with other settings. `--models` measures ready-made encoders instead:
MODELS/<case>/final is a model folder, as `python -m encoders.train --pair` writes it.

Intervals are of 95 %, by bootstrap over queries; differences are paired.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the package of the same name
sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import tempfile
from typing import Any

from rich.console import Console

from benchmarks.encoder_parts.cases import CASES, prepare
from benchmarks.encoder_parts.judging import Judge, Judged
from benchmarks.encoder_parts.scoring import Past, answers
from benchmarks.encoder_parts.systems import PROFILE, TUNED, UNTUNED, WITH_WORDS, Systems, ablations, same_training
from benchmarks.encoder_parts.tables import markdown, put_into, rows_of, table
from encoders.errors import EncoderError
from encoders.settings import with_settings
from encoders.train import EncoderConfig

WORDS_SHARE = 0.3


def main() -> None:
    """Run the cases asked for and print a table each."""
    parser, given = _arguments()
    against = given.against or (TUNED if given.ablations else PROFILE)
    try:
        config = with_settings(EncoderConfig(), given.set)
        variants = (ablations(config) if given.ablations else {}) | dict(map(_variant, given.variant))
        settings = {name: with_settings(config, changes) for name, changes in variants.items()}
    except EncoderError as error:
        parser.error(str(error))
    names = [*_systems(given), *variants]
    if given.against and against not in names:
        parser.error(f"--against: wanted one of {', '.join(names)}, got {against!r}")
    rows: list[dict[str, Any]] = []
    for case in given.case:
        with tempfile.TemporaryDirectory(prefix="readrank-encoders-") as scratch:
            own = _run_case(case, given, {TUNED: config} | settings, names, against, Path(scratch))
        rows += own
        Console(width=150).print(table(case, own, inner=given.inner))
        if given.markdown:
            put_into(given.markdown, case, markdown(case, own, _command(case, given)))
        if given.out:
            given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _run_case(
    case: str,
    given: argparse.Namespace,
    settings: dict[str, EncoderConfig],
    names: list[str],
    against: str,
    scratch: Path,
) -> list[dict[str, Any]]:
    """Make and judge each system; the one that others are compared with comes first."""
    prepared = prepare(case, data=given.data, judge=given.judge, scratch=scratch, inner=given.inner)
    shown = prepared.asked.impressions is not None
    for name, own in settings.items():
        if name not in (TUNED, against) and same_training(own, settings[TUNED], shown=shown):
            print(f"{case}, {name}: not measured, the tuned system is that already")
            names = [other for other in names if other != name]
    systems = Systems(
        prepared, settings, scratch, refit=given.refit, models=given.models, words_share=given.words_share
    )
    judge, past = Judge(given.judge, prepared), Past(prepared.asked)
    rows: list[dict[str, Any]] = []
    other: tuple[str, Judged] | None = None
    for name in sorted(names, key=lambda name: name != against):
        system = systems.make(name)
        ours = judge.judge(answers(system.scorer, past, prepared))
        other = (name, ours) if name == against else other
        rows += rows_of(case, system, judge, ours, other, inner=given.inner)
        print(f"{case}, {name}: " + ", ".join(f"{figure} {line.value:.4f}" for figure, line in ours.lines.items()))
    return rows


def _systems(given: argparse.Namespace) -> list[str]:
    names = [] if given.no_baselines else [PROFILE] if given.models else [PROFILE, UNTUNED]
    return [*names, TUNED] if given.no_baselines else [*names, TUNED, WITH_WORDS]


def _variant(text: str) -> tuple[str, tuple[str, ...]]:
    """Read `NAME: SETTING=VALUE ...`."""
    name, _, changes = text.partition(":")
    return name.strip(), tuple(changes.split())


def _command(case: str, given: argparse.Namespace) -> str:
    """Return the command that makes this case's table again, without this machine's folders."""
    words = ["python benchmarks/encoders.py --data DATA --judge JUDGE", f"--case {case}"]
    words += ["--inner"] * given.inner + ["--ablations"] * given.ablations + ["--models MODELS"] * bool(given.models)
    words += ["--no-refit"] * (not given.refit) + ["--no-baselines"] * given.no_baselines
    words += [f"--against '{given.against}'"] * bool(given.against) + [f"--set {' '.join(given.set)}"] * bool(given.set)
    words += [f"--variant '{variant}'" for variant in given.variant]
    return " ".join(words + [f"--words-share {given.words_share}"] * (given.words_share != WORDS_SHARE))


def _arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--case", nargs="*", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--inner", action="store_true", help="cut each case from the known part of its log")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="encoder settings")
    parser.add_argument("--refit", action=argparse.BooleanOptionalAction, default=True, help="train on all at last")
    parser.add_argument("--no-baselines", action="store_true", help="measure the tuned encoder alone")
    parser.add_argument(
        "--ablations", action="store_true", help="train also without each part, and with each hard negative"
    )
    parser.add_argument(
        "--variant", action="append", default=[], metavar="'NAME: SETTING=VALUE ...'", help="train also with these"
    )
    parser.add_argument("--against", metavar="SYSTEM", help="print paired differences from this one")
    parser.add_argument("--models", type=Path, help="measure ready-made model folders, one a case, instead of training")
    parser.add_argument("--words-share", type=float, default=WORDS_SHARE, help="the profile's part in tuned + words")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--markdown", type=Path, help="write the tables into this page, between its marks")
    given = parser.parse_args()
    if given.models and (given.ablations or given.variant):
        parser.error("--models measures what is trained already, --ablations and --variant train: pass one of them")
    return parser, given


if __name__ == "__main__":
    main()
