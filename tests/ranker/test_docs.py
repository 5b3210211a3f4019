from pathlib import Path

from ranker.registry import AS_OF, FEATURES
from ranker.sources import SOURCES

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text()


def test_page_lists_every_feature_with_its_meaning():
    rows = {f.name: f"| `{f.name}` | {f.family} | {f.meaning} | {f.unit} | {f.as_of} |" for f in FEATURES}
    assert [name for name, row in rows.items() if row not in PAGE] == []
    assert len(FEATURES) >= 60


def test_page_says_what_features_may_know():
    assert [rule for rule in AS_OF.items() if "| {} | {} |".format(*rule) not in PAGE] == []
    assert {f.as_of for f in FEATURES} <= set(AS_OF)


def test_page_names_every_source():
    assert [name for name in SOURCES if f"`{name}`" not in PAGE] == []
