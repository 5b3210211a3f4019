from datetime import datetime

import duckdb

from ingest.store import END_OF_TIME, Store

EARLIER = """
CREATE TABLE items (
    item_id VARCHAR NOT NULL, title VARCHAR, description VARCHAR, categories VARCHAR[], attributes JSON,
    published_at TIMESTAMP, available BOOLEAN NOT NULL DEFAULT TRUE, updated_at TIMESTAMP NOT NULL
);
CREATE TABLE interactions (
    event_id VARCHAR NOT NULL, user_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    weight DOUBLE NOT NULL, occurred_at TIMESTAMP NOT NULL, request_id VARCHAR, session_id VARCHAR, context JSON,
    load_id VARCHAR NOT NULL, ingested_at TIMESTAMP NOT NULL
);
CREATE TABLE loads (
    load_id VARCHAR NOT NULL, path VARCHAR NOT NULL, table_name VARCHAR NOT NULL, sha256 VARCHAR,
    rows_read BIGINT NOT NULL, rows_loaded BIGINT NOT NULL, rows_duplicate BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL, started_at TIMESTAMP NOT NULL, finished_at TIMESTAMP NOT NULL
);
CREATE TABLE rejected_rows (
    load_id VARCHAR NOT NULL, source VARCHAR NOT NULL, line BIGINT, reason_code VARCHAR NOT NULL, detail VARCHAR,
    raw VARCHAR
);
CREATE TABLE impressions (
    request_id VARCHAR NOT NULL, user_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, position INTEGER, score DOUBLE,
    propensity DOUBLE, sources VARCHAR[], features FLOAT[], occurred_at TIMESTAMP NOT NULL, clicked BOOLEAN,
    load_id VARCHAR
);
CREATE TABLE requests (
    request_id VARCHAR NOT NULL, user_id VARCHAR NOT NULL, occurred_at TIMESTAMP NOT NULL, endpoint VARCHAR, k INTEGER,
    bundle_version VARCHAR, variant VARCHAR, degraded BOOLEAN, latency_ms DOUBLE
);
INSERT INTO requests VALUES ('r', 'u', '2024-01-01', 'recommendations', 1, 'b', NULL, FALSE, 2.5);
CREATE VIEW decisions AS SELECT request_id, features FROM impressions;
INSERT INTO impressions VALUES ('r', 'u', 'i', 1, 0.5, NULL, ['popular'], [1], '2024-01-01', TRUE, NULL);
CREATE TABLE erasures (user_sha256 VARCHAR NOT NULL, erased_at TIMESTAMP NOT NULL, rows_erased BIGINT NOT NULL);
INSERT INTO items VALUES ('i', 'Ink', NULL, NULL, NULL, NULL, TRUE, '2024-05-01');
INSERT INTO interactions VALUES
    ('b', 'u', 'i', 'view', 1, '2024-01-01', NULL, NULL, NULL, 'l', '2024-05-01'),
    ('a', 'u', 'j', 'view', 1, '2024-01-01', NULL, NULL, NULL, 'l', '2024-05-01');
INSERT INTO loads VALUES ('l', 'log.csv', 'interactions', NULL, 3, 2, 0, 1, '2024-05-01', '2024-05-01');
INSERT INTO rejected_rows VALUES ('l', 'log.csv', 4, 'bad_time', 'said', '{}');
"""


def test_a_store_of_an_earlier_version_opens_with_all_that_it_held(tmp_path):
    path = tmp_path / "store.duckdb"
    with duckdb.connect(str(path)) as earlier:
        earlier.execute(EARLIER)
    for _ in range(2):
        with Store.open(path) as store:
            assert store.interactions(before=END_OF_TIME)["item_id"].to_list() == ["i", "j"]
            assert store.items(before=datetime(2024, 1, 1))["title"].to_list() == ["Ink"]
            assert store.connection.sql("SELECT table_name, layout FROM rejected_rows").fetchall() == [
                ("interactions", None)
            ]
            keys = store.connection.sql("SELECT count(*) FROM interactions WHERE event_key = hash(event_id)")
            assert keys.fetchall() == [(2,)]
            assert store.connection.sql("SELECT count(*) FROM item_versions").fetchall() == [(1,)]
            shown = store.connection.sql(
                "SELECT request_id, score, clicked, reasons, placed_by FROM decisions"
            ).fetchall()
            assert shown == [("r", 0.5, True, None, None)]
            answered = store.connection.sql("SELECT request_id, latency_ms, comparison, asked FROM requests").fetchall()
            assert answered == [("r", 2.5, None, None)]


def test_keys_of_another_hash_are_made_anew(tmp_path):
    path = tmp_path / "store.duckdb"
    with duckdb.connect(str(path)) as earlier:
        earlier.execute(EARLIER)
    Store.open(path).close()
    with duckdb.connect(str(path)) as another:
        another.execute("UPDATE interactions SET event_key = event_key // 2")
    with Store.open(path) as store:
        keys = store.connection.sql("SELECT count(*) FROM interactions WHERE event_key = hash(event_id)")
        assert keys.fetchall() == [(2,)]
