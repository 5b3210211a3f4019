"""A workspace takes in files, rejected rows and what came over HTTP, and lets the old go, in this order."""

from datetime import datetime

import pytest

from ingest.errors import ReadrankError
from ingest.moments import utc_now
from ingest.outbox import OnlineEvent, Outbox
from ingest.store import Store
from ingest.take_in import take_in
from ingest.workspace import Workspace

LATE = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
"""Neither too old nor in the future."""


@pytest.fixture
def space(tmp_path):
    return Workspace.create(tmp_path / "shop", "[retention]\ninteractions_days = 300\n[checks]\ntime_format = '%Y'\n")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id,occurred_at\nu,old,2001-01-01\nu,new,{LATE:%Y-%m-%d}\n")
    return path


def items(space):
    with Store.open(space.store_path) as store:
        return [item for (item,) in store.connection.execute("SELECT item_id FROM interactions ORDER BY 1").fetchall()]


def test_what_is_too_old_goes_after_files_and_events_have_come(space, log):
    with Outbox.open(space.outbox_path) as outbox:
        outbox.append(
            [
                OnlineEvent(event_id=item, user_id="u", item_id=item, kind="view", weight=1.0, occurred_at=moment)
                for item, moment in (("served old", datetime(2001, 1, 1)), ("served new", LATE))
            ]
        )
    taken = take_in(space, [log], time_format="%Y-%m-%d")
    assert [report.rows_loaded for report in taken.reports] == [2]
    assert taken.drained is not None
    assert taken.drained.events == 2
    assert taken.retained.rows["interactions"] == 2
    assert items(space) == ["new", "served new"]


def test_rejected_rows_are_tried_again_and_no_service_has_run(space, log):
    log.write_text(log.read_text() + f"u,other,{LATE:%d/%m/%Y}\n")
    take_in(space, [log], time_format="%Y-%m-%d")
    taken = take_in(space, rejected=True, time_format="%d/%m/%Y")
    assert [report.rows_loaded for report in taken.reports] == [1]
    assert taken.drained is None
    assert items(space) == ["new", "other"]


def test_what_was_loaded_stays_when_the_outbox_cannot_be_read(space, log):
    space.outbox_path.write_bytes(b"no database" * 100)
    with pytest.raises(ReadrankError):
        take_in(space, [log], time_format="%Y-%m-%d")
    assert items(space) == ["new", "old"]


def test_a_mistake_in_retention_is_told_before_anything_is_loaded(tmp_path, log):
    space = Workspace.create(tmp_path / "other", "[retention]\nbundles_days = -1\n")
    with pytest.raises(ReadrankError, match="bundles_days: wanted 0 to 500,000"):
        take_in(space, [log])
    assert items(space) == []
