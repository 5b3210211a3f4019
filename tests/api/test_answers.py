import json
import time

import pytest

from api.answers import AnswerOut
from api.events import EventIn, EventsIn
from api.requests import RankingsIn, RecommendationsIn
from ingest import columns as c
from ingest.drain import drain
from ingest.outbox import Outbox
from ingest.store import Store
from ranker.rules import RulesConfig
from tests.api.conftest import ids
from tests.ranker.conftest import with_rules

ITEM_KEYS = {"item_id", "rank", "score", "probability", "placed_by", "reasons"}


def recommend(client, user_id, **ask):
    answer = client.post("/v1/recommendations", json={"user_id": user_id, **ask})
    assert answer.status_code == 200, answer.text
    return answer.json()


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
    assert all(set(reason) == {"family", "weight", "because", "features"} for reason in reasons)
    sizes = [reason["weight"] for reason in reasons]
    assert min(sizes) > 0
    assert sizes == sorted(sizes, reverse=True)
    features = [feature for reason in reasons for feature in reason["features"]]
    assert features
    assert all(set(feature) == {"name", "value", "weight"} for feature in features)
    assert all(feature["value"] is None or isinstance(feature["value"], float) for feature in features)


def test_features_that_are_not_defined_are_null(client, user):
    """No source proposes everything: where one did not, its rank is not defined, and JSON knows no NaN."""
    newcomer = client.post("/v1/recommendations", json={"user_id": "nobody", "k": 20, "explain": True})
    items = [item["item_id"] for item in recommend(client, user, k=20)["items"]]
    asked = {"user_id": user, "k": 20, "compare": [items[0], items[-1]]}
    compared = client.post("/v1/recommendations", json=asked)
    assert "NaN" not in newcomer.text + compared.text
    told = [feature for family in compared.json()["comparison"]["families"] for feature in family["features"]]
    assert any(feature["first"] is None or feature["second"] is None for feature in told)


def test_comparison_says_why_one_stands_above_the_other(client, ranker, user):
    items = recommend(client, user, k=20)["items"]
    first, second = items[1], items[7]
    told = recommend(client, user, k=3, compare=[first["item_id"], second["item_id"]])["comparison"]
    assert (told["first"], told["second"]) == (first["item_id"], second["item_id"])
    assert told["difference"] == pytest.approx(first["score"] - second["score"], abs=1e-9)
    assert sum(family["weight"] for family in told["families"]) == pytest.approx(told["difference"], abs=1e-9)
    given = {"user_id": user, "items": [{"item_id": item["item_id"]} for item in items]}
    answer = client.post("/v1/rankings", json={**given, "compare": [second["item_id"], first["item_id"]]}).json()
    scores = {item["item_id"]: item["score"] for item in answer["items"]}
    expected = scores[second["item_id"]] - scores[first["item_id"]]
    assert answer["comparison"]["difference"] == pytest.approx(expected, abs=1e-9)


def test_comparison_is_null_for_what_was_no_candidate_and_absent_when_not_asked(client, ranker, user):
    shown = ids(recommend(client, user, k=2))
    assert recommend(client, user, compare=[shown[0], "unheard-of"])["comparison"] is None
    assert recommend(client, user, compare=shown, exclude=[shown[1]])["comparison"] is None
    assert "comparison" not in recommend(client, user)


def test_prices_and_diversity_are_kept(client, ranker, user):
    prices = {item: json.loads(ranker.item(item)["attributes"])["price"] for item in ranker.catalogue.ids}
    low, high = sorted(prices.values())[40:100:59]
    answer = recommend(client, user, k=200, min_price=low, max_price=high)
    taken = set(ranker.last_items(user, 1_000))
    assert sorted(ids(answer)) == sorted(i for i, price in prices.items() if low <= price <= high and i not in taken)
    plain, varied = recommend(client, user, diversity=0), recommend(client, user, diversity=1)
    assert ids(plain) == ids(recommend(client, user))
    assert ids(plain)[0] == ids(varied)[0]
    assert ids(plain) != ids(varied)


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
    asked = {"user_id": "u", "min_price": 9, "max_price": 5}
    assert detail("/v1/recommendations", json=asked) == (
        422,
        "request body: wanted min_price at most max_price, got 9 and 5; correct them",
    )
    for ask, said in (
        ({"min_price": -1}, "min_price: wanted at least 0, got -1; correct it"),
        ({"max_price": "9"}, "max_price: wanted a number, got '9'; correct it"),
        ({"diversity": 2}, "diversity: wanted at most 1, got 2; correct it"),
        ({"compare": ["a"]}, "compare: wanted at least 2 entries, got 1; correct it"),
        ({"compare": ["a", "a"]}, "compare: wanted two different items, got one twice; correct it"),
    ):
        assert detail("/v1/recommendations", json={"user_id": "u", **ask}) == (422, said)
    assert detail("/v1/rankings", json={"user_id": "u", "items": ["i1"]}) == (
        422,
        "items[0]: wanted an object, got 'i1'; correct it",
    )
    given = {"user_id": "u", "items": [{"item_id": "a"}], "compare": ["a", "b"]}
    assert detail("/v1/rankings", json=given) == (
        422,
        "request body: wanted two of the items to compare, got 'b'; add it to them",
    )
    assert detail("/v1/recommendations")[0] == 422
    assert detail("/v1/nothing")[0] == 404


