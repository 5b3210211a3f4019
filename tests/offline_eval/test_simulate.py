import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ingest.load import load_files
from ingest.store import Store
from offline_eval.shop_files import LogFile
from offline_eval.shop_traffic import KINDS
from offline_eval.simulate import Simulation, SimulationConfig, simulate

LARGE = SimulationConfig(n_events=30_000, interactions_format="parquet", ill_formed_share=0.0, repeated_share=0.0)
SMALL = SimulationConfig(n_events=1_000)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(LARGE, tmp_path_factory.mktemp("clean"))


def digests(simulation: Simulation) -> list[str]:
    files = [*simulation.files, *sorted((simulation.items.parent / "truth").iterdir())]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def true_preferences(simulation: Simulation, rows: pl.DataFrame) -> np.ndarray:
    by_day = rows.with_columns(day=pl.col(c.OCCURRED_AT).dt.truncate("1d")).partition_by("day", maintain_order=True)
    return np.concatenate(
        [
            simulation.true_preference(part[c.USER_ID].to_list(), part[c.ITEM_ID].to_list(), part["day"][0])
            for part in by_day
        ]
    )


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    one, two = simulate(SMALL, tmp_path / "one"), simulate(SMALL, tmp_path / "two")
    other = simulate(SimulationConfig(n_events=1_000, seed=8), tmp_path / "other")
    assert digests(one) == digests(two)
    assert not set(digests(one)[:3]) & set(digests(other)[:3])


def test_chunk_size_changes_nothing_but_the_layout(tmp_path: Path) -> None:
    config = {"n_events": 3_000, "ill_formed_share": 0.0, "repeated_share": 0.0, "interactions_format": "csv"}
    whole = simulate(SimulationConfig(**config), tmp_path / "whole")
    chunks = simulate(SimulationConfig(**config, chunk_rows=100), tmp_path / "chunks")
    assert whole.interactions.read_bytes() == chunks.interactions.read_bytes()
    assert pl.read_parquet(whole.impressions).equals(pl.read_parquet(chunks.impressions))


def test_a_shop_without_slates_is_written_by_chunks_and_its_impressions_are_an_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = []
    write = LogFile.write
    monkeypatch.setattr(LogFile, "write", lambda self, rows: (chunks.append(rows.height), write(self, rows)))
    config = SimulationConfig(n_events=3_000, slates_a_session=0.0, chunk_rows=100, interactions_format="parquet")
    simulation = simulate(config, tmp_path / "log")
    assert max(chunks[1:]) < 100 + 3 * 3_000 / 365, "a chunk and what a day adds; the first is the catalogue"
    shown = pl.read_parquet(simulation.impressions)
    assert (shown.height, shown.columns[0]) == (0, c.REQUEST_ID)
    with Store.open(tmp_path / "readrank.duckdb") as store:
        assert [report.table for report in load_files(store, simulation.files)][:2] == ["items", "interactions"]


@pytest.mark.parametrize("n_events", [1_000, 30_000])
def test_number_of_events_is_about_what_was_asked(n_events: int, tmp_path: Path, clean: Simulation) -> None:
    simulation = clean if n_events == 30_000 else simulate(SMALL, tmp_path)
    assert simulation.counts["interactions"]["rows"] == pytest.approx(n_events, rel=0.03)


def test_preferred_items_are_clicked_more_than_chance(clean: Simulation) -> None:
    shown = pl.read_parquet(clean.impressions).filter(pl.col(c.POSITION) == 1)
    shown = shown.with_columns(preference=pl.Series(true_preferences(clean, shown))).sort("preference")
    third = shown.height // 3
    low, high = shown.head(third)[c.CLICKED].mean(), shown.tail(third)[c.CLICKED].mean()
    assert high > 10 * low
    # Examination of position 1 is certain, so clicks there are an estimate of the truth itself.
    assert shown[c.CLICKED].mean() == pytest.approx(shown["preference"].mean(), abs=0.02)


def test_clicks_fall_with_position_as_examination_does(clean: Simulation) -> None:
    rates = pl.read_parquet(clean.impressions).group_by(c.POSITION).agg(pl.col(c.CLICKED).mean()).sort(c.POSITION)
    values = rates[c.CLICKED].to_list()
    assert values[0] > values[2] > values[5] > values[9]
    assert values[4] / values[0] == pytest.approx(5**-0.7, rel=0.25)
    assert clean.examination(np.array([1, 5])).tolist() == [1.0, 5**-0.7]


