"""Do an encoder's settings make sense, and how is one changed by its name?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from encoders.cuts import cut_dims
from encoders.errors import EncoderError
from ingest.bounds import MOST_SEED

if TYPE_CHECKING:
    from encoders.train import EncoderConfig


_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("texts_at_once", "warmup_steps", "continue_epochs", "negatives", "least_steps"), (0, math.inf)),
    **dict.fromkeys(("hard_negatives", "skipped_negatives", "validation_queries", "layers"), (0, math.inf)),
    **dict.fromkeys(("max_minutes", "recent_half"), (0, math.inf)),
    **dict.fromkeys(("lora_rank", "max_tokens", "pairs_at_once", "pairs_per_epoch", "history"), (1, math.inf)),
    **dict.fromkeys(("dim", "width", "heads", "patience"), (1, math.inf)),
    **dict.fromkeys(("own_direction", "cold_share", "popularity_correction"), (0, 1)),
    **dict.fromkeys(("negatives_power", "impressions_share", "learning_rate"), (0, 10)),
    **dict.fromkeys(("transformer_rate", "embedding_rate"), (0, 10)),
    **dict.fromkeys(("dropout", "token_dropout"), (0, 0.9)),
    "epochs": (-1, math.inf),
    "newcomer_cost": (-1, 1),
    "threads": (0, math.inf),
    "seed": (0, MOST_SEED),
}
"""Least and most of the numbers; what is no number lies in no bounds."""


def check_settings(config: EncoderConfig) -> None:
    """Raise `EncoderError` for a value that there is no such thing as, with those that there are."""
    for name, hint in get_type_hints(type(config)).items():
        got, values = getattr(config, name), get_args(hint)
        if get_origin(hint) is Literal and got not in values:
            raise EncoderError(f"[encoder] {name}: wanted one of {', '.join(values)}, got {got!r}; change it")
    if config.kind == "static" and config.tuning == "lora":
        raise EncoderError("[encoder] tuning: lora is for kind = transformer, got kind = static; use full or none")
    for name, (least, most) in _BOUNDS.items():
        got = getattr(config, name)
        if not least <= got <= most or math.isinf(got):
            wanted = f"{least} to {most}" if most < math.inf else f"{least} or more"
            raise EncoderError(f"[encoder] {name}: wanted {wanted}, got {got}; change it")
    lengths = cut_dims(config.cut_dims, config.dim if config.kind == "static" else None)
    if config.serve_dim and config.serve_dim not in lengths:
        raise EncoderError(
            f"[encoder] serve_dim: wanted one of cut_dims = {config.cut_dims!r}, got {config.serve_dim}; add it there"
        )
    if config.width % config.heads:
        raise EncoderError(
            f"[encoder] width: wanted a multiple of heads = {config.heads}, got {config.width}; change one"
        )


def with_settings(config: EncoderConfig, changes: Sequence[str]) -> EncoderConfig:
    """Return the settings with `NAME=VALUE` changes; an unknown name or a value of another type raises.

    >>> from encoders.train import EncoderConfig
    >>> with_settings(EncoderConfig(), ["epochs=3", "learning_rate=2e-3", "tensorboard=true"]).epochs
    3
    """
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    made: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or name not in known:
            raise EncoderError(f"--set: wanted NAME=VALUE with one of {', '.join(known)}, got {change!r}")
        made[name] = _as(name, value, known[name])
    return replace(config, **made)


def _as(name: str, value: str, like: Any) -> Any:
    if isinstance(like, bool):
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
    else:
        try:
            return type(like)(value)
        except ValueError:
            pass
    raise EncoderError(f"--set {name}: wanted {type(like).__name__} such as {str(like).lower()}, got {value!r}")
