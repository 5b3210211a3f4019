import gzip
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.checks import ChecksConfig
from ingest.errors import InputFileError, SettingsError
from ingest.find_files import find_files
from ingest.load import load_files
from ingest.mapping import ColumnsConfig
from ingest.presets import PRESETS, readings
from ingest.spoken import load_lines

LENIENT = ChecksConfig(max_rejected_share=0.9)


@pytest.fixture
def load_set(store, tmp_path):
    """Write the files of a data set and load the folder; return the reports."""

    def write_and_load(preset, **files):
        folder = tmp_path / "set"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_files(store, find_files([folder], preset), preset=preset, checks=LENIENT)

    return write_and_load


@pytest.fixture
def rows(store):
    """Ask the store."""

    def ask(query):
        return store.connection.sql(query).fetchall()

    return ask


ITEMS = "SELECT item_id, title, description, categories FROM items ORDER BY item_id"
EVENTS = "SELECT user_id, item_id, kind, weight, occurred_at FROM interactions ORDER BY occurred_at, user_id, item_id"
REJECTED = "SELECT table_name, line, reason_code FROM rejected_rows ORDER BY source, line, reason_code"


def tables(reports):
    return sorted((Path(report.path).name, report.table or "-") for report in reports)


# MovieLens


def test_movielens_csv_releases(load_set, rows):
    reports = load_set(
        "movielens",
        **{
            "ratings.csv": "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,3,9\n2,31,4.0,soon\n",
            "movies.csv": 'movieId,title,genres\n31,"Minds, The (1995)",Drama|War\n3,Untold,(no genres listed)\n',
            "tags.csv": 'userId,movieId,tag,timestamp\n1,31,"say ""hi""",1260759145\n',
            "links.csv": "movieId,imdbId,tmdbId\n31,1,2\n",
            "genome-scores.csv": "movieId,tagId,relevance\n31,1,0.5\n",
            "README.txt": "licence",
        },
    )
    assert tables(reports) == [
        *(("README.txt", "-"), ("genome-scores.csv", "-"), ("links.csv", "-"), ("movies.csv", "items")),
        *(("ratings.csv", "interactions"), ("tags.csv", "interactions")),
    ]
    assert rows(ITEMS) == [("3", "Untold", None, None), ("31", "Minds, The (1995)", None, ["Drama", "War"])]
    assert rows(EVENTS) == [
        ("1", "31", "rating", 2.5, datetime(2009, 12, 14, 2, 52, 24)),
        ("1", "31", "tag", 1.0, datetime(2009, 12, 14, 2, 52, 25)),
    ]
    assert rows("SELECT context->>'tag' FROM interactions WHERE kind = 'tag'") == [('say "hi"',)]
    assert rows(REJECTED) == [("interactions", 3, "field_count"), ("interactions", 4, "bad_time")]


def test_movielens_1m_is_latin_1_and_10m_utf_8(load_set, rows):
    load_set(
        "movielens",
        **{
            "ml-1m/ratings.dat": "1::1193::5::978300760\n",
            "ml-1m/movies.dat": "1::Misérables, Les (1995)::Drama|Musical\n9::short\n".encode("latin-1"),
            "ml-1m/users.dat": "1::F::1::10::48067\n",
            "ml-10M100K/movies.dat": "2::Amélie (2001)::Comedy\r\n",
            "ml-10M100K/tags.dat": "15::2::a : b::1215184630\n",
            "ml-10M100K/split_ratings.sh": "#!/bin/sh\n",
        },
    )
    assert rows(ITEMS) == [
        ("1", "Misérables, Les (1995)", None, ["Drama", "Musical"]),
        ("2", "Amélie (2001)", None, ["Comedy"]),
    ]
    assert [row[:4] for row in rows(EVENTS)] == [("1", "1193", "rating", 5.0), ("15", "2", "tag", 1.0)]
    assert rows(REJECTED) == [("items", 2, "field_count")]


