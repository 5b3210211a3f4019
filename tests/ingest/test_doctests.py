import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    [
        *("ingest.as_read", "ingest.binary_columns", "ingest.json_members", "ingest.mapping", "ingest.usual_volume"),
        *("ingest.moments", "ingest.times", "ingest.values"),
    ],
)
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
