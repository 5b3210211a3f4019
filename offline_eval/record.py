"""How does an evaluation enter the store? Two tables that analysts read: `evaluations` and `evaluation_metrics`."""

import json
from typing import Any

import polars as pl

from ingest.store import Store
from offline_eval.report import ReportFacts


def record(store: Store, facts: ReportFacts, rows: pl.DataFrame, settings: dict[str, Any]) -> list[str]:
    """Write one run for each protocol, as `<run_id>-<protocol>`, all or none; gives the run ids.

    `rows` has the columns of `compare.SCHEMA`.
    """
    runs = []
    with store.transaction() as connection:
        for protocol, counts in facts.counts.items():
            run_id = f"{facts.run_id}-{protocol}"
            runs.append(run_id)
            connection.execute(
                """
                INSERT INTO evaluations
                    (run_id, bundle_version, protocol, cutoff, n_queries, settings, started_at, finished_at)
                VALUES
                    ($run_id, $bundle_version, $protocol, $cutoff, $n_queries, $settings, $started_at, $finished_at)
                """,
                {
                    "run_id": run_id,
                    "bundle_version": facts.bundle_version,
                    "protocol": protocol,
                    "cutoff": facts.cutoff,
                    "n_queries": counts["queries"],
                    "settings": json.dumps({**settings, "counts": dict(counts)}, default=str),
                    "started_at": facts.started_at,
                    "finished_at": facts.finished_at,
                },
            )
            part = rows.filter(pl.col("protocol") == protocol).with_columns(run_id=pl.lit(run_id))
            connection.register("evaluated", part.to_arrow(compat_level=pl.CompatLevel.oldest()))
            connection.execute(
                """
                INSERT INTO evaluation_metrics (run_id, cutoff, segment, system, metric, k, value, low, high, n)
                SELECT run_id, cutoff, segment, system, metric, k, value, low, high, n
                FROM evaluated
                """
            )
            connection.unregister("evaluated")
    return runs
