import logging

import pytest

from api.app import log_at

ROOMS = ("api", "ranker", "encoders", "ingest")


@pytest.fixture(autouse=True)
def levels_as_before():
    before = {name: logging.getLogger(name).level for name in ("", *ROOMS)}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR])
def test_the_level_is_that_of_all_rooms_and_of_libraries_from_warnings_on(level):
    log_at(level)
    for name, least in ((f"{room}.any", level) for room in ROOMS):
        assert [at for at in (10, 20, 30, 40) if logging.getLogger(name).isEnabledFor(at)] == list(range(least, 41, 10))
    assert logging.getLogger("a.library").getEffectiveLevel() == max(level, logging.WARNING)