def test_a_body_too_long_is_refused(make_client):
    client = make_client(max_body_bytes=2_000)
    fits, as_json = b'{"user_id": "u"}', {"content-type": "application/json"}

    def post(content):
        return client.post("/v1/recommendations", content=content, headers=as_json)

    assert post(fits + b" " * (2_000 - len(fits))).status_code == 200
    assert post(fits + b" " * (2_001 - len(fits))).status_code == 413
    in_chunks = post(iter([fits, b" " * 2_000]))
    assert in_chunks.status_code == 413
    assert in_chunks.json()["detail"] == (
        "request body: wanted at most 2,000 bytes, got more; send it in parts, or raise READRANK_MAX_BODY_BYTES"
    )


def test_items_tell_titles(client, ranker):
    one, two = ranker.catalogue.ids[:2]
    assert client.get(f"/v1/items/{one}").json()["title"] == ranker.item(one)["title"]
    both = client.get("/v1/items", params={"ids": [two, "unknown", one]}).json()["items"]
    assert [item["item_id"] for item in both] == [two, one]
    missing = client.get("/v1/items/a/b")
    assert missing.status_code == 404
    assert missing.json()["detail"] == (
        "item_id: wanted an item of the catalogue, got 'a/b'; "
        "a new one is known after `readrank ingest` and `readrank refresh --promote`"
    )


def test_answers_have_the_form_that_is_documented(client, ranker, user):
    """They are written without their model, so that nothing but this holds the two together."""
    two = ranker.catalogue.ids[:2]
    asked = {"user_id": user, "explain": True, "compare": two}
    for path, more in (("recommendations", {}), ("rankings", {"items": [{c.ITEM_ID: item} for item in two]})):
        answer = client.post(f"/v1/{path}", json={**asked, **more})
        assert AnswerOut.model_validate_json(answer.content).model_dump(mode="json") == answer.json()
        assert answer.json()["items"][0]["reasons"]


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


def test_propensities_reasons_and_what_placed_items_arrive_in_the_store(make_client, workspace, ranker, user):
    client = make_client(load=lambda folder: with_rules(ranker, RulesConfig(explore_share=0.5)))
    answer, plain = recommend(client, user, k=20, explain=True), recommend(client, user, k=2)
    client.__exit__(None, None, None)
    client.__enter__ = client.__exit__ = lambda *ignored: None
    with Outbox.open(workspace.outbox_path) as outbox, Store.open(workspace.store_path) as store:
        drain(outbox, store)
        rows = store.connection.execute(
            "SELECT request_id, item_id, propensity, sources, reasons, placed_by FROM impressions "
            "WHERE request_id IN (?, ?) ORDER BY request_id = ?, position",
            [answer["request_id"], plain["request_id"], plain["request_id"]],
        ).fetchall()
    assert [row[1] for row in rows] == ids(answer) + ids(plain)
    for place, (request_id, _, propensity, sources, reasons, placed_by) in enumerate(rows):
        if request_id == plain["request_id"]:
            assert (propensity, reasons) == (1, None)
            continue
        assert propensity in ({1} if place < 3 else {0.5 / 50} if "explore" in sources else {1, 1 - 0.5})
        assert placed_by == answer["items"][place]["placed_by"]
        assert (placed_by == "explore") == ("explore" in sources)
        told = answer["items"][place]["reasons"]
        assert [reason["family"] for reason in json.loads(reasons or "[]")] == [reason["family"] for reason in told]
        for stored, given in zip(json.loads(reasons or "[]"), told, strict=True):
            assert stored["because"] == given["because"]
            assert stored["weight"] == pytest.approx(given["weight"], rel=1e-5)
    assert any("explore" in row[3] for row in rows)


def test_comparisons_arrive_in_the_store_as_they_were_told(make_client, workspace, user):
    client = make_client()
    shown = ids(recommend(client, user, k=20))
    asked = {"compare": [shown[1], shown[7]]}
    told = recommend(client, user, k=3, **asked)
    given = {"user_id": user, "items": [{"item_id": item} for item in shown], **asked}
    ranked = client.post("/v1/rankings", json=given).json()
    no_candidate = recommend(client, user, compare=[shown[0], "unheard-of"])
    not_asked = recommend(client, user)
    client.__exit__(None, None, None)
    client.__enter__ = client.__exit__ = lambda *ignored: None
    with Outbox.open(workspace.outbox_path) as outbox, Store.open(workspace.store_path) as store:
        drain(outbox, store)
        rows = dict(store.connection.sql("SELECT request_id, comparison FROM requests").fetchall())
    assert rows[no_candidate["request_id"]] is rows[not_asked["request_id"]] is None
    for answer in (told, ranked):
        assert answer["comparison"]["families"][0]["features"]
        assert json.loads(rows[answer["request_id"]]) == rounded(answer["comparison"])


def rounded(told):
    """The same with numbers of six digits."""
    if isinstance(told, dict):
        return {name: rounded(value) for name, value in told.items()}
    if isinstance(told, list):
        return [rounded(value) for value in told]
    return float(f"{told:.6g}") if isinstance(told, float) else told


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
        drained = drain(outbox, store)
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
