"""Where was training when it was killed, or is it done? One folder beside the model, never half written."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.errors import ModelFolderError
from ingest.file_digests import add_file

if TYPE_CHECKING:
    from encoders.report import Epoch, TrainingReport
    from encoders.sequences import Sequences
    from encoders.trainer import Trainer

log = logging.getLogger(__name__)

_STATE = "state.pt"
_FINISHED = "finished.json"


class Checkpoint:
    """The last epoch's state and the best epoch's weights of one training, recognised by its settings and data.

    `state.pt` is renamed into place last and names the best epoch, whose weights lie in a file of that number: at
    whatever instant a process is killed, the state that is there has its weights.
    """

    def __init__(self, out: Path, key: dict[str, Any]) -> None:
        """Look beside the model folder `out`; `key` is what makes a training another one."""
        self.out = out
        self.folder = checkpoint_folder(out)
        self.key = json.dumps(key, sort_keys=True, default=str)

    def load(self, trainer: Trainer) -> dict[str, Any] | None:
        """Put the trainer where an earlier run of the same settings and data stood; None when there is none."""
        import torch

        from encoders.report import Epoch

        if not (self.folder / _STATE).is_file():
            return None
        try:
            state = torch.load(self.folder / _STATE, map_location=trainer.device, weights_only=True)
            if state["key"] != self.key:
                log.warning("checkpoint of other settings or data: training begins anew folder=%s", self.folder)
                return None
            torch.load(self._best(state["best"][1]), map_location="cpu", weights_only=True)  # raises if it is damaged
            epochs = [Epoch.read(row) for row in json.loads(state["epochs"])]
        except Exception:  # a damaged checkpoint is none: training begins again
            log.warning("checkpoint cannot be read: training begins anew folder=%s", self.folder)
            return None
        trainer.encoder.module.load_state_dict(state["encoder"])
        trainer.tower.load_state_dict(state["tower"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.steps = state["steps"]
        return {"epochs": epochs, "best": (state["best"][0], state["best"][1])}

    def save(self, trainer: Trainer, epochs: list[Epoch], best: tuple[float, int]) -> None:
        """Keep the state after an epoch; weights that are no longer the best go."""
        from dataclasses import asdict

        self._write(
            self.folder / _STATE,
            {
                "key": self.key,
                "encoder": trainer.encoder.module.state_dict(),
                "tower": trainer.tower.state_dict(),
                "optimizer": trainer.optimizer.state_dict(),
                "steps": trainer.steps,
                "epochs": json.dumps([asdict(epoch) for epoch in epochs]),
                "best": list(best),
            },
        )
        for path in self.folder.iterdir():
            if path not in (self.folder / _STATE, self._best(best[1])):
                path.unlink()

    def keep_best(self, trainer: Trainer, epoch: int) -> None:
        """Keep the present weights as those of the best epoch so far; 0 is before the first."""
        held = {"encoder": trainer.encoder.module.state_dict(), "tower": trainer.tower.state_dict()}
        self._write(self._best(epoch), held)

    def take_best(self, trainer: Trainer, epoch: int) -> None:
        """Put the best epoch's weights into the trainer."""
        import torch

        best = torch.load(self._best(epoch), map_location=trainer.device, weights_only=True)
        trainer.encoder.module.load_state_dict(best["encoder"])
        trainer.tower.load_state_dict(best["tower"])

    def mark_finished(self, settings: dict[str, Any]) -> None:
        """Training is done and its model written: leave a mark of it, and nothing else.

        `settings` are all of the training's, also those that a killed one may be resumed without.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f"{_FINISHED}.{os.getpid()}"
        fresh.write_text(self._mark(settings), encoding="utf-8")
        fresh.replace(self.folder / _FINISHED)
        for path in self.folder.iterdir():
            if path.name != _FINISHED:
                path.unlink()

    def report_of_finished(self, settings: dict[str, Any]) -> TrainingReport | None:
        """Return the report of a training of the same settings and data that has left its mark and a whole model."""
        from encoders.card import read_report
        from encoders.interest import InterestModel

        try:
            if (self.folder / _FINISHED).read_text(encoding="utf-8") != self._mark(settings):
                return None
            InterestModel.load(self.out)
            return read_report(self.out)
        except (OSError, ValueError, ModelFolderError):
            return None

    def _mark(self, settings: dict[str, Any]) -> str:
        return json.dumps([self.key, settings], sort_keys=True, default=str)

    def remove(self) -> None:
        """Forget where training was."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.pt"

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        torch.save(content, fresh)
        fresh.replace(path)


def forget_mark(out: Path) -> None:
    """Remove what a finished training has left beside the model folder `out`."""
    shutil.rmtree(checkpoint_folder(out), ignore_errors=True)


def checkpoint_folder(out: Path) -> Path:
    """Return where a training that writes the model folder `out` keeps its checkpoint."""
    return out.with_name(out.name + ".training")


def fingerprint(data: Sequences) -> str:
    """Return a digest of all that a training reads of its data."""
    digest = hashlib.blake2b(digest_size=16)
    for text in data.texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    shown = data.shown
    for name in data.kinds.names:
        digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
    arrays = (data.starts, data.items, data.weights, data.times, data.codes)
    for array in (*arrays, shown.users, shown.times, shown.starts, shown.items, shown.clicked_at):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def folder_fingerprint(folder: Path | None) -> str:
    """Return a digest of a model folder's files; nothing for no folder."""
    digest = hashlib.blake2b(digest_size=16)
    if folder is None:
        return ""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        add_file(digest, path)
    return digest.hexdigest()
