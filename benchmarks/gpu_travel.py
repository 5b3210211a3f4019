"""What travels to a GPU machine and back? Training folders and a base in half precision; vectors and towers."""

import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from encoders.base import find_base
from encoders.card import JSON_CARD, READABLE_CARD
from encoders.errors import EncoderError
from encoders.interest import CONFIG, ITEM_VECTORS, TOWER
from encoders.pair import EARLY, FINAL

BASE = "base"
_MIB = 1 << 20
LARGEST_PACKAGE = 60 * _MIB
LARGEST_FILE = 16 * _MIB
MOST_FILES = 8


def package(out: Path, *, data: Path, judge: Path, cases: Iterable[str], base: str) -> int:
    """Write a folder a case, as training reads it, and `base/` in float16; return the bytes of all.

    Needs what the store needs (polars); what it writes needs none of it.
    """
    from benchmarks.encoder_parts.cases import prepare

    shutil.rmtree(out, ignore_errors=True)
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="readrank-package-") as scratch:
            shutil.copytree(prepare(case, data=data, judge=judge, scratch=Path(scratch)).training, out / case)
    found = find_base(base)
    if found.folder is None:
        raise EncoderError(f"--base {base}: wanted a transformer to send, found none; name a folder")
    _halved(found.folder, out / BASE)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > LARGEST_PACKAGE:
        raise EncoderError(
            f"{out}: wanted {LARGEST_PACKAGE // _MIB} MiB at most to send, got {size / _MIB:.0f}; name fewer cases"
        )
    return size


def bring_back(pair: Path, out: Path, name: str) -> list[str]:
    """Write `NAME.early.tar` and `NAME.final.tar`; return their names.

    Each holds a model folder, NAME/early or NAME/final, without its transformer but with the vectors of the catalogue.
    Unpacked into MODELS they are what `readrank train --encoders MODELS/NAME` and the benchmarks' `--models` read.
    """
    made = []
    for half in (EARLY, FINAL):
        path = out / f"{name}.{half}.tar"
        with tarfile.open(path, "w") as tar:
            for file in (CONFIG, TOWER, JSON_CARD, READABLE_CARD, ITEM_VECTORS):
                tar.add(pair / half / file, arcname=f"{name}/{half}/{file}")
        if path.stat().st_size > LARGEST_FILE:
            raise EncoderError(
                f"{path}: wanted {LARGEST_FILE // _MIB} MiB at most to bring back, got "
                f"{path.stat().st_size / _MIB:.0f}; bring back a smaller catalogue"
            )
        made.append(path.name)
    return made


def _halved(folder: Path, out: Path) -> None:
    """Copy a model folder with its weights in float16 and nothing that is only read by people or other libraries."""
    from safetensors.torch import load_file, save_file

    wanted = [path for path in folder.rglob("*") if path.is_file() and path.suffix in {".json", ".txt", ".model"}]
    weights = list(folder.rglob("*.safetensors"))
    if not weights:
        raise EncoderError(f"{folder}: wanted weights as safetensors, found none; save the base so")
    for path in wanted:
        place = out / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    for path in weights:
        halved = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
        save_file(halved, out / path.relative_to(folder), metadata={"format": "pt"})
