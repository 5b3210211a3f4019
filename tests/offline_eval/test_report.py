import json
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from encoders.text import item_texts
from ingest import columns as c
from ingest.store import Store
from offline_eval import metrics
from offline_eval.baselines import make_baselines
from offline_eval.compare import SCHEMA, compare_lists, compare_scores
from offline_eval.record import record
from offline_eval.report import ReportFacts, _plot, pivot, printed, render, write_report
from offline_eval.simulate import Simulation
from offline_eval.windows import ASKS, Window, choose_cutoff, cutoff_window, replay_window
from ranker.catalogue import Catalogue

OURS = "item-item"
"""The system that plays the part of ours: the report does not care which."""


@pytest.fixture(scope="module")
def compared(
    shop: Simulation, shop_items: pl.DataFrame, shop_log: pl.DataFrame
) -> tuple[Window, dict[str, pl.DataFrame], pl.DataFrame]:
    cutoff = choose_cutoff(shop_log)
    shop_log = _with_a_single_past(shop_log, cutoff)
    catalogue = Catalogue.from_store(shop_items, shop_log)
    baselines = make_baselines(catalogue, item_texts(catalogue.items), shop_log, cutoff)
    window = cutoff_window(shop_log, cutoff)
    answers = {name: one.recommend(window.queries, 10) for name, one in baselines.items()}
    lists = compare_lists(window, answers, shop_items.height, 10, OURS)
    replay = replay_window(shop_log, cutoff, max_queries=100)
    shown = pl.read_parquet(shop.impressions).filter(pl.col(c.OCCURRED_AT) >= cutoff)
    scored = {name: one.rank(shown) for name, one in baselines.items()}
    return window, answers, pl.concat([lists, compare_scores(replay, shown, scored, OURS)])


def _with_a_single_past(shop_log: pl.DataFrame, cutoff: datetime) -> pl.DataFrame:
    """Of what every tenth user did before the cutoff, keep the last event alone."""
    last = pl.col(c.OCCURRED_AT).filter(pl.col(c.OCCURRED_AT) < cutoff).max().over(c.USER_ID)
    return shop_log.filter(~pl.col(c.USER_ID).str.ends_with("5") | (pl.col(c.OCCURRED_AT) >= last))


@pytest.fixture
def facts(compared: tuple[Window, dict[str, pl.DataFrame], pl.DataFrame]) -> ReportFacts:
    window = compared[0]
    return ReportFacts(
        run_id="20240301T120000",
        cutoff=window.cutoff,
        bundle_version="v<1>",
        counts={
            "cutoff": {"queries": window.queries.height, "true_items": window.truth.height},
            "replay": {"queries": 9},
        },
        started_at=datetime(2024, 3, 1, 12),
        finished_at=datetime(2024, 3, 1, 12, 0, 7),
        ours=OURS,
    )


def value(rows: pl.DataFrame, **where: str) -> float:
    return rows.filter(**where)["value"].item()


def test_values_are_the_means_of_the_metrics(compared) -> None:
    window, answers, rows = compared
    assert dict(rows.schema) == SCHEMA
    for system, recommended in answers.items():
        frame = metrics.per_query(recommended, window.truth, 10).join(window.queries, on=c.QUERY_ID)
        parts = {"all": frame, "warm users": frame.filter("warm"), "users with one event": frame.filter(n_before=1)}
        for segment, part in parts.items():
            assert value(rows, segment=segment, system=system, metric="ndcg") == pytest.approx(part["ndcg"].mean())
    gain = value(rows, segment="all", system=OURS, metric="ndcg over popular")
    ndcg = {name: value(rows, segment="all", system=name, metric="ndcg") for name in (OURS, "popular")}
    assert gain == pytest.approx(ndcg[OURS] - ndcg["popular"])


def test_segments_divide_the_queries_and_intervals_hold_their_value(compared) -> None:
    window, _, rows = compared
    n = {
        segment: rows.filter(segment=segment, metric="ndcg")["n"].max()
        for segment in ("all", "warm users", "cold users")
    }
    assert n["warm users"] + n["cold users"] == n["all"] == window.queries.height
    bounded = rows.filter(pl.col("low").is_not_null())
    assert bounded.height > 50
    assert (bounded["low"] <= bounded["value"] + 1e-12).all()
    assert (bounded["value"] <= bounded["high"] + 1e-12).all()


