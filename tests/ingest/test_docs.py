import re
from datetime import datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANALYSTS = (ROOT / "docs" / "analysts.md").read_text()
FORMATS = (ROOT / "docs" / "data-formats.md").read_text()
QUERIES = dict(re.findall(r"### (.+?)\n\n```sql\n(.+?)```", ANALYSTS, re.DOTALL))

ANSWERS = {
    "Which items were bought by most people in the last thirty days of the log?": [
        ("b", "Bread", 2),
        ("a", "Apple", 1),
    ],
    "Which categories are people interested in, week by week?": [
        # The old purchase; then a's purchase and view, b's two purchases and a view.
        (datetime(2023, 1, 2), "food", 10.0),
        (datetime(2024, 1, 1), "food", 10.0 + 1.0 + 10.0 + 10.0 + 1.0),
        (datetime(2024, 1, 1), "fruit", 10.0 + 1.0),
    ],
    "How fast do clicks fall with the place in the list?": [(1, 2, 2, 2 / 2), (2, 2, 1, 1 / 2)],
    "What came of each model's answers?": [("b1", 1, 1 / 2, 10.0 / 1)],
    "Which files brought bad rows, and why?": [("log.csv", 8, 2, {"bad_time": 1, "missing_item_id": 1})],
    "How much of the catalogue has nobody touched?": [(1, 3)],
}


@pytest.fixture
def filled(store, load):
    load("items.csv", "item_id,title,categories\na,Apple,food|fruit\nb,Bread,food\nc,Cork,home\n")
    load(
        "log.csv",
        "user_id,item_id,occurred_at,kind,request_id\n"
        "u1,b,2023-01-02,purchase,\nu1,a,2024-01-01,view,\nu1,b,2024-01-02,purchase,\nu2,b,2024-01-03,purchase,\n"
        "u2,a,2024-01-03,purchase,r1\nu3,b,2024-01-03,view,\nu3,,2024-01-03,view,\nu3,b,soon,view,\n",
    )
    load(
        "shown.csv",
        "request_id,user_id,item_id,occurred_at,clicked,position\nr0,u1,a,2024-01-01,1,1\nr0,u1,b,2024-01-01,1,2\n",
    )
    moment = datetime(2024, 1, 3)
    store.connection.execute(
        "INSERT INTO requests (request_id, user_id, occurred_at, bundle_version) VALUES ('r1', 'u2', ?, 'b1')", [moment]
    )
    for position, item_id in enumerate(["a", "b"], 1):
        store.connection.execute(
            """
            INSERT INTO impressions (request_id, user_id, item_id, position, occurred_at)
            VALUES ('r1', 'u2', ?, ?, ?)
            """,
            [item_id, position, moment],
        )
    return store


@pytest.mark.parametrize("question", QUERIES)
def test_each_question_of_the_analysts_page_is_answered(filled, question):
    rows = filled.connection.sql(QUERIES[question]).fetchall()
    if question.startswith("Which files"):
        rows = [(Path(path).name, *counts) for path, *counts in rows]
    assert rows == ANSWERS[question]


def test_the_analysts_page_names_every_table_and_view(store):
    names = store.connection.sql(
        """
        SELECT table_name FROM duckdb_tables() WHERE NOT internal
        UNION
        SELECT view_name FROM duckdb_views() WHERE NOT internal
        """
    ).fetchall()
    assert [name for (name,) in names if f"`{name}`" not in ANALYSTS] == []


def test_the_formats_page_names_every_reason():
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", FORMATS, re.MULTILINE))))
    used = {"missing_user_id", "missing_item_id", "missing_request_id"}
    for path in (ROOT / "ingest").glob("*.py"):
        used |= set(
            re.findall(r'"((?:missing_time|(?:long|bad|before|future|control|invalid|field)_\w+))"', path.read_text())
        )
    assert told == used
