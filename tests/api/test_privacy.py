import logging
import shutil

import polars as pl
import pytest

from api.app import create_app
from api.serve import serve
from ingest.erase import forget
from ingest.errors import SettingsError
from ingest.mentions import Person
from ingest.outbox import Outbox
from ingest.pseudonyms import CHECK_FILE, KEY_FILE, Pseudonyms
from ingest.retention import RetentionConfig
from ingest.store import END_OF_TIME, Store
from ingest.verify_erasure import search
from ingest.workspace import Workspace
from ranker.batch import rank_file, recommend_file

USER = "somebody@example.org"
ON = "[privacy]\npseudonyms = true\n"


@pytest.fixture
def with_pseudonyms(workspace, tmp_path):
    """The shop as if it had been loaded with pseudonyms: its store renamed, its bundle knows nobody by name."""
    elsewhere = Workspace.create(tmp_path / "elsewhere", ON)
    pseudonyms = Pseudonyms.of_workspace(elsewhere)
    for name in (KEY_FILE, CHECK_FILE):
        shutil.copy2(elsewhere.root / name, workspace.root / name)
    with workspace.settings_path.open("a") as settings:
        settings.write(ON)
    with Store.open(workspace.store_path) as store:
        users = store.interactions(before=END_OF_TIME)["user_id"].unique()
        names = pl.DataFrame({"user_id": users, "pseudonym": pseudonyms.column(users)})
        store.connection.register("names", names.to_arrow())
        store.connection.execute(
            "UPDATE interactions SET user_id = pseudonym FROM names WHERE names.user_id = interactions.user_id"
        )
    return pseudonyms


def recommended(client, user, k=30):
    answer = client.post("/v1/recommendations", json={"user_id": user, "k": k})
    assert USER not in answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def holding(workspace, text):
    return [
        path.name
        for path in workspace.root.rglob("*")
        if path.is_file() and "bundles" not in path.parts and text.encode() in path.read_bytes()
    ]


def test_a_running_service_forgets_with_the_outbox(client, workspace):
    first, second = recommended(client, USER)[:2]
    events = [{"user_id": USER, "item_id": first}, {"user_id": "bob", "item_id": second}]
    assert client.post("/v1/events", json={"events": events}).json()["accepted"] == 2
    assert first not in recommended(client, USER)
    assert client.get("/readyz").json()["live_events"] == 2
    forget(workspace, Person((USER,)), RetentionConfig())
    # The very next answer is one to somebody never seen; others are known as before.
    assert first in recommended(client, USER)
    assert second not in recommended(client, "bob")
    assert client.get("/readyz").json()["live_events"] == 1
    assert client.post("/v1/events", json={"events": events}).json()["accepted"] == 2


def test_nothing_stays_on_disk_while_the_service_has_its_files_open(client, workspace):
    recommended(client, USER)
    assert client.post("/v1/events", json={"events": [{"user_id": USER, "item_id": "i"}]}).status_code == 202
    with Outbox.open(workspace.outbox_path) as outbox:
        for _ in range(200):
            if not outbox.answers(10)[0].is_empty():
                break
    assert "online.sqlite-wal" in holding(workspace, USER)
    forgotten = forget(workspace, Person((USER,)), RetentionConfig())
    assert forgotten.rows["online.sqlite:events"] == 1
    assert holding(workspace, USER) == []


def test_log_lines_name_nobody(make_client, workspace, ranker, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("broken")

    monkeypatch.setattr(type(ranker), "recommend", fail)
    with caplog.at_level(logging.DEBUG):
        answer = make_client().post("/v1/recommendations", json={"user_id": USER, "k": 3})
    assert answer.json()["degraded"]
    assert "answer failed" in caplog.text
    assert USER not in caplog.text


def test_a_late_answer_names_nobody(make_client, caplog):
    with caplog.at_level(logging.DEBUG):
        make_client(budget_ms=1).post("/v1/recommendations", json={"user_id": USER, "k": 3})
    assert "answer late" in caplog.text
    assert USER not in caplog.text


def test_ids_become_pseudonyms_at_the_edge(with_pseudonyms, make_client, workspace):
    client = make_client()
    first = recommended(client, USER)[0]
    sent = client.post("/v1/events", json={"events": [{"user_id": USER, "item_id": first}]})
    assert sent.json()["accepted"] == 1
    assert first not in recommended(client, USER), "the same user is recognised"
    ranked = client.post("/v1/rankings", json={"user_id": USER, "items": [{"item_id": first}]})
    assert ranked.status_code == 200
    assert client.get("/page/users").json() == {"users": []}
    client.__exit__(None, None, None)
    with Outbox.open(workspace.outbox_path) as outbox:
        users = {event.user_id for event in outbox.events_after(0)[0]} | set(outbox.answers(99)[0]["user_id"])
    assert users == {with_pseudonyms.of(USER)}
    assert holding(workspace, USER) == []
    assert USER not in sent.text + ranked.text


def test_files_of_queries_hold_real_ids_and_so_do_answers(with_pseudonyms, workspace, shop, user, tmp_path):
    queries, requests = tmp_path / "queries.csv", tmp_path / "requests.csv"
    queries.write_text(f"query_id,user_id,as_of\nq1,{user},2100-01-01\nq2,nobody,2100-01-01\n")
    recommend_file(workspace, queries, tmp_path / "pseudonymous.csv", 20)
    recommend_file(shop, queries, tmp_path / "plain.csv", 20)
    # The same person with the same past gets the same list, whichever way they are written down.
    assert pl.read_csv(tmp_path / "pseudonymous.csv").equals(pl.read_csv(tmp_path / "plain.csv"))
    requests.write_text(
        "request_id,user_id,item_id,occurred_at\n"
        + "".join(f"r1,{user},{item},2100-01-01\n" for item in pl.read_csv(tmp_path / "plain.csv")["item_id"][:3])
    )
    rank_file(workspace, requests, tmp_path / "scored.csv")
    scored = pl.read_csv(tmp_path / "scored.csv")
    assert scored["user_id"].to_list() == [user] * 3
    rank_file(shop, requests, tmp_path / "scored-plain.csv")
    assert scored.equals(pl.read_csv(tmp_path / "scored-plain.csv"))


def test_a_service_without_the_key_does_not_start(with_pseudonyms, workspace):
    (workspace.root / KEY_FILE).unlink()
    with pytest.raises(SettingsError, match="READRANK_PSEUDONYM_KEY"):
        create_app(workspace.root)
    with pytest.raises(SettingsError, match="READRANK_PSEUDONYM_KEY"):
        serve(workspace.root, port=0)


def test_bundles_trained_with_a_person_are_named_until_they_are_due(workspace, user):
    forgotten = forget(workspace, Person((user,)), RetentionConfig(erased_bundles_days=7))
    ((bundle),) = forgotten.bundles
    assert bundle.live
    assert forgotten.rows["interactions"] > 0
    result = search(workspace, Person((user,)), RetentionConfig(erased_bundles_days=7), bundle.gone_by)
    assert result.clean, result
    assert [remains.version for remains in result.expected] == [bundle.version]
