"""What was served can be worked out again from the store: every value that the ranker saw, as of its request."""

import json
from datetime import timedelta
from itertools import count

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ingest.drain import drain
from ingest.store import END_OF_TIME, Store
from ranker.candidates import Candidates, propose
from ranker.features import compute
from ranker.history import History
from ranker.moments import Moments
from ranker.query import Query
from ranker.registry import FEATURE_NAMES
from ranker.rules import allowed_items
from ranker.sources import SOURCES
from tests.api.conftest import until

SERVED = """
    SELECT request_id, requests.user_id, requests.occurred_at AS as_of, endpoint, item_id, features
    FROM impressions
    JOIN requests USING (request_id)
    WHERE len(features) > 0  -- what fills up an answer has none
    ORDER BY as_of, position
"""

KEPT_AS = {"session": tuple, "exclude": frozenset, "categories": frozenset}
"""How a query holds what JSON lists; the others are numbers."""


@pytest.fixture
def client(make_client, ranker, monkeypatch):
    """The app some time after the training; its clock goes on by twenty minutes with each request."""
    moments = (ranker.cutoff + timedelta(minutes=20) * n for n in count(1))
    monkeypatch.setattr("api.app.utc_now", lambda: next(moments))
    monkeypatch.setattr("api.live_history.MOST_WAIT_S", 0)  # what was accepted counts in the very next answer
    return make_client()


def recommend(client, user, **narrowed_by):
    answer = client.post("/v1/recommendations", json={"user_id": user, "k": 20, **narrowed_by}).json()
    assert not answer["degraded"]
    return answer["request_id"], [item["item_id"] for item in answer["items"]]


def rank(client, user, items):
    answer = client.post("/v1/rankings", json={"user_id": user, "items": [{"item_id": item} for item in items]}).json()
    assert not answer["degraded"]


def tell(client, user, item, kind, **more):
    event = {"user_id": user, "item_id": item, "kind": kind, **more}
    assert client.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1


def visit(client, user, refused):
    """Ask five times; meanwhile look, like, do what this shop alone has a name for, refuse, and buy."""
    request, shown = recommend(client, user)
    tell(client, user, shown[0], "click", request_id=request, session_id="morning")
    rank(client, user, shown)
    tell(client, user, shown[1], "like")
    tell(client, user, shown[2], "wave")
    recommend(client, user)
    tell(client, user, refused, "hide")
    tell(client, user, shown[2], "purchase", session_id="morning")
    rank(client, user, [refused, *shown])
    recommend(client, user)


def replay(ranker, history, served) -> np.ndarray:
    """Compute the features of what was served [n, n_features], all requests in one batch."""
    sources, n_items = ranker.model.sources, len(ranker.catalogue)
    requests = served.unique(c.REQUEST_ID, keep="first", maintain_order=True)
    asked = Moments(users=history.user_rows(requests[c.USER_ID]), as_of=requests[c.AS_OF].dt.epoch("us").to_numpy())
    situation = sources.situation(history, asked)
    allowed = allowed_items(history, asked, sources.catalogue, ranker.model.rules)
    proposed = propose(sources, situation, allowed, ranker.model.candidates)
    ranks = np.full((len(asked), n_items, len(SOURCES)), np.nan, np.float32)
    ranks[proposed.query, proposed.item] = proposed.ranks
    ranks[(requests[c.ENDPOINT] == "rankings").to_numpy()] = np.nan  # of given items nothing was proposed
    query, item = served[c.REQUEST_ID].rle_id().to_numpy().astype(np.int32), ranker.catalogue.rows(served[c.ITEM_ID])
    pairs = Candidates(query=query, item=item, ranks=ranks[query, item])
    return compute(situation, sources.everything, pairs, sources)


def test_what_was_served_is_worked_out_again_from_the_store(client, workspace, ranker, outbox, user):
    """For users with and without a past."""
    users = [user, "newcomer", ranker.history.user_ids[7]]
    for each in users:
        visit(client, each, refused=ranker.catalogue.ids[0])
    assert until(lambda: len(outbox.answers(10_000)[0]) == 5 * len(users))
    with Store.open(workspace.store_path) as store:
        drain(outbox, store)
        served = store.connection.sql(SERVED).pl()
        known = store.interactions(before=END_OF_TIME), store.impressions(before=ranker.cutoff)
    again = replay(ranker, History.from_frames(ranker.catalogue, *known), served)
    features = served[c.FEATURES].list.to_array(len(FEATURE_NAMES)).to_numpy()
    np.testing.assert_allclose(features, again, rtol=1e-6, atol=1e-6)
    assert served[c.REQUEST_ID].n_unique() == 5 * len(users)
    by_name = dict(zip(FEATURE_NAMES, features.T, strict=True))
    assert by_name["taken_before"].max() == 2, "live events were known"
    assert by_name["n_sources"].min() == 0, "of given items, too"


def test_narrowed_answers_are_given_again_from_the_store(client, workspace, ranker, outbox, user):
    _, shown = recommend(client, user)
    category = ranker.item(shown[0])["categories"][0]
    tell(client, user, shown[3], "purchase")
    recommend(client, user, session=[shown[4], shown[5]], exclude=shown[:2])
    recommend(client, "newcomer", categories=[category], session=[shown[0]], diversity=0.5)
    recommend(client, user, min_price=1, max_price=30, exclude=[shown[2]])
    assert until(lambda: len(outbox.answers(10_000)[0]) == 4)
    with Store.open(workspace.store_path) as store:
        drain(outbox, store)
        requests = store.connection.sql("SELECT * FROM requests ORDER BY occurred_at").pl()
        served = store.connection.sql("SELECT * FROM impressions ORDER BY position").pl()
        known = store.interactions(before=END_OF_TIME), store.impressions(before=ranker.cutoff)
    assert requests["asked"].null_count() == 1, "the first asked for nothing beside its user and k"
    history = History.from_frames(ranker.catalogue, *known)
    for request in requests.iter_rows(named=True):
        asked = Query(
            user_id=request[c.USER_ID],
            as_of=request[c.OCCURRED_AT],
            k=request[c.K],
            request_id=request[c.REQUEST_ID],
            **{name: KEPT_AS.get(name, float)(value) for name, value in json.loads(request["asked"] or "{}").items()},
        )
        again = ranker.recommend(asked, history).items
        then = served.filter(pl.col(c.REQUEST_ID) == request[c.REQUEST_ID])
        assert then[c.ITEM_ID].to_list() == [item.item_id for item in again]
        np.testing.assert_allclose(then[c.SCORE].to_numpy(), [item.score for item in again], rtol=1e-6, atol=1e-6)
