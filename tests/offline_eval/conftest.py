from pathlib import Path

import polars as pl
import pytest

from ingest import columns as c
from offline_eval.simulate import Simulation, SimulationConfig, simulate

CLEAN = {"ill_formed_share": 0.0, "repeated_share": 0.0, "interactions_format": "parquet"}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(
        SimulationConfig(n_events=12_000, n_users=300, n_items=500, **CLEAN), tmp_path_factory.mktemp("shop")
    )


@pytest.fixture(scope="session")
def shop_items(shop: Simulation) -> pl.DataFrame:
    return items_frame(shop.items)


@pytest.fixture(scope="session")
def shop_log(shop: Simulation) -> pl.DataFrame:
    return pl.read_parquet(shop.interactions).drop(c.EVENT_ID).sort(c.OCCURRED_AT, maintain_order=True)


def items_frame(path: Path) -> pl.DataFrame:
    return (
        pl.read_ndjson(path)
        .with_columns(
            pl.col(c.PUBLISHED_AT).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ"),
            pl.lit("{}").alias(c.ATTRIBUTES),
            pl.lit(True).alias(c.AVAILABLE),
        )
        .drop("price")
        .sort(c.ITEM_ID)
    )
