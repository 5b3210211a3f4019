"""Where was training when it was killed? One folder beside the model, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoders.report import Epoch
    from encoders.trainer import Trainer

_STATE = "state.pt"
_BEST = "best.pt"


class Checkpoint:
    """The last epoch's state and the best epoch's weights of one training, recognised by its settings."""

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        self.folder = folder
        self.key = json.dumps(key, sort_keys=True, default=str)

    def load(self, trainer: Trainer) -> dict[str, Any] | None:
        """Put the trainer where an earlier run of the same settings stood; None when there is none."""
        import torch

        from encoders.report import Epoch, Figures

        if not (self.folder / _STATE).is_file() or not (self.folder / _BEST).is_file():
            return None
        try:
            state = torch.load(self.folder / _STATE, map_location=trainer.device, weights_only=True)
        except Exception:  # a damaged checkpoint is none: training begins again
            return None
        if state["key"] != self.key:
            return None
        trainer.encoder.module.load_state_dict(state["encoder"])
        trainer.tower.load_state_dict(state["tower"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.steps = state["steps"]
        epochs = [
            Epoch(**{**row, "figures": Figures(**row["figures"]) if row["figures"] else None})
            for row in json.loads(state["epochs"])
        ]
        return {"epochs": epochs, "best": (state["best"][0], state["best"][1])}

    def save(self, trainer: Trainer, epochs: list[Epoch], best: tuple[float, int]) -> None:
        """Keep the state after an epoch."""
        from dataclasses import asdict

        self._write(
            _STATE,
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

    def keep_best(self, trainer: Trainer) -> None:
        """Keep the present weights as the best so far."""
        self._write(_BEST, {"encoder": trainer.encoder.module.state_dict(), "tower": trainer.tower.state_dict()})

    def take_best(self, trainer: Trainer) -> None:
        """Put the best weights into the trainer."""
        import torch

        best = torch.load(self.folder / _BEST, map_location=trainer.device, weights_only=True)
        trainer.encoder.module.load_state_dict(best["encoder"])
        trainer.tower.load_state_dict(best["tower"])

    def remove(self) -> None:
        """Training is done and its model written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f"{name}.{os.getpid()}"
        torch.save(content, fresh)
        fresh.replace(self.folder / name)