def test_movielens_100k(load_set, rows):
    flags = ["0"] * 19
    flags[3] = flags[4] = "1"
    load_set(
        "movielens",
        **{
            "u.data": "196\t242\t3\t881250949\n",
            "u.item": "\n".join(
                [
                    "|".join(["242", "Kolya é (1996)", "24-Jan-1997", "", "http://imdb/k", *flags]),
                    "|".join(["267", "unknown", "", "", "", "1", *["0"] * 18]),
                    "|".join(["268", "Odd date", "1997?", "", "", *["0"] * 19]),
                ]
            ).encode("latin-1"),
            "u.user": "1|24|M|technician|85711\n",
            "u1.base": "196\t242\t3\t881250949\n",
            "ua.test": "196\t242\t3\t881250949\n",
            "u.info": "943 users\n",
        },
    )
    assert rows("SELECT item_id, title, categories, published_at, attributes->>'imdb_url' FROM items ORDER BY 1") == [
        ("242", "Kolya é (1996)", ["Animation", "Children's"], datetime(1997, 1, 24), "http://imdb/k"),
        ("267", "unknown", [], None, None),
    ]
    assert [row[:4] for row in rows(EVENTS)] == [("196", "242", "rating", 3.0)]
    assert rows(REJECTED) == [("items", 3, "bad_time")]


# MIND

NEWS = "\t".join(
    [
        *("N1", "sports", "golf", 'He said "no', "Abstract", "https://assets.msn.com/N1"),
        *('[{"Label": "PGA T\\u00f6ur", "WikidataId": "Q910409"}]', "no list"),
    ]
)


def test_mind(load_set, rows):
    reports = load_set(
        "mind",
        **{
            "train/news.tsv": NEWS + "\nN2\tshort\n",
            "train/behaviors.tsv": "1\tU1\t11/9/2019 9:05:58 AM\tN8 N9\tN1-1 N2-0\n"
            "2\tU2\t11/11/2019 12:00:00 PM\t\tN2-0\n3\n",
            "dev/behaviors.tsv": "1\tU9\t11/15/2019 1:00:00 PM\tN1\tN2-1\n",
            "train/entity_embedding.vec": "Q1\t0.1\n",
            "train/entity_embedding_100.vec": "Q1\t0.1\n",
        },
    )
    assert rows(ITEMS) == [("N1", 'He said "no', "Abstract", ["sports", "golf"])]
    assert json.loads(rows("SELECT attributes FROM items")[0][0]) == {
        "url": "https://assets.msn.com/N1",
        "entities": {"Q910409": "PGA Töur"},
    }
    shown = rows(
        """
        SELECT request_id, user_id, item_id, position, clicked, occurred_at
        FROM impressions
        ORDER BY occurred_at, position
        """
    )
    first, noon, dev = datetime(2019, 11, 9, 9, 5, 58), datetime(2019, 11, 11, 12), datetime(2019, 11, 15, 13)
    assert shown == [
        ("1@2019-11-09T09:05:58", "U1", "N1", 1, True, first),
        ("1@2019-11-09T09:05:58", "U1", "N2", 2, False, first),
        ("2@2019-11-11T12:00:00", "U2", "N2", 1, False, noon),
        # Both parts have an impression 1; they stay apart.
        ("1@2019-11-15T13:00:00", "U9", "N2", 1, True, dev),
    ]
    # Clicks only; the history has no times and is not made up.
    assert rows("SELECT user_id, item_id, kind, request_id FROM interactions ORDER BY occurred_at") == [
        ("U1", "N1", "click", "1@2019-11-09T09:05:58"),
        ("U9", "N2", "click", "1@2019-11-15T13:00:00"),
    ]
    assert rows(REJECTED) == [("impressions", 3, "field_count"), ("items", 2, "field_count")]
    assert {(report.table, report.rows_read) for report in reports if "train/behaviors" in report.path} == {
        ("impressions", 4),
        ("interactions", 1),
    }