def test_users_with_one_event_are_judged_apart_where_there_are_any(compared, facts: ReportFacts) -> None:
    window, answers, rows = compared
    part = rows.filter(protocol="cutoff", segment="users with one event")
    n = window.queries.filter(n_before=1).height
    assert 0 < n < window.queries["warm"].sum()
    assert set(part["n"]) == {n}
    assert set(part["metric"]) == {*metrics.PER_QUERY, *(f"ndcg over {name}" for name in answers if name != OURS)}
    assert f'<h3>Users with one event</h3>\n<p class="soft">ndcg@10, {n} queries</p>' in render(facts, rows)
    _, sections = printed(rows.filter(protocol="cutoff"), OURS)
    named = [lines[0][0] for lines in sections]
    assert named.index("warm users") + 1 == named.index("users with one event") == named.index("cold users") - 1
    others = replace(window, queries=window.queries.with_columns(n_before=pl.col("n_before") * 2))
    assert "users with one event" not in set(compare_lists(others, answers, 500, 10, OURS)["segment"])


def test_ranking_what_was_shown_is_better_than_a_coin(compared) -> None:
    rows = compared[2].filter(segment="shown requests", metric="auc")
    assert rows.height == 4
    assert rows["value"].min() > 0.5
    assert rows["k"].null_count() == 4


def test_cold_items_are_found_by_text_alone(compared) -> None:
    rows = compared[2].filter(segment="cold items", metric="recall")
    found = dict(rows.select("system", "value").iter_rows())
    assert found["popular"] == found["behaviour-only"] == 0.0


def test_table_puts_ours_first_and_marks_the_best(compared) -> None:
    rows = compared[2].filter(protocol="cutoff")
    headings, table = pivot(rows, "all", OURS)
    assert headings == ["ndcg@10", "recall@10", "mrr@10", "hit_rate@10", "coverage@10"]
    assert table[0]["system"] == OURS
    best = max(rows.filter(segment="all", metric="ndcg")["value"])
    assert [line["cells"][0]["value"] for line in table if line["cells"][0]["best"]] == [best]


def test_page_is_well_formed_self_contained_and_escaped(compared, facts: ReportFacts, tmp_path: Path) -> None:
    page, data = write_report(facts, compared[2], tmp_path)
    html = page.read_text()
    assert "http" not in html
    assert "src=" not in html
    assert "v&lt;1&gt;" in html
    assert html.count("<svg") == len(compared[2].select("protocol", "segment").unique())
    assert _Balance.of(html) == []
    told = json.loads(data.read_text())
    assert len(told["metrics"]) == compared[2].height
    assert told["cutoff"] == facts.cutoff.isoformat(sep=" ")


def test_page_and_table_stand_without_the_bounds_that_one_user_cannot_give(compared, facts: ReportFacts) -> None:
    rows = compared[2].with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64))
    assert _Balance.of(html := render(facts, rows)) == []
    gain = value(rows, protocol="cutoff", segment="all", system=OURS, metric="ndcg over popular")
    assert f"ndcg over popular {gain:+.4f} ·" in html
    _, sections = printed(rows.filter(protocol="cutoff"), OURS)
    assert not any("[" in cell for lines in sections for line in lines for cell in line)


class _Balance(HTMLParser):
    """Elements left open, or closed without having been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    @classmethod
    def of(cls, html: str) -> list[str]:
        parser = cls()
        parser.feed(html)
        return parser.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_store_holds_one_run_a_protocol_with_its_rows(compared, facts: ReportFacts, tmp_path: Path) -> None:
    with Store.open(tmp_path / "readrank.duckdb") as store:
        runs = record(store, facts, compared[2], {"k": 10})
        assert runs == ["20240301T120000-cutoff", "20240301T120000-replay"]
        kept = store.connection.execute(
            "SELECT run_id, count(*), max(cutoff) FROM evaluation_metrics GROUP BY run_id ORDER BY run_id"
        ).fetchall()
        n = dict(compared[2]["protocol"].value_counts().iter_rows())
        assert kept == [(run, n[run.split("-")[1]], facts.cutoff) for run in runs]
        settings = store.connection.execute("SELECT settings->>'k' FROM evaluations").fetchall()
        assert settings == [("10",), ("10",)]


def test_an_interval_that_begins_at_nought_lies_within_the_drawing() -> None:
    """Nought is a bound like any other; taken for none, the bar began left of the axis."""
    row = {"system": OURS, "metric": "auc", "value": 0.5, "low": 0.0, "high": 1.0}
    drawn = _plot([row], OURS)
    assert [drawn["marks"][0][name] for name in ("low", "x", "high")] == pytest.approx(
        [170, 170 + 430 / 1.05 / 2, 170 + 430 / 1.05], abs=0.1
    )


def test_a_page_says_what_each_protocol_asks(compared, facts) -> None:
    page = render(facts, compared[2])
    for protocol, asks in ASKS.items():
        assert f"{protocol.capitalize()} {asks}." in page
