import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import readrank
from ingest.store import Store
from offline_eval.compare import SEGMENTS
from offline_eval.evaluate import INTEREST, OURS, PROTOCOLS
from offline_eval.metrics import PER_QUERY
from offline_eval.simulate import Simulation

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """Indented examples of the page."""
    return [re.sub(r"(?m)^    ", "", block) for block in re.findall(r"(?m)(?:^    .*\n|^\n(?=    ))+", PAGE)]


def test_the_query_runs_on_a_store(tmp_path: Path) -> None:
    (query,) = [block for block in blocks() if block.lstrip().startswith("SELECT")]
    with Store.open(tmp_path / "readrank.duckdb") as store:
        columns = [column[0] for column in store.connection.execute(query).description]
    assert columns == ["segment", "system", "ndcg", "low", "high", "n"]


def test_the_simulation_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = [block for block in blocks() if "import SimulationConfig" in block]
    names = {"datetime": datetime, "np": np, "Simulation": Simulation}
    exec(program, names)
    assert [file.name for file in names["simulation"].files] == [
        "items.jsonl",
        "interactions.jsonl",
        "impressions.parquet",
    ]


def test_options_names_and_segments_are_those_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert readrank.run(["evaluate", "--help"]) == 0
    told = capsys.readouterr().out
    options = re.findall(r"--[a-z]+", blocks()[0])
    assert options
    for option in options:
        assert option in told
    for name in (*PER_QUERY, *SEGMENTS, *PROTOCOLS, OURS, INTEREST):
        assert f"`{name}`" in PAGE


def test_settings_of_the_page_exist() -> None:
    sections = re.findall(r"under `\[(\w+)\]`", PAGE)
    assert sections
    for section in sections:
        assert section in readrank.SECTIONS
