"""How does `readrank.toml` become typed configs, and how do configs become a commented file?"""

import ast
import dataclasses
import inspect
import textwrap
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ingest.errors import SettingsError

T = TypeVar("T")

GATHERS_REST = {"gathers_rest": True}
"""Field metadata: keys of the section that no other field names are gathered in this `dict` field."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, with or without a byte order mark; SettingsError says where it stops being TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: wanted TOML, got a syntax error: {error}; mend that line") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: wanted UTF-8 text, got other bytes at offset {error.start}; save it as UTF-8"
        ) from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; mend that or name another workspace") from error


def read_section(cls: type[T], values: object, *, where: str) -> T:
    """Build the config `cls` from one table of a settings file; absent keys keep their defaults.

    `where` opens every message, such as `readrank.toml: [kinds]`.
    """
    if not isinstance(values, dict):
        raise SettingsError(f"{where}: wanted a table of settings, got {_shown(values)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    rest = next((name for name, field in fields.items() if field.metadata == GATHERS_REST), None)
    given: dict[str, Any] = {}
    gathered: dict[str, Any] = {}
    for key, value in values.items():
        if key in fields and key != rest:
            given[key] = _typed(hints[key], value, where=f"{where} {key}")
        elif rest is not None:
            gathered[key] = _typed(get_args(hints[rest])[1], value, where=f"{where} {key}")
        else:
            raise SettingsError(f"{where}: nothing reads the key '{key}'; allowed are {', '.join(sorted(fields))}")
    if rest is not None:
        # Keys given are merged over the defaults, so that one new kind does not forget the others.
        given[rest] = {**_default(fields[rest]), **gathered}
    try:
        return cls(**given)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{where}: {error}") from error


def commented_toml(sections: Mapping[str, type]) -> str:
    """Write every field of every section with its default, its docstring as comment above it.

    A field whose default is None is written commented out: TOML has no null, and absence means the same.
    """
    blocks = []
    for name, cls in sections.items():
        lines = [*_comment(inspect.getdoc(cls)), f"[{name}]"]
        docs = _field_docs(cls)
        for field in dataclasses.fields(cls):
            default = _default(field)
            lines += _comment(docs.get(field.name))
            if field.metadata == GATHERS_REST:
                lines += [f"{_key(key)} = {_toml(value)}" for key, value in default.items()]
            elif default is None or default is dataclasses.MISSING:
                lines.append(f"# {field.name} =")
            else:
                lines.append(f"{field.name} = {_toml(default)}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _typed(hint: Any, value: Any, *, where: str) -> Any:
    """Check `value` against the type `hint` and turn TOML arrays into tuples; SettingsError otherwise."""
    origin, args = get_origin(hint), get_args(hint)
    accepted: Any = None
    if origin in (Union, types.UnionType):
        accepted = _first_fitting(args, value, where)
    elif origin is Literal:
        accepted = value if value in args else None
    elif origin in (tuple, list, frozenset) and isinstance(value, list):
        accepted = origin(_typed(args[0], member, where=where) for member in value)
    elif origin is dict and isinstance(value, dict):
        accepted = {key: _typed(args[1], member, where=f"{where}.{key}") for key, member in value.items()}
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        accepted = float(value)
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        accepted = value
    elif hint is Path and isinstance(value, str):
        accepted = Path(value)
    elif hint in (bool, str) and isinstance(value, hint):
        accepted = value
    if accepted is None:
        raise SettingsError(f"{where}: wanted {_described(hint)}, got {_shown(value)}")
    return accepted


def _first_fitting(options: tuple[Any, ...], value: Any, where: str) -> Any:
    for option in options:
        if option is types.NoneType:
            continue
        try:
            return _typed(option, value, where=where)
        except SettingsError:
            continue
    return None


def _described(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(option) for option in args if option is not types.NoneType)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in args)
    if origin in (tuple, list, frozenset):
        return f"an array, each member {_described(args[0])}"
    if origin is dict:
        return f"a table, each value {_described(args[1])}"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a string", Path: "a path"}
    return names.get(hint, str(hint))


def _shown(value: object) -> str:
    return textwrap.shorten(repr(value), 60, placeholder="...")


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _field_docs(cls: type) -> dict[str, str]:
    """Read the docstring line under each field from the source; parents first, so that children override."""
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, follower in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(follower, ast.Expr)
                and isinstance(follower.value, ast.Constant)
                and isinstance(follower.value.value, str)
            ):
                docs[statement.target.id] = inspect.cleandoc(follower.value.value)
    return docs


def _comment(text: str | None) -> list[str]:
    if not text:
        return []
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 110)]


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list | frozenset):
        members = sorted(value) if isinstance(value, frozenset) else value
        return "[" + ", ".join(_toml(member) for member in members) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(member)}" for key, member in value.items()) + " }"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
