import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.load import load_files
from ingest.publish import publish
from ingest.publish_parquet import publish_parquet
from ingest.store import Store
from ingest.workspace import Workspace

ROOT = Path(__file__).parents[2]
ANALYSTS = (ROOT / "docs" / "analysts.md").read_text()
FORMATS = (ROOT / "docs" / "data-formats.md").read_text()
QUERIES = dict(re.findall(r"### (.+?)\n\n```sql\n(.+?)```", ANALYSTS, re.DOTALL))
PROGRAMS = re.findall(r"```python\n(.+?)```", ANALYSTS, re.DOTALL)

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
    "What came of each model's answers?": [("b1", 2, 1 / 2, 10.0 / 2)],
    "How often are answers narrowed, and by what?": [("exclude", 1), ("max_price", 1)],
    "Which files brought bad rows, and why?": [("log.csv", 8, 2, {"bad_time": 1, "missing_item_id": 1})],
    "How much of the catalogue has nobody touched?": [(1, 3)],
    "Which loads were unlike those before them?": [
        ("later.csv", "kinds that no earlier load had: 'wave' (1 row)"),
        ("later.csv", "1 of 1 new rows name items that the catalogue does not hold"),
    ],
    "Which titles did people see?": [("r0", 1, "Apple"), ("r0", 2, "Loaf"), ("r1", 1, "Apple"), ("r1", 2, "Bread")],
    "Which sources propose what is clicked?": [("words", 1, 1 / 1), ("popular", 2, 1 / 2), ("explore", 1, 0 / 1)],
    "How good is a place given away?": [(1, 0, 1 / 0.8 / 1, None), (2, 1, 0.0, 0 / 1)],
    "What put items at their places?": [("explore", 1, 0.0), ("score", 1, 1.0)],
    "Why were items shown?": [("popularity", 2, (0.5 + 0.1) / 2), ("text interest", 1, 0.7)],
    "What did the model know of the items of an answer?": [
        (1, "interest", 2.5),
        (1, "count_all", 1.0),
        (2, "interest", 2.5),
        (2, "count_all", 2.0),
    ],
    "Why did one item score higher than another, as people were told?": [
        ("r1", "a", "b", "collaborative", -0.3),
        ("r1", "a", "b", "popularity", 0.1),
    ],
    "Is the model that was judged last better than each baseline?": [
        ("all", "ndcg over popular", 0.3 - 0.2, 0.05, 0.15, True),
        ("cold users", "ndcg over popular", 0.2 - 0.2, -0.05, 0.05, False),
    ],
    "What became of each night's model, and why?": [
        (datetime(2024, 1, 6), "b3", "refused", "b2", "worse for all"),
        (datetime(2024, 1, 6), "b3", "refused", "b2", "and for cold users"),
        (datetime(2024, 1, 5), "b2", "promoted", None, "no worse"),
    ],
}


