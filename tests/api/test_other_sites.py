"""Another site's page must not make a visitor's browser write to a service on the visitor's network."""

import pytest

from ingest.outbox import Outbox

ORIGIN = {"origin": "https://elsewhere.example"}
PATHS = ["/v1/events", "/v1/recommendations", "/v1/rankings"]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_browser_sends_to_other_sites_unasked_is_refused(client, workspace, kind):
    body = b'{"user_id": "u", "items": [{"item_id": "i"}], "events": [{"user_id": "u", "item_id": "i"}]}'
    for path in PATHS:
        answer = client.post(path, content=body, headers={**ORIGIN, **({"content-type": kind} if kind else {})})
        assert answer.status_code == 422
        assert "send it with the header Content-Type: application/json" in answer.json()["detail"]
    with Outbox.open(workspace.outbox_path) as outbox:
        assert outbox.events_after(0) == ([], 0)


def test_a_browser_that_asks_whether_it_may_send_json_is_not_told_so(client):
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for path in PATHS:
        asked = client.options(path, headers={**ORIGIN, **asks})
        assert asked.status_code == 405
        assert "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_accepted_however_it_is_spelled(client, kind):
    body = b'{"events": [{"user_id": "u", "item_id": "i"}]}'
    assert client.post("/v1/events", content=body, headers={"content-type": kind}).status_code == 202
