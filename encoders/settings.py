"""Do an encoder's settings make sense, and how is one changed by its name?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from encoders.cuts import cut_dims
from encoders.errors import EncoderError
from ingest.bounds import check_bounds

if TYPE_CHECKING:
    from encoders.train import EncoderConfig


def check_settings(config: EncoderConfig) -> None:
    """Raise `EncoderError` for a value that there is no such thing as, with those that there are."""
    for name, hint in get_type_hints(type(config)).items():
        got, values = getattr(config, name), get_args(hint)
        if get_origin(hint) is Literal and got not in values:
            raise EncoderError(f"[encoder] {name}: wanted one of {', '.join(values)}, got {got!r}; change it")
    if config.kind == "static" and config.tuning == "lora":
        raise EncoderError("[encoder] tuning: lora is for kind = transformer, got kind = static; use full or none")
    try:
        check_bounds(config)
    except ValueError as error:
        raise EncoderError(f"[encoder] {error}; change it") from error
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