@pytest.fixture
def filled(store, load):
    load("items-old.csv", "item_id,title,categories,updated_at\nb,Loaf,food,2023-06-01\n")
    load(
        "items.csv",
        "item_id,title,categories,updated_at\n"
        "a,Apple,food|fruit,2024-01-02\nb,Bread,food,2024-01-02\nc,Cork,home,2024-01-02\n",
    )
    load(
        "log.csv",
        "user_id,item_id,occurred_at,kind,request_id\n"
        "u1,b,2023-01-02,purchase,\nu1,a,2024-01-01,view,\nu1,b,2024-01-02,purchase,\nu2,b,2024-01-03,purchase,\n"
        "u2,a,2024-01-03,purchase,r1\nu3,b,2024-01-03,view,\nu3,,2024-01-03,view,\nu3,b,soon,view,\n",
    )
    load("later.csv", "user_id,item_id,occurred_at,kind\nu1,z,2024-01-03,wave\n")
    load(
        "shown.csv",
        "request_id,user_id,item_id,occurred_at,clicked,position,propensity\n"
        "r0,u1,a,2024-01-01,1,1,0.5\nr0,u1,b,2024-01-01,1,2,0.5\n",
    )
    moment = datetime(2024, 1, 3)
    compared = {"first": "a", "second": "b", "difference": 0.1 - 0.3}
    compared["families"] = [{"family": "popularity", "weight": 0.1}, {"family": "collaborative", "weight": -0.3}]
    store.connection.execute(
        """
        INSERT INTO requests (request_id, user_id, occurred_at, endpoint, bundle_version, comparison, asked)
        VALUES
            ('r1', 'u2', $moment, 'recommendations', 'b1', $compared, $asked),
            ('empty', 'u2', $moment, 'recommendations', 'b1', NULL, NULL)
        """,
        {
            "moment": moment,
            "compared": json.dumps(compared),
            "asked": json.dumps({"exclude": ["c"], "max_price": 5}),
        },
    )
    interest, popularity = {"family": "text interest", "weight": 0.7}, {"family": "popularity", "weight": 0.5}
    for position, (item_id, sources, propensity, reasons, placed_by) in enumerate(
        [
            ("a", ["words", "popular"], 0.8, [interest, popularity], "score"),
            ("b", ["popular", "explore"], 0.01, [{**popularity, "weight": 0.1}], "explore"),
        ],
        1,
    ):
        store.connection.execute(
            """
            INSERT INTO impressions (
                request_id, user_id, item_id, position, sources, occurred_at, propensity, reasons, features, placed_by
            )
            VALUES ('r1', 'u2', ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [item_id, position, sources, moment, propensity, json.dumps(reasons), [2.5, position], placed_by],
        )
    store.connection.execute(
        "INSERT INTO bundles VALUES ('b1', $1, $1, 'live', ['interest', 'count_all'])", [moment - timedelta(days=1)]
    )
    judge(store, "run1", moment, [("all", -0.1, -0.2, 0.0)])
    judge(store, "run2", moment + timedelta(days=1), [("cold users", 0.0, -0.05, 0.05), ("all", 0.3 - 0.2, 0.05, 0.15)])
    night(store, "b2", datetime(2024, 1, 5), {"decision": "promoted", "live": None, "why": ["no worse"]})
    night(
        store,
        "b3",
        datetime(2024, 1, 6),
        {"decision": "refused", "live": "b2", "why": ["worse for all", "and for cold users"]},
    )
    return store


def night(store, version, moment, settings):
    store.connection.execute(
        """
        INSERT INTO evaluations (run_id, bundle_version, protocol, cutoff, settings, started_at)
        VALUES (?, ?, 'replay', ?, ?, ?)
        """,
        [f"night-{version}", version, moment, json.dumps({"nightly": settings}), moment],
    )


def judge(store, run_id, moment, gains):
    store.connection.execute(
        "INSERT INTO evaluations (run_id, protocol, cutoff, started_at) VALUES (?, 'cutoff', ?, ?)",
        [run_id, moment, moment],
    )
    for segment, value, low, high in gains:
        store.connection.execute(
            """
            INSERT INTO evaluation_metrics (run_id, cutoff, segment, system, metric, k, value, low, high, n)
            VALUES (?, ?, ?, 'readrank', 'ndcg over popular', 10, ?, ?, ?, 100)
            """,
            [run_id, moment, segment, value, low, high],
        )


@pytest.mark.parametrize("question", QUERIES)
def test_each_question_of_the_analysts_page_is_answered(filled, question):
    rows = filled.connection.sql(QUERIES[question]).fetchall()
    if question.startswith(("Which files", "Which loads")):
        rows = [(Path(path).name, *rest) for path, *rest in rows]
    assert rows == ANSWERS[question]


def test_every_answer_has_its_question():
    assert set(QUERIES) == set(ANSWERS)


def test_the_examples_for_other_engines_read_the_published_parquet(tmp_path, monkeypatch):
    workspace = Workspace.create(tmp_path / "w", "")
    log = tmp_path / "log.csv"
    log.write_text(
        "user_id,item_id,occurred_at,kind\n"
        "u1,a,2023-12-31 23:59:59,purchase\nu1,a,2024-01-01,view\nu1,b,2024-01-02,view\nu2,b,2024-01-31,purchase\n"
    )
    with Store.open(workspace.store_path) as store:
        load_files(store, [log])
    publish(workspace)
    publish_parquet(workspace)
    monkeypatch.chdir(workspace.root)
    polars, pyarrow = PROGRAMS
    made: dict[str, Any] = {}
    exec(polars, made)
    assert dict(made["per_kind"].iter_rows()) == {"view": 2, "purchase": 1}
    exec(pyarrow, made)
    assert made["purchases"].column("user_id").to_pylist() == ["u2"]


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
            re.findall(
                r'"((?:(?:missing|future)_time|(?:long|bad|before|control|invalid|field)_\w+)|other_table)"',
                path.read_text(),
            )
        )
    assert told == used
