import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["availability", "counter", "facets", "gain", "sessions", "source_recall"])
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"ranker.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
