"""What do the catalogue's other columns say of its items? Numbers, such as a price, and values, such as brands."""

import json
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest import columns as c
from ranker.catalogue import Catalogue
from ranker.facets import folded


def numbers(catalogue: Catalogue, name: str) -> npt.NDArray[np.float64]:
    """Return an attribute as a number for each item [n_items]; NaN where it is missing or no finite number.

    A number written as text counts, blanks around it or not: attributes of a CSV file are all text.
    """
    told = _attribute(catalogue, name).str.strip_chars().cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(told), told, np.nan)


def values(catalogue: Catalogue, name: str) -> list[list[str]]:
    """Return the values that each item has of an attribute, each once: one, several from a JSON array, or none.

    They are folded: "Acme" and "acme " are one brand, as they are one facet.
    """
    return [_listed(text or "") for text in _attribute(catalogue, name).to_list()]


def _attribute(catalogue: Catalogue, name: str) -> pl.Series:
    return catalogue.items[c.ATTRIBUTES].str.json_path_match(f"$[{json.dumps(name, ensure_ascii=False)}]")


def _listed(text: str) -> list[str]:
    members: list[object] = [text]
    if text.startswith("["):
        with suppress(ValueError):  # a text that only looks like an array
            members = json.loads(text)
    named = (folded(str(member)) for member in members if member is not None)
    return [value for value in dict.fromkeys(named) if value]
