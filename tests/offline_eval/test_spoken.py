"""What stands on a terminal after an evaluation: one table where there is room, else one a segment, and nothing cut."""

import re
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from offline_eval.compare import SCHEMA
from offline_eval.report import ReportFacts
from offline_eval.spoken import evaluation_lines

AT = datetime(2024, 3, 1, 12)
SYSTEMS = {"readrank": 0.3, "behaviour-only": 0.2, "popular": 0.1}
METRICS = ("ndcg", "recall", "mrr", "hit_rate", "coverage")


def row(segment: str, system: str, metric: str, value: float) -> dict[str, object]:
    told = {"protocol": "cutoff", "cutoff": AT, "segment": segment, "system": system, "metric": metric, "k": 10}
    return told | {"value": value, "low": value * 0.9, "high": value * 1.1, "n": 1_234}


@pytest.fixture
def evaluation() -> SimpleNamespace:
    """Three systems over all queries, and over cold items, of which none found any."""
    rows = [row("all", system, metric, value) for system, value in SYSTEMS.items() for metric in METRICS]
    rows += [row("cold items", system, "recall", 0.0) for system in SYSTEMS]
    facts = ReportFacts(
        run_id="one",
        cutoff=AT,
        bundle_version="v1",
        counts={"cutoff": {"queries": 1_234}},
        started_at=AT,
        finished_at=AT,
        ours="readrank",
    )
    return SimpleNamespace(facts=facts, metrics=pl.DataFrame(rows, schema=SCHEMA), page=Path("reports/one.html"))


def drawn(evaluation: SimpleNamespace, width: int) -> list[str]:
    return "\n".join(evaluation_lines(evaluation, width)).splitlines()


@pytest.mark.parametrize("width", [20, 80, 100, 150])
def test_no_number_and_no_name_is_cut(evaluation, width) -> None:
    lines = drawn(evaluation, width)
    assert "…" not in "".join(lines)
    for system, value in SYSTEMS.items():
        cell = re.escape(f"[{value * 0.9:.4f}, {value * 1.1:.4f}]")
        assert any(re.search(rf"\b{system} .*{value:.4f}\*? {cell}", line) for line in lines), system
    assert sum("1,234" in line for line in lines) > 1


def test_a_terminal_of_80_columns_gets_a_table_a_segment_and_is_told_what_is_left_out(evaluation) -> None:
    lines = drawn(evaluation, 80)
    assert max(map(len, lines)) <= 80
    assert {"all, n = 1,234", "cold items, n = 1,234", "left out for want of room: coverage@10"} <= set(lines)


def test_a_segment_without_any_value_names_its_systems_alone(evaluation) -> None:
    empty = pl.DataFrame(
        [row("cold users", system, "ndcg", 0.0) | {"value": None, "low": None, "high": None} for system in SYSTEMS],
        schema=SCHEMA,
    )
    evaluation.metrics = pl.concat([evaluation.metrics, empty])
    lines = drawn(evaluation, 80)
    start = lines.index("cold users, n = 1,234")
    assert [line.strip() for line in lines[start + 1 : start + 6] if line.strip("─ ")] == ["system", *SYSTEMS]


def test_a_wide_terminal_gets_one_table_of_all(evaluation) -> None:
    lines = drawn(evaluation, 150)
    assert sum("system" in line for line in lines) == 1
    assert "coverage@10" in next(line for line in lines if "system" in line)
    assert lines[-1] == "report reports/one.html"


def test_the_best_has_a_star_but_nobody_is_best_where_all_found_nothing(evaluation) -> None:
    lines = drawn(evaluation, 80)
    start = lines.index("cold items, n = 1,234")
    starred = [line.split()[0] for line in lines[2:start] if "*" in line]
    assert starred == ["readrank"]
    assert not any("*" in line for line in lines[start:])
