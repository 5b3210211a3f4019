import pytest

import readrank
from ingest.checks import ChecksConfig, KindsConfig
from ingest.errors import SettingsError
from ingest.replay import replay_rejected
from ingest.store import END_OF_TIME
from ingest.workspace import Workspace


def waiting(store):
    return store.connection.sql("SELECT line, reason_code FROM rejected_rows ORDER BY load_id, line").fetchall()


def test_replay_loads_what_passes_now_and_leaves_the_rest_in_quarantine(store, load):
    load(
        "log.csv",
        "user_id,item_id,ts,colour\nu1,i1,2024-01-01,red\nu2,i2,31/01/2024,blue\nu3,,31/01/2024,\nu4,i4,soon,\n",
        checks=ChecksConfig(max_rejected_share=0.9),
    )
    assert waiting(store) == [(3, "bad_time"), (4, "missing_item_id"), (5, "bad_time")]
    (report,) = replay_rejected(store, checks=ChecksConfig(time_format="%d/%m/%Y"))
    assert (report.rows_read, report.rows_loaded, report.rows_duplicate, report.rows_rejected) == (3, 1, 0, 2)
    assert report.path.endswith("log.csv (rejected rows)")
    assert waiting(store) == [(4, "missing_item_id"), (5, "bad_time")]
    assert store.interactions(before=END_OF_TIME)["user_id"].to_list() == ["u1", "u2"]
    contexts = store.connection.sql("SELECT context FROM interactions ORDER BY user_id").fetchall()
    assert contexts == [('{"colour":"red"}',), ('{"colour":"blue"}',)]


def test_replay_makes_the_same_events_as_the_file_would_today(store, load):
    rows = '{"user":"u","item":"i","time":"31/01/2024","weight":2,"price":1.5}\n' + '{"user":"u","item":"j","time":1}\n'
    load("log.jsonl", rows)
    mended = ChecksConfig(time_format="%d/%m/%Y")
    assert [report.rows_loaded for report in replay_rejected(store, checks=mended)] == [1]
    again = load("log.jsonl", rows, checks=mended)
    assert (again.rows_loaded, again.rows_duplicate) == (0, 2)


def test_replay_twice_changes_nothing_more(store, load):
    load("log.csv", "user_id,item_id,ts\nu1,i1,2024-01-01\nu2,i2,soon\n")
    for _ in range(2):
        (report,) = replay_rejected(store)
        assert (report.rows_read, report.rows_rejected) == (1, 1)
    assert waiting(store) == [(3, "bad_time")]


def test_replay_tells_a_new_reason_where_there_is_one(store, load):
    load("log.csv", "user_id,item_id,ts,weight\nu1,i1,2024-01-01,\nu2,i2,31/01/2024,much\n")
    replay_rejected(store, checks=ChecksConfig(time_format="%d/%m/%Y"))
    assert waiting(store) == [(3, "bad_weight")]


def test_replay_leaves_lines_that_are_no_rows_alone(store, load):
    load("log.jsonl", '{"user_id":"u","item_id":"i","occurred_at":"2024-01-01"}\nnonsense\n')
    assert replay_rejected(store) == []
    assert waiting(store) == [(2, "invalid_json")]


def test_replay_of_items_keeps_columns_that_their_file_lacked(store, load):
    load("a.csv", "item_id,title,description\na,Apple,Round and red.\n")
    load("b.csv", "item_id,title,published_at\na,Pear,1 Feb 2024\nb,Berry,2024-01-01\n")
    replay_rejected(store, checks=ChecksConfig(time_format="%d %b %Y"), kinds=KindsConfig())
    assert store.connection.sql("SELECT title, description FROM items ORDER BY item_id").fetchall() == [
        ("Pear", "Round and red."),
        ("Berry", None),
    ]


def test_replay_says_so_where_nothing_waits(tmp_path, capsys):
    shop = str(tmp_path / "shop")
    assert readrank.run(["init", shop]) == 0
    capsys.readouterr()
    assert readrank.run(["ingest", "--replay-rejected", "-w", shop]) == 0
    assert "nothing to try again" in capsys.readouterr().out


@pytest.mark.parametrize(
    "setting",
    [
        *("max_rejected_share = 50", "max_rejected_share = -0.1", "max_rejected_share = nan"),
        *("max_id_length = 0", "future_tolerance_days = -1", "future_tolerance_days = nan"),
    ],
)
def test_limits_that_limit_nothing_are_mistakes(tmp_path, setting):
    space = Workspace.create(tmp_path / "shop", f"[checks]\n{setting}\n")
    with pytest.raises(SettingsError, match=setting.split(" ")[0]):
        space.section("checks", ChecksConfig)
