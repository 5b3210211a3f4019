from pathlib import Path

from ranker.registry import FEATURES
from ranker.sources import SOURCES

PAGE = (Path(__file__).parents[2] / "docs" / "ranker.md").read_text()


def test_page_lists_every_feature_with_its_meaning():
    missing = [f.name for f in FEATURES if f"| `{f.name}` | {f.family} | {f.meaning} |" not in PAGE]
    assert missing == []


def test_page_names_every_source():
    assert [name for name in SOURCES if f"`{name}`" not in PAGE] == []