def test_propensities_undo_the_choice_of_what_is_shown(clean: Simulation) -> None:
    first = pl.read_parquet(clean.impressions).filter(pl.col(c.POSITION) == 1)
    assert first[c.PROPENSITY].is_between(0.0, 1.0, closed="right").all()
    items = pl.read_ndjson(clean.items).select(
        c.ITEM_ID,
        department=pl.col(c.CATEGORIES).list.first(),
        old=pl.Series(clean.shop.catalogue.published_day < 0),
    )
    # In a department, the expectation of 1 / p over first places is one for each item that may stand there.
    places = first.join(items, on=c.ITEM_ID).group_by("department").agg(n=(pl.col("old") / pl.col(c.PROPENSITY)).mean())
    assert places["n"].sum() == pytest.approx(items["old"].sum(), rel=0.05)


def test_no_row_names_an_item_before_it_was_published(clean: Simulation) -> None:
    published = pl.read_ndjson(clean.items).select(
        c.ITEM_ID, pl.col(c.PUBLISHED_AT).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ")
    )
    fresh = published.filter(pl.col(c.PUBLISHED_AT) > LARGE.start)
    assert fresh.height == pytest.approx(0.35 * published.height, rel=0.15)
    for file in (clean.interactions, clean.impressions):
        rows = pl.read_parquet(file).join(fresh, on=c.ITEM_ID)
        assert rows.height > 100
        assert (rows[c.OCCURRED_AT] >= rows[c.PUBLISHED_AT]).all()


def test_some_users_first_come_late(clean: Simulation) -> None:
    first = pl.read_parquet(clean.interactions).group_by(c.USER_ID).agg(pl.col(c.OCCURRED_AT).min())[c.OCCURRED_AT]
    assert (first > LARGE.start + timedelta(days=300)).sum() > 0.03 * len(first)


def test_clicks_of_slates_carry_the_request_that_showed_them(clean: Simulation) -> None:
    clicks = pl.read_parquet(clean.interactions).filter(pl.col(c.KIND) == "click")
    clicked = pl.read_parquet(clean.impressions).filter(c.CLICKED)
    key = [c.REQUEST_ID, c.USER_ID, c.ITEM_ID]
    assert clicks.select(key).sort(key).equals(clicked.select(key).sort(key))
    late = clicks.join(clicked, on=key, suffix="_shown")
    assert (late[c.OCCURRED_AT] > late[f"{c.OCCURRED_AT}_shown"]).all()


def test_the_funnel_narrows_from_view_to_purchase(clean: Simulation) -> None:
    counts = dict(pl.read_parquet(clean.interactions)[c.KIND].value_counts().iter_rows())
    assert set(counts) == set(KINDS)
    assert counts["view"] + counts["click"] > counts["like"] > counts["purchase"] > counts["comment"] > 0


def test_tastes_change_for_some_users_and_for_others_not(clean: Simulation) -> None:
    customers = clean.shop.customers
    changed = (customers.before != customers.after).any(axis=1).mean()
    assert changed == pytest.approx(LARGE.drift_share, abs=0.05)
    users = np.arange(len(customers.activity))
    early, late = customers.tastes(users, np.full(len(users), -1e6)), customers.tastes(users, np.full(len(users), 1e6))
    assert np.allclose(early, customers.before)
    assert np.allclose(late, customers.after)


def test_true_preference_is_that_of_the_day_with_which_the_log_was_made(clean: Simulation) -> None:
    customers = clean.shop.customers
    change = np.floor(customers.drift_day)
    sudden = np.flatnonzero((customers.before != customers.after).any(axis=1) & (customers.drift_width < 1))[:20]
    for user in sudden.tolist():
        midnight = LARGE.start + timedelta(days=int(change[user]))
        asked = [f"u{user:07d}"] * 20, [f"i{item:07d}" for item in range(20)]
        at = {hours: clean.true_preference(*asked, midnight + timedelta(hours=hours)).tolist() for hours in (0, 23, 24)}
        assert at[0] == at[23] != at[24]


def test_garden_goods_are_wanted_in_spring(clean: Simulation) -> None:
    items = pl.read_ndjson(clean.items).filter(pl.col(c.CATEGORIES).list.first() == "Garden").head(50)[c.ITEM_ID]
    customers = clean.shop.customers
    loyal = np.flatnonzero((customers.before == customers.after).all(axis=1))[:20]
    pairs = [(f"u{user:07d}", item) for user in loyal for item in items]
    users, goods = [user for user, _ in pairs], [item for _, item in pairs]
    spring = clean.true_preference(users, goods, datetime(2024, 5, 4))
    autumn = clean.true_preference(users, goods, datetime(2024, 11, 4))
    assert spring.mean() > 1.5 * autumn.mean()