def test_mind_refuses_the_test_part_that_does_not_tell_what_was_clicked(store, tmp_path, rows):
    path = tmp_path / "behaviors.tsv"
    path.write_text("1\tU1\t11/22/2019 9:00:00 AM\tN8\tN1 N2\n")
    with pytest.raises(InputFileError, match="bad_clicked 2"):
        load_files(store, [path], preset="mind")
    assert rows("SELECT * FROM impressions") == []


# Amazon


def test_amazon_2014_metadata_is_python_literals(load_set, rows):
    load_set(
        "amazon",
        **{
            "reviews_Beauty_5.json.gz": gzip.compress(
                b'{"reviewerID": "A1", "asin": "B1", "reviewerName": "Jo", "helpful": [2, 3], "reviewText": "Nice",'
                b' "overall": 5.0, "summary": "Yes", "unixReviewTime": 1400000000}\n'
                b'{"reviewerID": "A2", "asin": "B1"}\n'
            ),
            "meta_Beauty.json.gz": gzip.compress(
                b"{'asin': 'B1', 'title': 'cut off\n"
                b"{'asin': 'B1', 'title': 'It\\'s \"x\"', 'price': 3.5, 'imUrl': 'u', 'related': {'also_bought': []},"
                b" 'categories': [['Beauty', 'Hair'], ['Beauty', 'Gift']], 'description': 'D'}\n"
                b"{'asin': '\\ud83d'}\n__import__('os')\n"
            ),
            "ratings_Beauty.csv": "A3,B1,4.0,1400000001\n",
        },
    )
    assert rows(ITEMS) == [("B1", 'It\'s "x"', "D", ["Beauty", "Hair", "Gift"])]
    assert rows("SELECT CAST(attributes AS VARCHAR) FROM items") == [('{"price":3.5}',)]
    assert [row[:4] for row in rows(EVENTS)] == [("A1", "B1", "review", 5.0), ("A3", "B1", "review", 4.0)]
    assert rows("SELECT CAST(context AS VARCHAR) FROM interactions WHERE user_id = 'A1'") == [('{"helpful":[2,3]}',)]
    assert rows(REJECTED) == [
        *(("items", line, "invalid_json") for line in (1, 3, 4)),
        ("interactions", 2, "missing_time"),
    ]


def test_amazon_2018(load_set, rows):
    load_set(
        "amazon",
        **{
            "Gift_Cards.json": '{"overall": 4.0, "vote": "25", "verified": true, "reviewTime": "12 19, 2008", '
            '"reviewerID": "A1", "asin": "B1", "style": {"Size:": " 1"}, "unixReviewTime": 1229644800}\n',
            "meta_Gift_Cards.json": '{"category": ["Gift Cards"], "description": ["One.", "", "Two."], '
            '"title": "Card", "also_buy": ["B2"], "feature": ["Never expires"], "main_cat": "Gifts", "price": "$5", '
            '"asin": "B1"}\n',
            "Books.csv": "B1,A2,3.0,1229644801\n",
        },
    )
    assert rows(ITEMS) == [("B1", "Card", "One.\nTwo.\nNever expires", ["Gifts", "Gift Cards"])]
    assert [row[:4] for row in rows(EVENTS)] == [("A1", "B1", "review", 4.0), ("A2", "B1", "review", 3.0)]


