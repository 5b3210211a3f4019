import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ranker.catalogue import Catalogue
from ranker.history import History

DAY = 86_400_000_000


def log(*rows: tuple[str, str, int], weight: float = 1.0) -> pl.DataFrame:
    """Interactions of (user, item, day); the order of rows is the order of the log."""
    return pl.DataFrame(
        [(user, item, day * DAY, weight) for user, item, day in rows],
        schema={c.USER_ID: pl.String, c.ITEM_ID: pl.String, c.OCCURRED_AT: pl.Int64, c.WEIGHT: pl.Float64},
        orient="row",
    ).with_columns(pl.col(c.OCCURRED_AT).cast(pl.Datetime("us")))


def catalogue(*item_ids: str) -> Catalogue:
    items = pl.DataFrame({c.ITEM_ID: item_ids, c.AVAILABLE: [True] * len(item_ids)})
    return Catalogue.from_store(items, log())


@pytest.fixture
def small() -> tuple[Catalogue, History]:
    """Three items; ann takes a on day 1, b on day 2, a on day 3; bob takes a on day 2."""
    items = catalogue("a", "b", "z")
    return items, History.from_frames(items, log(("ann", "a", 1), ("ann", "b", 2), ("ann", "a", 3), ("bob", "a", 2)))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
