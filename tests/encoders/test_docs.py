import re
import subprocess
import sys
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

from encoders.text import TextConfig
from encoders.train import EncoderConfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")


def test_the_text_settings_of_the_page_are_the_defaults():
    (block,) = re.findall(r"(?m)^    fields = .*\n    max_words = .*$", PAGE)
    told = tomllib.loads(re.sub(r"(?m)^    ", "", block))
    defaults = asdict(TextConfig())
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()} == {
        name: defaults[name] for name in told
    }


def test_settings_that_the_page_sets_exist():
    known = {field.name for config in (EncoderConfig, TextConfig) for field in fields(config)}
    named = set(re.findall(r"`(\w+) = [^`]*`", PAGE))
    assert named
    assert named <= known


def test_options_of_the_benchmarks_exist():
    programs = set(re.findall(r"(?m)^    python (benchmarks/\w+\.py)", PAGE))
    assert programs
    for program in programs:
        run = subprocess.run([sys.executable, ROOT / program, "--help"], capture_output=True, text=True, check=True)
        for line in re.findall(rf"(?m)^    python {program}(.*)$", PAGE):
            for option in re.findall(r"--[a-z-]+", line):
                assert option in run.stdout, (program, option)