def test_amazon_2023(load_set, rows):
    load_set(
        "amazon",
        **{
            "Gift_Cards.jsonl": '{"rating": 5.0, "title": "Good", "text": "T", "images": [], "asin": "B1", '
            '"parent_asin": "P1", "user_id": "AF", "timestamp": 1549866158332, "helpful_vote": 0, '
            '"verified_purchase": true}\n',
            "meta_Gift_Cards.jsonl": '{"main_category": "Gift Cards", "title": "Card", "average_rating": 4.8, '
            '"rating_number": 18, "features": ["A", "B \\"c\\""], "description": [], "price": null, "images": [], '
            '"store": "S", "categories": ["Gift Cards", "Brand"], "details": {"Size": "1"}, "parent_asin": "P1"}\n[]\n',
            "benchmark/Gift_Cards.csv": "user_id,parent_asin,rating,timestamp\nAG,P1,2.0,1549866158333\n",
        },
    )
    assert rows(ITEMS) == [("P1", "Card", 'A\nB "c"', ["Gift Cards", "Brand"])]
    assert json.loads(rows("SELECT attributes FROM items")[0][0]) == {
        "average_rating": 4.8,
        "rating_number": 18,
        "store": "S",
        "details": {"Size": "1"},
    }
    assert rows(EVENTS) == [
        ("AF", "P1", "review", 5.0, datetime(2019, 2, 11, 6, 22, 38, 332000)),
        ("AG", "P1", "review", 2.0, datetime(2019, 2, 11, 6, 22, 38, 333000)),
    ]
    assert json.loads(rows("SELECT context FROM interactions WHERE user_id = 'AF'")[0][0]) == {
        "asin": "B1",
        "helpful_vote": 0,
        "verified_purchase": True,
    }
    assert rows(REJECTED) == [("items", 2, "invalid_json")]


texts = st.text(max_size=12)
products = st.fixed_dictionaries(
    {"asin": st.just("B1"), "title": texts},
    optional={
        "description": texts | st.lists(texts, max_size=3),
        "categories": st.lists(texts | st.lists(texts, max_size=3), max_size=3),
        "price": st.floats(allow_nan=False, allow_infinity=False) | texts,
    },
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(products, min_size=1, max_size=4))
def test_amazon_python_literals_and_json_mean_the_same(tmp_path, catalogue):
    told = []
    for name, write in (("meta_a.json", repr), ("meta_b.json", json.dumps)):
        path = tmp_path / name
        path.write_text("".join(write(product) + "\n" for product in catalogue), encoding="utf-8")
        (reading,) = readings(path, "amazon", ColumnsConfig())
        told.append([batch.rows.rows() for batch in reading.batches()])
    assert told[0] == told[1]
    assert len(told[0][0]) == len(catalogue)


# Metarank

EVENT_LOG = [
    {"event": "item", "id": "e1", "timestamp": "1599391467000", "item": "i1"}
    | {
        "fields": [
            {"name": "title", "value": "Cat"},
            {"name": "genres", "value": ["a", "b"]},
            {"name": "n", "value": 1},
        ]
    },
    {"event": "user", "id": "e2", "timestamp": 1599391467000, "user": "u1", "fields": []},
    {"event": "ranking", "id": "r1", "timestamp": "2020-09-06T11:24:27Z", "user": "u1", "session": "s1"}
    | {"items": [{"id": "i1", "relevancy": 2.0}, {"id": "i2"}], "fields": [{"name": "query", "value": "cat"}]},
    {"event": "interaction", "id": "e3", "ranking": "r1", "timestamp": "1599391468000", "user": "u1", "session": "s1"}
    | {"type": "purchase", "item": "i2", "fields": [{"name": "count", "value": 1}]},
    {"event": "interaction", "id": "e4", "timestamp": 1599391469000, "session": "s2", "type": "click", "item": "i1"},
    {"event": "item", "id": "e5", "timestamp": "1599391470000", "item": "i1", "fields": [{"name": "n", "value": 2}]},
    {"event": "ranking", "id": "r2", "timestamp": 1599391471000, "user": "u1", "items": []},
    {"event": "ranking", "id": "r3", "timestamp": 1599391471000, "user": "u1", "items": "i1"},
    {"event": "interaction", "id": "e6", "timestamp": 1599391472000, "type": "click", "item": "i1"},
    {"event": "surprise", "id": "e7"},
]