def test_text_tells_each_aspect_that_categories_hide(clean: Simulation) -> None:
    from offline_eval import shop_words
    from offline_eval.shop_catalogue import VOCABULARY

    for row, item in enumerate(pl.read_ndjson(clean.items).head(200).iter_rows(named=True)):
        text = f"{item[c.TITLE]} {item[c.DESCRIPTION]}".lower()
        for aspect, phrases in zip((2, 3, 4), (shop_words.STYLES, shop_words.VALUES, shop_words.USES), strict=True):
            word = VOCABULARY[clean.shop.catalogue.item_words[row, aspect]]
            assert any(phrase.lower() in text for phrase in phrases[word])
            assert word.lower() not in " ".join(item[c.CATEGORIES]).lower()


def test_ill_formed_and_repeated_rows_come_on_top(tmp_path: Path) -> None:
    config = SimulationConfig(n_events=2_000, ill_formed_share=0.1, repeated_share=0.05)
    simulation = simulate(config, tmp_path)
    counts = simulation.counts["interactions"]
    assert counts["ill_formed"] == pytest.approx(0.1 * counts["rows"], rel=0.3)
    lines = simulation.interactions.read_text().splitlines()
    assert len(lines) == counts["rows"] + counts["ill_formed"] + counts["repeated"]
    good = [line for line in lines if is_well_formed(line)]
    assert len(good) == counts["rows"] + counts["repeated"]
    assert len({json.loads(line)[c.EVENT_ID] for line in good}) == counts["rows"]


def is_well_formed(line: str) -> bool:
    try:
        row = json.loads(line)
        datetime.fromisoformat(row[c.OCCURRED_AT])
    except ValueError:
        return False
    return bool(row[c.USER_ID]) and bool(row[c.ITEM_ID]) and not isinstance(row[c.WEIGHT], str)


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_every_format_holds_the_same_true_rows(form: str, tmp_path: Path, clean: Simulation) -> None:
    settings = {"n_events": 1_000, "ill_formed_share": 0.0, "repeated_share": 0.0}
    simulation = simulate(SimulationConfig(interactions_format=form, **settings), tmp_path / form)
    reference = simulate(SimulationConfig(interactions_format="parquet", **settings), tmp_path / "reference")
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}[form](simulation.interactions)
    assert read[c.EVENT_ID].to_list() == pl.read_parquet(reference.interactions)[c.EVENT_ID].to_list()
    assert read[c.WEIGHT].sum() == pl.read_parquet(reference.interactions)[c.WEIGHT].sum()


def test_ill_formed_parquet_rows_lack_an_id_or_a_time(tmp_path: Path) -> None:
    simulation = simulate(
        SimulationConfig(n_events=2_000, interactions_format="parquet", ill_formed_share=0.1), tmp_path
    )
    rows = pl.read_parquet(simulation.interactions)
    bad = rows.filter(pl.any_horizontal(pl.col(c.ITEM_ID, c.OCCURRED_AT).is_null()))
    assert bad.height == simulation.counts["interactions"]["ill_formed"] > 0


def test_load_gives_back_the_same_truth(clean: Simulation) -> None:
    loaded = Simulation.load(clean.items.parent)
    assert loaded.counts == clean.counts
    pairs = (["u0000003", "u0000004"], ["i0000005", "i0000006"], datetime(2024, 7, 1, 12))
    assert loaded.true_preference(*pairs).tolist() == clean.true_preference(*pairs).tolist()


def test_a_shop_of_two_users_and_two_items_still_runs(tmp_path: Path) -> None:
    simulation = simulate(SimulationConfig(n_events=50, n_users=2, n_items=2, days=10), tmp_path)
    assert simulation.counts["items"]["rows"] == 2
    assert simulation.counts["interactions"]["rows"] > 0


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_load_reports_exactly_what_was_written(form: str, tmp_path: Path) -> None:
    config = SimulationConfig(n_events=3_000, interactions_format=form, ill_formed_share=0.03, repeated_share=0.02)
    simulation = simulate(config, tmp_path)
    with Store.open(tmp_path / "readrank.duckdb") as store:
        reports = load_files(store, simulation.files)
    told = [(report.rows_loaded, report.rows_rejected, report.rows_duplicate) for report in reports]
    assert told == [tuple(simulation.counts[name].values()) for name in ("items", "interactions", "impressions")]
