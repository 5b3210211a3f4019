"""Does the house stand as it says: names, imports, commands and pages?"""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import readrank

ROOT = Path(__file__).parents[1]
ROOMS = ("ingest", "encoders", "ranker", "api", "offline_eval")
HEAVY = ("torch", "sentence_transformers", "transformers", "lightgbm", "duckdb", "fastapi", "sklearn", "optuna")


def heavy_after(statement: str) -> list[str]:
    """Run a statement in a fresh interpreter and name the heavy packages that it imported."""
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return run.stdout.split()


def test_no_other_distribution_owns_our_names():
    owners = packages_distributions()
    assert {name: set(owners.get(name, ["readrank"])) for name in ROOMS} == {name: {"readrank"} for name in ROOMS}


@pytest.mark.parametrize(
    "statement",
    [
        "import ingest, ingest.workspace, ingest.load, ingest.store",
        "import encoders.train, encoders.interest, encoders.text",
        "import ranker.train, ranker.rank, ranker.batch, ranker.tune",
        "import offline_eval.simulate",
        "import readrank\nreadrank.run(['--help'])",
    ],
)
def test_imports_are_cheap(statement):
    run = heavy_after(
        "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()):\n "
        + ";".join(line for line in statement.splitlines())
    )
    assert run == []


def test_naming_what_serves_reads_no_frames_and_no_models():
    """The process that starts the workers, and `promote`, need no more of a bundle than its manifest."""
    code = "import sys, ranker.bundle; print({'polars', 'scipy', 'encoders'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "page", sorted(str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
)
def test_commands_of_the_pages_exist(page, capsys):
    text = (ROOT / page).read_text()
    commands = set(re.findall(r"^\s{4,}readrank ([a-z-]+)", text, re.MULTILINE))
    assert commands or page == "docs/sizing.md"
    for command in commands:
        assert readrank.run([command, "--help"]) == 0, command
    targets = set(re.findall(r"^\s{4,}make ([a-z-]+)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize(
    "page", sorted(str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
)
def test_links_of_the_pages_lead_somewhere(page):
    path = ROOT / page
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    assert targets or page in ("docs/erasure.md", "docs/sizing.md")
    for target in targets:
        if not target.startswith(("http:", "https:")):
            name, _, anchor = target.partition("#")
            led_to = path.parent / name if name else path
            assert led_to.exists(), target
            assert not anchor or anchor in _slugs(led_to), target


def test_slugs_are_those_of_the_pages():
    assert {"keep-for-a-while", "pseudonyms"} <= _slugs(ROOT / "docs" / "erasure.md")
    assert "why" in _slugs(ROOT / "docs" / "api.md")


def _slugs(page: Path) -> set[str]:
    """Return what the headings of a page are linked by: lower case, no punctuation, hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_readme_names_the_pythons_that_it_installs_on():
    """Above them llvmlite 0.44, of the compiled trees, has no wheels."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    least, beyond = (int(minor) for minor in re.fullmatch(r">=3\.(\d+),<3\.(\d+)", wanted).groups())
    (named,) = re.findall(r"with Python (.+?) and a package registry", (ROOT / "README.md").read_text())
    assert re.findall(r"3\.(\d+)", named) == [str(minor) for minor in range(least, beyond)]


def test_an_installation_holds_the_command_and_all_rooms():
    """`packages` would leave out what is no package: the command's own file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    module = project["project"]["scripts"]["readrank"].split(":")[0]
    assert "packages" not in wheel
    assert set(wheel["only-include"]) == {*ROOMS, f"{module}.py"}
    assert all((ROOT / name).exists() for name in wheel["only-include"])


def test_options_of_the_readme_exist(capsys):
    text = (ROOT / "README.md").read_text()
    lines = re.findall(r"^\s{4}readrank (.+)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        command, *rest = line.split()
        readrank.run([command, "--help"])
        shown = capsys.readouterr().out
        for option in [word for word in rest if word.startswith("--")]:
            assert option in shown, (command, option)
