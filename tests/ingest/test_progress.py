"""What bars say of how far a step is, and for how long yet, by a clock that the test moves on."""

import io
import re

import pytest
from rich.progress import MofNCompleteColumn

from ingest.progress import bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def drawn(monkeypatch):
    """Return what is left on a terminal after `(seconds that pass, report)`s: a step's name to its line's words."""
    monkeypatch.setenv("COLUMNS", "120")

    def draw(*reports):
        now, stream = 0.0, Terminal()
        monkeypatch.setattr("rich.console.monotonic", lambda: now)
        with bars(stream, MofNCompleteColumn()) as progress:
            for seconds, report in reports:
                now += seconds
                progress(*report)
        last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).split("\r")[-1]
        lines = [re.split(r" *[━╸╺ ]{3,} *", line.strip(), maxsplit=1) for line in last.strip().splitlines()]
        return {step: said.split() for step, said in lines}

    return draw


def test_a_bar_says_how_long_it_has_taken_and_will_take(drawn):
    found = drawn((0, ("read", 0, 10)), (5, ("read", 2, 10)), (5, ("read", 4, 10, "a note")))
    assert found == {"read": ["4/10", "0:00:10", "0:00:15", "a", "note"]}  # six more at two in five seconds


def test_what_remains_is_also_known_of_steps_of_many_minutes(drawn):
    found = drawn(*((1200, ("tune", n, 4)) for n in range(3)))
    assert found == {"tune": ["2/4", "0:40:00", "0:40:00"]}


@pytest.mark.parametrize(
    "second",
    [
        pytest.param([(0, ("epoch", 0, 9)), (2, ("epoch", 1, 9))], id="from its beginning"),
        pytest.param([(0, ("epoch", 1, 9)), (2, ("epoch", 1, 9))], id="done falls"),
        pytest.param([(0, ("epoch", 3, 9)), (2, ("epoch", 3, 9))], id="as far at first as the other came"),
    ],
)
def test_another_of_the_same_name_begins_anew(drawn, second):
    first = [(0, ("epoch", 0, 3)), (60, ("epoch", 3, 3))]
    before, after = drawn(*first), drawn(*first, (30, second[0][1]), *second[1:])
    assert before["epoch"][1] == "0:01:00"
    assert after["epoch"][1] == "0:00:02"


def test_a_step_that_takes_longer_than_was_thought_goes_on(drawn):
    found = drawn((0, ("epoch", 0, 2)), (3, ("epoch", 2, 2)), (3, ("epoch", 3, 3)))
    assert found["epoch"][0] == "3/3"
    assert found["epoch"][1] != "0:00:00"


def test_a_step_that_has_ended_stands_still_while_others_run(drawn):
    found = drawn((0, ("tune", 0, 6)), (7, ("tune", 4, 6)), (0, ("tune", 4, 4, "ended")), (50, ("rank", 1, 2)))
    assert found["tune"] == ["4/4", "0:00:07", "0:00:00", "ended"]