def test_metarank_log_fills_three_tables(load_set, rows):
    log = "".join(json.dumps(event) + "\n" for event in EVENT_LOG) + "{cut\n"
    reports = load_set("metarank", **{"events.jsonl.gz": gzip.compress(log.encode()), "config.yml": "models:\n"})
    assert tables(reports) == [
        *(("config.yml", "-"), ("events.jsonl.gz", "impressions")),
        *(("events.jsonl.gz", "interactions"), ("events.jsonl.gz", "items")),
    ]
    # The later event tells one field; the others stay.
    assert rows(ITEMS) == [("i1", "Cat", None, ["a", "b"])]
    assert rows("SELECT CAST(attributes AS VARCHAR), updated_at FROM items") == [
        ('{"n": 2}', datetime(2020, 9, 6, 11, 24, 30))
    ]
    assert rows("SELECT request_id, user_id, item_id, position, score, clicked FROM impressions ORDER BY position") == [
        ("r1", "u1", "i1", 1, 2.0, None),
        ("r1", "u1", "i2", 2, None, None),
    ]
    assert rows(
        """
        SELECT event_id, user_id, item_id, kind, request_id, session_id, CAST(context AS VARCHAR)
        FROM interactions ORDER BY event_id
        """
    ) == [
        ("e3", "u1", "i2", "purchase", "r1", "s1", '{"count": 1}'),
        # A visitor who is no user counts as one for the session.
        ("e4", "s2", "i1", "click", None, "s2", None),
    ]
    assert rows(REJECTED) == [
        ("impressions", 8, "missing_item_id"),
        ("interactions", 9, "missing_user_id"),
        ("items", 10, "invalid_json"),
        ("items", 11, "invalid_json"),
    ]


def test_metarank_events_of_users_are_counted_told_and_no_rows(load_set, monkeypatch):
    monkeypatch.setattr("ingest.sources.CHUNK_BYTES", 200)
    log = "".join(json.dumps(event) + "\n" for event in [*EVENT_LOG, EVENT_LOG[1]])
    reports = load_set("metarank", **{"events.jsonl": log})
    assert {report.table: report.passed_over for report in reports} == {
        "items": {"events of users": 2},
        "impressions": {},
        "interactions": {},
    }
    assert sum(report.rows_read for report in reports) == 2 + 3 + 3 + 1  # items, shown, interactions, the surprise
    for report in reports:
        assert report.rows_read == report.rows_loaded + report.rows_duplicate + report.rows_rejected
    (line, *_) = load_lines(reports)
    assert "rejected; 2 events of users passed over, no table holds them" in line


def test_metarank_log_of_users_alone_says_so(load_set):
    (line, *_) = load_lines(load_set("metarank", **{"users.jsonl": json.dumps(EVENT_LOG[1]) + "\n"}))
    assert "1 events of users passed over, no table holds them" in line


def test_metarank_clicks_of_a_ranking_are_found_by_its_id(load_set, store):
    load_set("metarank", **{"events.json": "".join(json.dumps(event) + "\n" for event in EVENT_LOG)})
    shown = store.impressions(before=datetime(2030, 1, 1))
    assert shown.select("item_id", "clicked").rows() == [("i1", False), ("i2", True)]


def test_metarank_fields_are_named_by_the_settings(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(EVENT_LOG[0]).replace('"title"', '"caption"'))
    items, *_ = readings(path, "metarank", ColumnsConfig(title=("caption",)))
    assert [row["title"] for batch in items.batches() for row in batch.rows.iter_rows(named=True)] == ["Cat"]


facts = st.dictionaries(st.sampled_from(["title", "text", "price", "tags"]), st.integers(0, 9), max_size=3)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), facts), max_size=20))
def test_metarank_item_events_go_on_from_earlier_ones(tmp_path, monkeypatch, events):
    monkeypatch.setattr("ingest.sources.CHUNK_BYTES", 100)
    path = tmp_path / "events.jsonl"
    with path.open("w") as file:
        for item, told in events:
            fields = [{"name": name, "value": str(value)} for name, value in told.items()]
            file.write(json.dumps({"event": "item", "item": item, "timestamp": 1, "fields": fields}) + "\n")
    known: dict[str, dict[str, str]] = {}
    expected = {}
    for line, (item, told) in enumerate(events, 1):
        known[item] = {**known.get(item, {}), **{name: str(value) for name, value in told.items()}}
        expected[line] = (item, known[item].get("title"), known[item].get("text"), known[item].get("tags"))
    items = readings(path, "metarank", ColumnsConfig())[0]
    found = {}
    for batch in items.batches():
        for line, *values in batch.rows.select("line", "item_id", "title", "description", "categories").iter_rows():
            found[line] = tuple(values)
    assert found == expected


