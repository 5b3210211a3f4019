"""Which logs does the ingest benchmark read? The simulator's, made once for a work folder."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ingest_worker import in_fresh_process
from offline_eval.shop_files import Format

BLOCK_BYTES = 1 << 24
MARGIN = 1.02
"""Events asked for, for each line wanted: the simulator writes about as many as it is asked for."""


@dataclass(frozen=True)
class GrowingLog:
    """One log, cut by lines as it would have grown: its beginnings, and what comes after the longest of them."""

    beginnings: dict[int, Path]
    """Number of lines -> the first so many lines."""
    later: list[Path]
    """The pieces that follow the longest beginning, one after another."""


def one_log(work: Path, n_events: int, form: Format = "jsonl", *, clean: bool = False) -> Path:
    """Return a log of about `n_events` interactions; a clean one has no ill-formed rows."""
    folder = work / f"{form}-{n_events}{'-clean' if clean else ''}"
    if not folder.exists():
        share = {"ill_formed_share": 0.0} if clean else {}
        _simulate(folder, n_events=n_events, interactions_format=form, **share)
    return folder / f"interactions.{form}"


def growing_log(work: Path, lengths: Iterable[int], *, piece: int, n_pieces: int) -> GrowingLog:
    """Simulate one log of JSON lines and cut it; ids and times go on from piece to piece, as in a log that grows.

    The longest beginning is the simulated file itself, cut short, so that it is never on the disk twice.
    """
    longest, *shorter = sorted(set(lengths), reverse=True)
    folder = work / f"growing-{longest}+{n_pieces}x{piece}"
    log = folder / "interactions.jsonl"
    later = [folder / f"later-{number}.jsonl" for number in range(1, n_pieces + 1)]
    if not folder.exists():
        unfinished = folder.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        _simulate(unfinished, n_events=int((longest + n_pieces * piece) * MARGIN))
        whole = unfinished / log.name
        ends = _ends_of_lines(whole, [longest + number * piece for number in range(n_pieces + 1)])
        for path, start, end in zip(later, ends, ends[1:], strict=False):
            _copy_part(whole, unfinished / path.name, start, end)
        os.truncate(whole, ends[0])
        unfinished.rename(folder)
    beginnings = {longest: log} | {n: folder / f"first-{n}.jsonl" for n in shorter}
    for n in shorter:
        if not beginnings[n].exists():
            _copy_part(log, beginnings[n], 0, _ends_of_lines(log, [n])[0])
    return GrowingLog(beginnings, later)


def warm(path: Path) -> None:
    """Read a file once, so that it lies in the page cache, as far as it fits."""
    with path.open("rb") as file:
        while file.read(BLOCK_BYTES):
            pass


def _simulate(folder: Path, **config: Any) -> None:
    """Simulate in a process of its own, and keep the interactions alone."""
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    in_fresh_process("simulate", folder=str(unfinished), **config)
    for path in [*unfinished.glob("impressions.*"), *unfinished.glob("items.*")]:
        path.unlink()
    shutil.rmtree(unfinished / "truth")
    unfinished.rename(folder)


def _ends_of_lines(path: Path, numbers: list[int]) -> list[int]:
    """Return the offset after each line number given, in one pass; numbers rise."""
    ends: list[int] = []
    n_lines = offset = 0
    with path.open("rb") as file:
        while len(ends) < len(numbers) and (block := file.read(BLOCK_BYTES)):
            n_here = block.count(b"\n")
            while len(ends) < len(numbers) and numbers[len(ends)] <= n_lines + n_here:
                ends.append(offset + _after_line(block, numbers[len(ends)] - n_lines))
            n_lines += n_here
            offset += len(block)
    if len(ends) < len(numbers):
        raise ValueError(f"{path}: wanted {numbers[-1]:,} lines, got {n_lines:,}; raise MARGIN")
    return ends


def _after_line(block: bytes, number: int) -> int:
    at = 0
    for _ in range(number):
        at = block.index(b"\n", at) + 1
    return at


def _copy_part(source: Path, target: Path, start: int, end: int) -> None:
    unfinished = target.with_suffix(".part")
    with source.open("rb") as read, unfinished.open("wb") as written:
        read.seek(start)
        left = end - start
        while left and (block := read.read(min(BLOCK_BYTES, left))):
            written.write(block)
            left -= len(block)
    unfinished.rename(target)
