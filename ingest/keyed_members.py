"""How does a JSON object come to hold pseudonyms in place of ids? Member by member; all others stay as written."""

import json
from collections.abc import Callable, Collection
from dataclasses import replace

import polars as pl

from ingest.json_members import Member, as_object, members, value_of
from ingest.values import as_id


def keyed_members(texts: pl.Series, names: Collection[str], users: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Write pseudonyms in place of the ids under these names; null and blank ones stay, as do other texts.

    >>> keyed_members(pl.Series(['{"a":1, "b":"x"}', '{"a":""}', None]), ["a"], lambda ids: ids + "!").to_list()
    ['{"a":"1!","b":"x"}', '{"a":""}', None]
    """
    objects = [None if text is None else members(text) for text in texts]
    ids = [value_of(member) for found in objects for member in found or () if member.name in names]
    pseudonyms = iter(users(as_id(pl.Series(ids, dtype=pl.String))))

    def keyed(member: Member) -> Member:
        pseudonym = next(pseudonyms) if member.name in names else None
        return member if pseudonym is None else replace(member, value=json.dumps(pseudonym))

    written = [
        text if found is None else as_object([keyed(member) for member in found])
        for text, found in zip(texts, objects, strict=True)
    ]
    return pl.Series(texts.name, written, dtype=pl.String)


def with_users(texts: pl.Series, names: Collection[str], user_ids: pl.Series) -> pl.Series:
    """Write users under the first of the names that has a value; null where there is no user, or no such name."""
    written = [
        None if text is None or user is None else _with_user(text, names, user)
        for text, user in zip(texts, user_ids, strict=True)
    ]
    return pl.Series(texts.name, written, dtype=pl.String)


def _with_user(text: str, names: Collection[str], user: str) -> str | None:
    found = members(text)
    if found is None:
        return None
    filled = {member.name for member in found if member.value != "null"}
    column = next((name for name in names if name in filled), None)
    if column is None:
        return None
    written = json.dumps(user)
    return as_object([replace(member, value=written) if member.name == column else member for member in found])