# Gorse

GORSE_ITEM = {"ItemId": "1", "IsHidden": True, "Categories": ["x"], "Timestamp": "2020-01-01T01:01:01.000000001Z"}
GORSE_ITEM |= {"Labels": {"title": "T", "genre": ["sci-fi"]}, "Comment": "one, two"}
GORSE_FEEDBACK = {"FeedbackType": "star", "UserId": "u", "ItemId": "1", "Timestamp": "2021-10-24T06:42:20.207Z"}


@pytest.mark.parametrize("form", ["lines", "one line", "pretty"])
def test_gorse_json(load_set, rows, form):
    def written(objects):
        lines = [json.dumps(each) for each in objects]
        return {
            "lines": "\n".join(lines),
            "one line": f"[{','.join(lines)}]",
            "pretty": "[\n" + ",\n".join(lines) + "\n]",
        }[form]

    feedback = [GORSE_FEEDBACK, GORSE_FEEDBACK | {"FeedbackType": "read", "Value": 0.0}]
    feedback += [GORSE_FEEDBACK | {"FeedbackType": "rate", "Value": 3.5}]
    load_set(
        "gorse",
        **{
            "items.json": written([GORSE_ITEM, {"ItemId": "2", "Timestamp": "0001-01-01T00:00:00Z", "Comment": "c"}]),
            "feedback.json": written(feedback),
            "users.json": written([{"UserId": "u", "Labels": ["m"]}]),
        },
    )
    assert rows("SELECT item_id, title, description, categories, available, published_at FROM items ORDER BY 1") == [
        ("1", "T", "one, two", ["x"], False, datetime(2020, 1, 1, 1, 1, 1)),
        ("2", None, "c", None, True, None),
    ]
    assert rows("SELECT CAST(attributes AS VARCHAR) FROM items WHERE item_id = '1'") == [('{"genre": ["sci-fi"]}',)]
    assert rows("SELECT kind, weight FROM interactions ORDER BY kind") == [("rate", 3.5), ("read", 1.0), ("star", 1.0)]


def test_gorse_csv_with_and_without_header(load_set, rows):
    load_set(
        "gorse",
        **{
            "items.csv": "item_id,is_hidden,categories,time_stamp,labels,description\r\n"
            '1,false,x|y,2020-01-01 01:01:01.000000001 +0000 UTC,"{""genre"":[""comedy""]}","o,n,e"\r\n'
            '3,true,,0001-01-01 00:00:00 +0000 UTC,a|b,"t\r\nw"\r\n4,true\r\n',
            "feedback.csv": "click,0,2,2020-01-01 00:00:00 +0000 UTC\nread,2,6,0001-01-01 00:00:00 +0000 UTC\n",
            "users.csv": "user_id,labels\r\n1,a\r\n",
        },
    )
    assert rows("SELECT item_id, description, categories, available, published_at FROM items ORDER BY 1") == [
        ("1", "o,n,e", ["x", "y"], True, datetime(2020, 1, 1, 1, 1, 1)),
        ("3", "t\r\nw", ["a", "b"], False, None),
    ]
    assert rows(EVENTS) == [("0", "2", "click", 2.0, datetime(2020, 1, 1))]
    # Go's zero time says that there was none.
    assert rows(REJECTED) == [("interactions", 2, "missing_time"), ("items", 5, "field_count")]


