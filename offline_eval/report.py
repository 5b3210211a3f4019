"""What does a person read after an evaluation? One self-contained HTML page with plots, and the same as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from offline_eval.compare import SEGMENTS, is_difference
from offline_eval.windows import ASKS

PLOTTED = {"cold items": "recall", "shown requests": "auc"}
"""The metric that is drawn for a segment; NDCG for all others."""


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """What was evaluated."""

    run_id: str
    cutoff: datetime
    bundle_version: str
    counts: Mapping[str, Mapping[str, int]]
    """For each protocol: queries asked, queries before the cap, true items, queries without a relevant item."""
    started_at: datetime
    finished_at: datetime
    ours: str
    """Name of our system in the table."""
    decision: str | None = None
    """What became of a new model that was compared with the one that serves."""
    why: Sequence[str] = ()
    """What decided, a sentence each."""


def write_report(facts: ReportFacts, rows: pl.DataFrame, folder: Path) -> tuple[Path, Path]:
    """Write `<run_id>.html` and `<run_id>.json` into the folder, made if missing; gives both paths.

    `rows` has the columns of `compare.SCHEMA`. The page loads nothing from anywhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / f"{facts.run_id}.html", folder / f"{facts.run_id}.json"
    page.write_text(render(facts, rows), encoding="utf-8")
    data.write_text(json.dumps(as_json(facts, rows), indent=1, default=str), encoding="utf-8")
    return page, data


def as_json(facts: ReportFacts, rows: pl.DataFrame) -> dict[str, Any]:
    """Give the report as plain values: the facts, and `metrics` as a list of rows."""
    return {
        "run_id": facts.run_id,
        "cutoff": facts.cutoff.isoformat(sep=" "),
        "bundle_version": facts.bundle_version,
        "counts": {protocol: dict(counts) for protocol, counts in facts.counts.items()},
        "started_at": facts.started_at.isoformat(sep=" "),
        "finished_at": facts.finished_at.isoformat(sep=" "),
        "ours": facts.ours,
        "decision": facts.decision,
        "why": list(facts.why),
        "metrics": rows.with_columns(pl.col("cutoff").dt.to_string("%Y-%m-%d %H:%M:%S%.f")).to_dicts(),
    }


def render(facts: ReportFacts, rows: pl.DataFrame) -> str:
    """Render the HTML page."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("offline_eval", ""), autoescape=True, trim_blocks=True)
    sections = [
        {
            "protocol": protocol,
            "asks": ASKS[protocol],
            "counts": facts.counts.get(protocol, {}),
            "segments": _segments(part, facts.ours),
        }
        for protocol in rows["protocol"].unique(maintain_order=True)
        for part in [rows.filter(pl.col("protocol") == protocol)]
    ]
    return environment.get_template("report.html.j2").render(facts=facts, sections=sections)


def pivot(rows: pl.DataFrame, segment: str, ours: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Turn rows of one protocol into a table for one segment: headings, and for each system its cells, ours first.

    A cell is None or value, low, high (perhaps None) and `best`; where all are shown as 0.0000, none is best.
    """
    part = rows.filter((pl.col("segment") == segment) & ~is_difference())
    names = part.select("metric", "k").unique(maintain_order=True).rows()
    systems = sorted(part["system"].unique(maintain_order=True), key=lambda system: system != ours)
    cells = {(row["system"], row["metric"], row["k"]): row for row in part.iter_rows(named=True)}
    best = {name: max(cells[s, *name]["value"] or 0.0 for s in systems if (s, *name) in cells) for name in names}
    table = []
    for system in systems:
        found = [cells.get((system, *name)) for name in names]
        shown = [
            cell and {**cell, "best": cell["value"] == best[name] and round(best[name], 4) > 0}
            for name, cell in zip(names, found, strict=True)
        ]
        table.append({"system": system, "cells": shown})
    return [name if k is None else f"{name}@{k}" for name, k in names], table


def printed(rows: pl.DataFrame, ours: str) -> tuple[list[str], list[list[list[str]]]]:
    """Turn rows of one protocol into lines for a terminal: headings, and for each segment one line a system.

    The metric that is plotted comes with its interval, and `*` marks the best of a segment.
    """
    measures = rows.filter(~is_difference()).select("metric", "k").unique(maintain_order=True)
    names = [name if k is None else f"{name}@{k}" for name, k in measures.rows()]
    sections = []
    for segment in (name for name in SEGMENTS if name in rows["segment"]):
        headings, table = pivot(rows, segment, ours)
        n = int(rows.filter(pl.col("segment") == segment)["n"].to_numpy().max())
        lines = []
        for line in table:
            cells = dict(zip(headings, line["cells"], strict=True))
            shown = [_cell(cells.get(name), PLOTTED.get(segment, "ndcg")) for name in names]
            lines.append([segment, f"{n:,}", line["system"], *shown])
        sections.append(lines)
    return ["segment", "n", "system", *names], sections


def _cell(cell: Mapping[str, Any] | None, plotted: str) -> str:
    if cell is None or cell["value"] is None:
        return ""
    bounds = (
        f" [{cell['low']:.4f}, {cell['high']:.4f}]" if cell["metric"] == plotted and cell["low"] is not None else ""
    )
    return f"{cell['value']:.4f}{'*' if cell['best'] else ''}{bounds}"


def _segments(rows: pl.DataFrame, ours: str) -> list[dict[str, Any]]:
    found = []
    for segment in SEGMENTS:
        part = rows.filter(pl.col("segment") == segment)
        if part.is_empty():
            continue
        drawn = PLOTTED.get(segment, "ndcg")
        headings, table = pivot(rows, segment, ours)
        gains = part.filter(is_difference()).iter_rows(named=True)
        found.append(
            {
                "name": segment,
                "n": part["n"].max(),
                "headings": headings,
                "table": table,
                "metric": next(name for name in headings if name.split("@")[0] == drawn),
                "plot": _plot([row for row in part.iter_rows(named=True) if row["metric"] == drawn], ours),
                "gains": list(gains),
            }
        )
    return found


def _plot(rows: Sequence[Mapping[str, Any]], ours: str) -> dict[str, Any]:
    """Lay out dots with their intervals on a common axis; positions are in units of the drawing."""
    left, width, step = 170, 430, 30
    rows = [row for row in rows if row["value"] is not None]
    rows = sorted(rows, key=lambda row: -row["value"])
    top = max((_ends(row)[1] for row in rows), default=1.0) or 1.0
    # An AUC says nothing below one half, every other metric begins at 0.
    floor = min([0.45, *(_ends(row)[0] for row in rows)]) if rows and rows[0]["metric"] == "auc" else 0.0
    scale = width / (1.05 * (top - floor) or 1.0)

    def place(value: float) -> float:
        return round(left + scale * (value - floor), 1)

    marks = [
        {
            "system": row["system"],
            "ours": row["system"] == ours,
            "y": 20 + step * n,
            "x": place(row["value"]),
            "low": place(_ends(row)[0]),
            "high": place(_ends(row)[1]),
            "value": row["value"],
        }
        for n, row in enumerate(rows)
    ]
    ticks = [
        {"x": place(value), "label": f"{value:.3g}"} for value in (floor + (top - floor) * t / 4 for t in range(5))
    ]
    return {"marks": marks, "ticks": ticks, "height": 20 + step * len(rows) + 18, "bottom": 10 + step * len(rows)}


def _ends(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return where a value's interval begins and ends: at the value itself where there is no interval."""
    return (row["value"], row["value"]) if row["low"] is None else (row["low"], row["high"])
