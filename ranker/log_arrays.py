"""How do the store's frames become the arrays of a history? Kinds as codes, impressions as counters."""

import numpy as np
import numpy.typing as npt
import polars as pl

from encoders.kinds import NO_KINDS, Codes, Kinds
from ingest import columns as c
from ranker.catalogue import Catalogue
from ranker.counter import AsOfCounter


def kinds_of(interactions: pl.DataFrame) -> tuple[Kinds, Codes]:
    """Return the kinds of a log, and each event's code; frames without kinds have none."""
    if c.KIND not in interactions.columns:
        return NO_KINDS, np.zeros(len(interactions), np.uint8)
    named = interactions[c.KIND]
    kinds = Kinds.of_counts(named.drop_nulls().value_counts().iter_rows())
    return kinds, named.replace_strict(kinds.by_name, default=0, return_dtype=pl.UInt8).to_numpy()


def exposure_of(catalogue: Catalogue, impressions: pl.DataFrame | None) -> tuple[AsOfCounter, AsOfCounter]:
    """Return when each item was shown, and when it was clicked where it was shown."""
    if impressions is None or impressions.is_empty():
        empty = np.empty(0, np.int64)
        return AsOfCounter.from_events(empty, empty), AsOfCounter.from_events(empty, empty)
    items = catalogue.rows(impressions[c.ITEM_ID])
    known = items >= 0
    clicked = known & impressions[c.CLICKED_AT].is_not_null().to_numpy()

    def counted(moment: str, rows: npt.NDArray[np.bool_]) -> AsOfCounter:
        return AsOfCounter.from_events(items[rows], impressions[moment].filter(rows).dt.epoch("us").to_numpy())

    return counted(c.OCCURRED_AT, known), counted(c.CLICKED_AT, clicked)
