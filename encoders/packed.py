"""How are texts of unequal length run without padding? End to end in one row, each attending to itself alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

ATTENTION: Final = "readrank_packed"
"""Name under which transformers finds our attention."""
_ROUND: Final = 32


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Texts end to end."""

    ids: Tensor
    """Token ids [tokens]."""
    text: Tensor
    """The text of each token [tokens]."""
    place: Tensor
    """Where each token stands in its text [tokens]."""
    bounds: Tensor
    """Where texts begin and end, int32 [texts + 1]."""
    longest: int


def pack(tokens: Tensor, starts: Tensor, lengths: Tensor, *, total: int, longest: int) -> Packed:
    """Cut texts out of the flat `tokens` of a catalogue; the numbers are given so that no GPU need be waited for."""
    device = tokens.device
    bounds = torch.zeros(len(lengths) + 1, dtype=torch.int64, device=device)
    torch.cumsum(lengths, 0, out=bounds[1:])
    text = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths, output_size=total)
    place = torch.arange(total, device=device) - bounds[text]
    return Packed(
        ids=tokens[starts[text] + place].long(),
        text=text,
        place=place,
        bounds=bounds.int(),
        # a multiple, so that kernels compiled for one number serve for many
        longest=-(-longest // _ROUND) * _ROUND,
    )


def run_packed(model: Any, packed: Packed) -> Tensor:
    """Return what a sentence-transformers model makes of each text [texts, width], not yet of unit length.

    Everything but attention and pooling sees each token alone, so nothing is spent on padding. Raises when the model's
    attention is of a sort that texts end to end do not fit.
    """
    transformer = model[0].model
    with _own_attention(transformer.config):
        out = transformer(
            input_ids=packed.ids[None],
            position_ids=packed.place[None] + _first_position(transformer),
            cu_seq_lens_q=packed.bounds,
            cu_seq_lens_k=packed.bounds,
            max_length_q=packed.longest,
            max_length_k=packed.longest,
            return_dict=True,
        )
    # in float32: of a text's tokens a mean is taken
    features = {
        "token_embeddings": out.last_hidden_state.float(),
        "cu_seq_lens_q": packed.bounds,
        "seq_idx": packed.text[None],
    }
    for module in list(model)[1:]:
        features = module(features)
    found: Tensor = features["sentence_embedding"]
    return found


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each text: FlashAttention's form for unequal lengths on a GPU, jagged tensors elsewhere.

    `query`, `key`, `value` are [1, heads, tokens, size]; returns [1, tokens, heads, size].
    """
    if query.shape[1] != key.shape[1] or kwargs.get("sliding_window") or kwargs.get("position_bias") is not None:
        raise NotImplementedError(f"{type(module).__name__}: windows, biases and shared keys do not fit packed texts")
    causal = bool(getattr(module, "is_causal", False))
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    if q.is_cuda:
        bounds, longest = cu_seq_lens_q, max_length_q
        out = torch.ops.aten._flash_attention_forward(
            q, k, v, bounds, bounds, longest, longest, dropout, causal, False, scale=scaling
        )[0]
        return out[None], None

    def jagged(states: Tensor) -> Tensor:
        nested = torch.nested.nested_tensor_from_jagged(states, cu_seq_lens_q.long(), max_seqlen=max_length_q)
        return nested.transpose(1, 2)

    mixed = functional.scaled_dot_product_attention(
        jagged(q), jagged(k), jagged(v), dropout_p=dropout, is_causal=causal, scale=scaling
    )
    return mixed.transpose(1, 2).values()[None], None


@contextmanager
def _own_attention(config: Any) -> Iterator[None]:
    """Let the model use our attention for one call: what is saved and served keeps its own."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def _first_position(model: Any) -> int:
    """Return the position of a text's first token: RoBERTa and its kin count from behind the padding's index."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), torch.nn.Embedding):
            return padding + 1
    return 0
