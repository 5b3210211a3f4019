import tomllib
from dataclasses import dataclass, field
from typing import Literal

import pytest

from ingest.checks import ChecksConfig, KindsConfig
from ingest.errors import SettingsError, WorkspaceError
from ingest.mapping import ColumnsConfig
from ingest.workspace import Workspace, commented_toml


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """A sample."""

    size: int = 3
    """How many."""
    rate: float = 0.5
    kind: Literal["static", "transformer"] = "static"
    """Which one; "quoted" \\ and escaped."""
    names: tuple[str, ...] = ("a", 'b"c')
    base: str | None = None
    """Name of the base."""
    on: bool = True
    levels: dict[str, float] = field(default_factory=lambda: {"x y": 1.0})


def workspace(tmp_path, text):
    return Workspace.create(tmp_path / "w", text)


def test_commented_toml_reads_back_as_the_defaults(tmp_path):
    text = commented_toml(
        {"sample": SampleConfig, "kinds": KindsConfig, "columns": ColumnsConfig, "checks": ChecksConfig}
    )
    made = workspace(tmp_path, text)
    assert made.section("sample", SampleConfig) == SampleConfig()
    assert made.section("kinds", KindsConfig) == KindsConfig()
    assert made.section("columns", ColumnsConfig) == ColumnsConfig()
    assert made.section("checks", ChecksConfig) == ChecksConfig()
    assert "# How many.\nsize = 3\n" in text
    assert "# A sample.\n[sample]\n" in text
    assert "# Name of the base.\n# base =\n" in text
    assert tomllib.loads(text)["kinds"]["purchase"] == 10


def test_section_takes_what_is_given_and_defaults_for_the_rest(tmp_path):
    made = workspace(tmp_path, '[sample]\nrate = 2\nbase = "b"\nnames = []\n[kinds]\nwave = 3\nview = 0.5\n')
    sample = made.section("sample", SampleConfig)
    assert sample == SampleConfig(rate=2.0, base="b", names=())
    assert isinstance(sample.rate, float)
    weights = made.section("kinds", KindsConfig).weights
    assert (weights["wave"], weights["view"], weights["purchase"]) == (3.0, 0.5, 10.0)
    assert made.section("absent", SampleConfig) == SampleConfig()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sise = 3", r"nothing reads the key 'sise'; allowed are base, kind, levels, names, on, rate, size"),
        ("size = 3.5", "size: wanted a whole number, got 3.5"),
        ("size = true", "size: wanted a whole number, got True"),
        ('rate = "fast"', "rate: wanted a number, got 'fast'"),
        ('kind = "other"', "kind: wanted one of 'static', 'transformer', got 'other'"),
        ("names = [1]", "names: wanted a string, got 1"),
        ('on = "yes"', "on: wanted true or false"),
        ("base = 3", "base: wanted a string, got 3"),
    ],
)
def test_section_names_file_key_and_what_is_allowed(tmp_path, line, said):
    made = workspace(tmp_path, f"[sample]\n{line}\n")
    with pytest.raises(SettingsError, match=said) as caught:
        made.section("sample", SampleConfig)
    assert str(made.settings_path) in str(caught.value)


def test_settings_that_are_no_toml_are_one_sentence(tmp_path):
    made = workspace(tmp_path, "[sample\n")
    with pytest.raises(SettingsError, match="wanted TOML"):
        Workspace.open(made.root)


def test_settings_may_begin_with_a_byte_order_mark(tmp_path):
    made = workspace(tmp_path, "\ufeff[kinds]\nwave = 3\n")
    assert Workspace.open(made.root).section("kinds", KindsConfig).weights["wave"] == 3


def test_check_sections_refuses_a_mistyped_heading(tmp_path):
    made = workspace(tmp_path, "[kindz]\nview = 3\n")
    with pytest.raises(SettingsError, match=r"nothing reads \[kindz\]; the sections are kinds"):
        made.check_sections({"kinds"})


def test_open_without_settings_says_how_to_make_them(tmp_path):
    with pytest.raises(SettingsError, match="readrank init"):
        Workspace.open(tmp_path)


def test_create_leaves_existing_settings_alone(tmp_path):
    made = workspace(tmp_path, "# mine\n")
    with pytest.raises(SettingsError, match="already exists"):
        workspace(tmp_path, "# other\n")
    assert made.settings_path.read_text() == "# mine\n"


@pytest.mark.parametrize("name", ["bundles", "reports", "training", "tuning", "analytics"])
def test_open_tells_of_a_file_in_the_place_of_a_folder(tmp_path, name):
    place = Workspace.create(tmp_path / "shop", "").root / name
    if place.exists():
        place.rmdir()
    for lay in (place.touch, lambda: place.symlink_to("nowhere")):
        lay()
        with pytest.raises(WorkspaceError, match=f"{name}: wanted a folder, got something else; move it away"):
            Workspace.open(place.parent)
        place.unlink()
    Workspace.open(place.parent)


@pytest.mark.parametrize("name", ["live", "previous"])
def test_open_tells_of_a_folder_in_the_place_of_a_bundle_s_name(tmp_path, name):
    space = Workspace.create(tmp_path / "shop", "")
    (space.bundles_path / name).mkdir()
    with pytest.raises(WorkspaceError, match=f"{name}: wanted a file with a bundle's name, got a folder"):
        Workspace.open(space.root)
