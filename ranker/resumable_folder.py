"""Where do encoders learn, so that a killed training goes on where it was? Where the same log finds it again."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import encoders
from encoders.checkpoint import folder_fingerprint
from ingest.held import held
from ingest.leftovers import clear_trainings
from ingest.workspace import Workspace
from ranker.bundle import library_versions

log = logging.getLogger(__name__)

_LIBRARIES: Final = ("numpy", "torch", "tokenizers", "transformers", "sentence-transformers", "peft")


@contextmanager
def resumable_folder(workspace: Workspace, data: Path, scratch: Path) -> Iterator[Path]:
    """Give the folder where encoders that learn from the training folder `data` keep their checkpoints.

    It outlives a block that fails and a process that is killed, and is gone after one that ends well. Its name follows
    from data, libraries and the code of the encoders; whether the settings are the same as well, the checkpoints
    in it know (`encoders.checkpoint`). They hold no user ids. What trainings of other data have left goes, unless they
    live. While another process trains on the same data, this is `scratch`.
    """
    folder = workspace.training_path / _fingerprint(data)
    folder.parent.mkdir(exist_ok=True)
    with held(folder) as mine:
        if not mine:
            log.info("another process trains on the same data: what this one learns is not kept when it is killed")
            yield scratch
            return
        clear_trainings(workspace, but=folder)
        if folder.exists():
            log.info("going on where a training was broken off folder=%s", folder)
        folder.mkdir(exist_ok=True)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def keep_logs(learned: Path, out: Path) -> None:
    """Copy what encoders in the folder `learned` have written for TensorBoard, a folder each, where they have."""
    for logs in learned.glob("*.tensorboard"):
        shutil.copytree(logs, out / logs.stem)


def _fingerprint(data: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([folder_fingerprint(data), library_versions(_LIBRARIES)], sort_keys=True).encode())
    for source in sorted(Path(encoders.__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()
