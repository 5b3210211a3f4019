import time

import pytest

from api.events import EventIn, EventsIn
from api.schemas import RankingsIn, RecommendationsIn
from ingest.store import Store

ITEM_KEYS = {"item_id", "rank", "score", "probability", "reasons"}


def recommend(client, user_id, **ask):
    answer = client.post("/v1/recommendations", json={"user_id": user_id, **ask})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer):
    return [item["item_id"] for item in answer["items"]]


def test_recommendations_have_the_shape(client, ranker, user):
    answer = recommend(client, user, k=7)
    assert set(answer) == {"request_id", "model", "degraded", "items"}
    assert answer["model"] == ranker.version
    assert answer["degraded"] is False
    assert [item["rank"] for item in answer["items"]] == list(range(1, 7 + 1))
    assert all(set(item) == ITEM_KEYS and item["reasons"] == [] for item in answer["items"])
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert len(set(ids(answer))) == 7


def test_recommendations_give_twenty_unless_told(client, user):
    assert len(recommend(client, user)["items"]) == 20


def test_recommendations_keep_excluded_and_other_categories_out(client, ranker, user):
    first = ids(recommend(client, user, k=5))
    assert not set(first) & set(ids(recommend(client, user, k=50, exclude=first)))
    category = ranker.item(first[0])["categories"][0]
    inside = ids(recommend(client, user, k=10, categories=[category]))
    assert inside
    assert all(category in ranker.item(item)["categories"] for item in inside)


def test_recommendations_react_to_the_session(client):
    first = ids(recommend(client, "nobody", k=10))
    later = ids(recommend(client, "nobody", k=10, session=[first[9]]))
    assert later != first
    assert first[9] not in later


def test_reasons_come_when_asked_for(client, user):
    reasons = recommend(client, user, k=3, explain=True)["items"][0]["reasons"]
    assert reasons
    assert all(set(reason) == {"family", "weight", "because"} for reason in reasons)
    sizes = [abs(reason["weight"]) for reason in reasons]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("user_id", ["nobody", "", "日本 \"'🙂", "x" * 10_000, "a\x00b"])
def test_unknown_users_are_cold_users(client, user_id):
    if not user_id:
        assert client.post("/v1/recommendations", json={"user_id": user_id}).status_code == 422
        return
    assert len(recommend(client, user_id, k=4)["items"]) == 4


def test_rankings_return_every_given_item_once(client, ranker, user):
    known = ranker.catalogue.ids[:5]
    new = {"item_id": "new", "title": "Argan oil shampoo", "description": "For dry hair", "categories": ["Hair"]}
    given = [{"item_id": item} for item in known] + [new, {"item_id": known[0]}, {"item_id": "bare"}]
    answer = client.post("/v1/rankings", json={"user_id": user, "items": given}).json()
    assert sorted(ids(answer)) == sorted([*known, "new", "bare"])
    assert [item["rank"] for item in answer["items"]] == list(range(1, 7 + 1))
    assert answer["degraded"] is False


def test_requests_that_do_not_fit_get_one_sentence(client):
    def detail(path, **sent):
        answer = client.post(path, **sent)
        assert list(answer.json()) == ["detail"]
        assert "\n" not in answer.json()["detail"]
        return answer.status_code, answer.json()["detail"]

    as_json = {"content-type": "application/json"}
    assert detail("/v1/rankings", json={"user_id": "u", "items": []})[0] == 422
    assert detail("/v1/rankings", json={"user_id": "u", "items": [{"item_id": str(n)} for n in range(2_001)]}) == (
        422,
        "items: wanted at most 2,000 entries, got 2,001; correct it",
    )
    status, said = detail("/v1/recommendations", content="{nope", headers=as_json)
    assert status == 400
    assert said.startswith("request body: wanted JSON, got a syntax error at character 1: ")
    assert detail("/v1/recommendations", content=b"\xff{", headers=as_json)[0] == 400
    assert detail("/v1/recommendations", content=b"[" * 200_000, headers=as_json)[0] == 400
    assert detail("/v1/recommendations", data={"user_id": "u"}) == (
        422,
        "request body: wanted a JSON object, got text; send it with the header Content-Type: application/json",
    )
    assert detail("/v1/recommendations")[0] == 422
    assert detail("/v1/nothing")[0] == 404


def test_a_body_too_long_is_refused(make_client):
    client = make_client(max_body_bytes=2_000)
    fits = b'{"user_id": "u"}'
    assert client.post("/v1/recommendations", content=fits + b" " * (2_000 - len(fits))).status_code == 200
    assert client.post("/v1/recommendations", content=fits + b" " * (2_001 - len(fits))).status_code == 413
    in_chunks = client.post("/v1/recommendations", content=iter([fits, b" " * 2_000]))
    assert in_chunks.status_code == 413
    assert "wanted a shorter one" in in_chunks.json()["detail"]


def test_items_tell_titles(client, ranker):
    one, two = ranker.catalogue.ids[:2]
    assert client.get(f"/v1/items/{one}").json()["title"] == ranker.item(one)["title"]
    both = client.get("/v1/items", params={"ids": [two, "unknown", one]}).json()["items"]
    assert [item["item_id"] for item in both] == [two, one]
    missing = client.get("/v1/items/a/b")
    assert missing.status_code == 404
    assert missing.json()["detail"] == "item_id: wanted an item of the catalogue, got 'a/b'; ingest it and train"


def test_openapi_examples_are_valid(client):
    described = client.get("/openapi.json").json()["paths"]
    for path, model in (
        ("/v1/recommendations", RecommendationsIn),
        ("/v1/rankings", RankingsIn),
        ("/v1/events", EventsIn),
    ):
        examples = described[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert len(examples) == len(model.examples) > 0
        for example in examples.values():
            model.model_validate(example["value"])
            for event in example["value"].get("events", []):
                EventIn.model_validate(event)


def test_answers_and_their_events_meet_in_the_store(make_client, workspace, user):
    client = make_client()
    answer = recommend(client, user, k=3)
    event = {"user_id": user, "item_id": ids(answer)[1], "request_id": answer["request_id"]}
    assert client.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
    client.__exit__(None, None, None)
    client.__enter__ = client.__exit__ = lambda *ignored: None
    from ingest.outbox import Outbox
    from ingest.store import END_OF_TIME

    with Outbox.open(workspace.outbox_path) as outbox, Store.open(workspace.store_path) as store:
        drained = outbox.drain(store)
        shown = store.impressions(before=END_OF_TIME).filter(request_id=answer["request_id"]).sort("position")
        request = store.connection.execute(
            "SELECT endpoint, k, degraded, latency_ms FROM requests WHERE request_id = ?", [answer["request_id"]]
        ).fetchone()
    assert (drained.events, drained.requests, drained.impressions) == (1, 1, 3)
    assert shown["item_id"].to_list() == ids(answer)
    assert shown["clicked"].to_list() == [False, True, False]
    assert request[:3] == ("recommendations", 3, False)
    assert 0 < request[3] < 20_000


def test_a_decision_log_that_fails_costs_no_answer(make_client, user, monkeypatch):
    from ingest.errors import OutboxError
    from ingest.outbox import Outbox

    def full(*ignored):
        raise OutboxError("online.sqlite: the disk is full")

    monkeypatch.setattr(Outbox, "log_answer", full)
    client = make_client()
    for _ in range(3):
        assert recommend(client, user)["degraded"] is False
    deadline = time.monotonic() + 5
    while client.get("/readyz").json()["answers_not_logged"] < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert client.get("/readyz").json()["answers_not_logged"] == 3