def test_gorse_takes_a_file_for_what_its_name_ends_in(load_set, rows):
    load_set(
        "gorse",
        **{
            "user_feedback.csv": "click,a,1,2020-01-01 00:00:00 +0000 UTC\n",
            "item_feedback.csv": "read,b,2,2020-01-01 00:00:00 +0000 UTC\n",
            "shop-users.jsonl": json.dumps({"UserId": "u"}),
        },
    )
    assert rows("SELECT user_id, item_id, kind FROM interactions ORDER BY 1") == [
        ("a", "1", "click"),
        ("b", "2", "read"),
    ]
    assert rows("SELECT count(*) FROM items") == [(0,)]


def test_gorse_takes_parts_and_dated_exports(load_set, rows):
    load_set(
        "gorse",
        **{
            "items_2024.jsonl": json.dumps({"ItemId": "1", "Comment": "one"}),
            "items.part2.jsonl": json.dumps({"ItemId": "2", "Comment": "two"}),
            "items-feedback.csv": "click,a,1,2020-01-01 00:00:00 +0000 UTC\n",
            "feedback-2024.csv": "read,b,2,2020-01-01 00:00:00 +0000 UTC\n",
        },
    )
    assert rows("SELECT item_id FROM items ORDER BY 1") == [("1",), ("2",)]
    assert rows("SELECT user_id, kind FROM interactions ORDER BY 1") == [("a", "click"), ("b", "read")]


def test_gorse_takes_the_first_of_two_columns_that_say_the_same(load_set, rows):
    load_set("gorse", **{"items.csv": "item_id,description,comment\n1,first,second\n2,,second\n"})
    assert rows("SELECT item_id, description FROM items ORDER BY 1") == [("1", "first"), ("2", "second")]


# All presets


@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_unknown_to_the_preset_is_a_mistake_told_with_the_names_it_knows(store, tmp_path, preset):
    path = tmp_path / "thing.xlsx"
    path.touch()
    with pytest.raises(InputFileError, match=f"thing.xlsx: the preset {preset} reads .*, but knows no file") as caught:
        load_files(store, [path], preset=preset)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("preset", "name", "header", "wanted"),
    [
        ("movielens", "ratings.csv", "user_id,parent_asin,rating,timestamp", "userId, movieId, rating, timestamp"),
        ("movielens", "movies.csv", "movieId,title", "movieId, title, genres"),
        ("amazon", "Beauty.csv", "user_id,rating,timestamp", "user_id, parent_asin|asin|item_id, rating, timestamp"),
    ],
)
def test_a_table_of_another_set_under_a_known_name_is_a_mistake_told_with_its_columns(
    store, tmp_path, preset, name, header, wanted
):
    path = tmp_path / name
    path.write_text(f"{header}\n1,2,3,4\n")
    with pytest.raises(InputFileError, match=r"load this one without --preset") as mistake:
        load_files(store, [path], preset=preset)
    assert f"wanted the columns {wanted}, found '{header.split(',')[0]}'" in str(mistake.value)


def test_an_unknown_preset_is_a_mistake_told_with_those_there_are(tmp_path):
    with pytest.raises(SettingsError, match="one of movielens, mind, amazon, metarank, gorse; got 'netflix'"):
        readings(tmp_path / "u.data", "netflix", ColumnsConfig())


@pytest.mark.parametrize(
    ("preset", "name"),
    [("movielens", "u.data"), ("mind", "behaviors.tsv"), ("amazon", "meta_A.json"), ("metarank", "a.jsonl")],
)
def test_an_empty_file_loads_nothing(load_set, preset, name):
    assert {report.rows_read for report in load_set(preset, **{name: ""})} == {0}


def test_files_loaded_twice_change_nothing(load_set):
    log = "".join(json.dumps(event) + "\n" for event in EVENT_LOG)
    load_set("metarank", **{"events.jsonl": log})
    assert {report.rows_loaded for report in load_set("metarank", **{"events.jsonl": log})} == {0}


def test_names_of_presets_are_read_without_polars():
    code = "import sys, ingest.presets; print([n for n in ('polars', 'duckdb', 'numpy') if n in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert run.stdout.strip() == "[]"
