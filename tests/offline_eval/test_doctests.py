import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["windows", "metrics", "intervals"])
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"offline_eval.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
