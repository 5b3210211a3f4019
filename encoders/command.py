"""What does `python -m encoders.train` take, and what does it show? Options to settings, and a bar or plain lines."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn, TextIO

from encoders.errors import DivergedError, EncoderError, OutOfMemoryError
from encoders.report import TrainingReport, report_lines
from encoders.settings import with_settings
from encoders.train import EncoderConfig, train
from ingest.errors import ReadrankError
from ingest.progress import Progress, bars, silent
from ingest.typed_moment import typed_moment

_EVERY_S = 20.0
"""How often a plain line says how far an epoch is."""


def main(given: Sequence[str] | None = None) -> int:
    """Train as the options say; print untuned -> tuned figures; return 0, or 2 after a mistake told in one line."""
    options = _parser().parse_args(given)
    first = os.environ.get("RANK", "0") == "0"
    try:
        config = with_settings(EncoderConfig(), [*_short_forms(options), *options.set])
        with shown(sys.stderr) if first else nullcontext(silent) as progress:
            report = _pair(options, config, progress) if options.pair else _single(options, config, progress)
    except ReadrankError as error:
        if first or isinstance(
            error, OutOfMemoryError | DivergedError
        ):  # all processes make the same mistakes but for this one
            sys.stderr.write(f"{error}\n")
        return 2
    if first:
        sys.stdout.writelines(f"{line}\n" for line in report_lines(report))
    return 0


def leave(status: int) -> NoReturn:
    """End the process; one of several under torchrun without the interpreter's own end.

    Threads of Gloo may outlive their process group and still hold Python objects. If one lets go of them while the
    interpreter shuts down, it ends the process with SIGABRT, and torchrun takes a training whose model is written for a
    failed one. What an interpreter does at its end, such as flushing, is done here.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        sys.exit(status)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _single(options: argparse.Namespace, config: EncoderConfig, progress: Progress) -> TrainingReport:
    return train(
        options.data,
        options.out,
        config,
        fit_before=typed_moment("--fit-before", options.fit_before),
        validate_from=typed_moment("--validate-from", options.validate_from),
        init_from=options.init_from,
        repeat_of=options.repeat_of,
        epochs=options.epochs,
        progress=progress,
        resume=not options.no_resume,
    )


def _pair(options: argparse.Namespace, config: EncoderConfig, progress: Progress) -> TrainingReport:
    from encoders.pair import train_pair

    wrong = [name for name in ("init_from", "repeat_of", "fit_before", "epochs") if getattr(options, name) is not None]
    if wrong:
        raise EncoderError(f"--pair: wanted no --{wrong[0].replace('_', '-')} beside it; leave one of them away")
    validate_from = typed_moment("--validate-from", options.validate_from)
    resume = not options.no_resume
    early, _ = train_pair(
        options.data, options.out, config, validate_from=validate_from, progress=progress, resume=resume
    )
    return early


@contextmanager
def shown(stream: TextIO) -> Iterator[Progress]:
    """Show progress as a bar where the stream is a terminal, else as lines: each epoch, and now and then within one."""
    try:
        from rich.progress import MofNCompleteColumn
    except ImportError:
        yield _lines(stream)
        return
    if not stream.isatty():
        yield _lines(stream)
        return
    with bars(stream, MofNCompleteColumn()) as progress:
        yield progress


def _lines(stream: TextIO) -> Progress:
    told = time.monotonic()

    def show(step: str, done: int, total: int | None = None, note: str = "") -> None:
        nonlocal told
        if step != "tune encoder" and time.monotonic() - told < _EVERY_S:
            return
        told = time.monotonic()
        stream.write(f"{step} {done} of {total} {note}".rstrip() + "\n")
        stream.flush()

    return show


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m encoders.train",
        description="Tune encoder and user tower on a training folder. On several GPUs: "
        "torchrun --nproc_per_node=N -m encoders.train DATA OUT",
    )
    parser.add_argument("data", type=Path, help="training folder, as `readrank export-training` writes it")
    parser.add_argument("out", type=Path, help="model folder to write")
    parser.add_argument("--kind", help="static or transformer")
    parser.add_argument("--base", help="auto, catalogue, a folder, an installed model package or a Hub id")
    parser.add_argument("--tuning", help="of the text: full, none (the user tower alone) or, of a transformer, lora")
    parser.add_argument("--epochs", type=int, help="most epochs")
    parser.add_argument(
        "--pair", action="store_true", help="write OUT/early and OUT/final, for `readrank train --encoders OUT`"
    )
    parser.add_argument("--init-from", type=Path, metavar="MODEL", help="continue an earlier model folder")
    parser.add_argument("--repeat-of", type=Path, metavar="MODEL", help="train it anew, on all of the log")
    parser.add_argument("--fit-before", metavar="TIME", help="read nothing from this moment on (UTC)")
    parser.add_argument("--validate-from", metavar="TIME", help="hold out what was taken from this moment on (UTC)")
    parser.add_argument("--no-resume", action="store_true", help="begin anew, also where a killed run left its state")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="any setting of [encoder]"
    )
    return parser


def _short_forms(options: argparse.Namespace) -> list[str]:
    given = {name: getattr(options, name) for name in ("kind", "base", "tuning")}
    return [f"{name}={value}" for name, value in given.items() if value is not None]
