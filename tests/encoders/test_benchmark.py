"""The benchmark of text interest alone, end to end on a small shop, and the parts that decide its figures."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.encoder_parts.cases import Asked, Prepared, judge_module, prepare
from benchmarks.encoder_parts.judging import COLD_RECALL, NDCG, ONE_EVENT, Judge, Line
from benchmarks.encoder_parts.scoring import Past, answers, interest_scorer, profile_scorer, with_words
from benchmarks.encoder_parts.systems import ABLATIONS, PROFILE, TUNED, UNTUNED, WITH_WORDS, ablations, same_training
from benchmarks.encoder_parts.tables import SECONDS, markdown, put_into
from encoders.pair import train_pair
from encoders.settings import with_settings
from encoders.train import EncoderConfig, train

ROOT = Path(__file__).parents[2]
JUDGE = ROOT.parent / "shared" / "judge"
AT = datetime(2024, 5, 1)
MOMENT = int((AT - datetime(1970, 1, 1)) / timedelta(microseconds=1))
needs_judge = pytest.mark.skipif(not JUDGE.is_dir(), reason=f"no judge in {JUDGE}")


@pytest.fixture(scope="module")
def data(shop, tmp_path_factory) -> Path:
    """The shop as the data sets of three protocols; the last items of the catalogue are touched late or never."""
    root = tmp_path_factory.mktemp("data")
    early = pl.col("item_id") < "i110"
    log = shop.interactions.filter(early | (pl.col("occurred_at") > shop.before - timedelta(days=6)))
    rows = log.select(
        "user_id", "item_id", event="kind", timestamp=pl.col("occurred_at").dt.epoch("s"), weight=pl.lit(4.0)
    )
    for name, event in (("amazon_beauty", "click"), ("movielens_small", "rating")):
        (root / name).mkdir()
        shop.items.write_parquet(root / name / "items.parquet")
        rows.with_columns(event=pl.lit(event)).write_parquet(root / name / "interactions.parquet")
    mind = root / "mind_ctr_lite"
    mind.mkdir()
    shop.items.write_parquet(mind / "items.parquet")
    rows.with_columns(request_id=pl.lit(None, dtype=pl.String)).write_parquet(mind / "interactions.parquet")
    asked = pl.col("user_id") < "u20"
    held = shop.impressions.filter(asked)
    held.select("request_id", "user_id", "item_id", "occurred_at").write_parquet(mind / "requests.parquet")
    held.select("request_id", "item_id", "clicked").write_parquet(mind / "truth.parquet")
    shown = shop.impressions.filter(~asked).with_columns(timestamp=pl.col("occurred_at").dt.epoch("s"))
    shown.drop("occurred_at").write_parquet(mind / "impressions.parquet")
    return root


def run(data: Path, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks/encoders.py"), "--data", str(data), "--judge", str(JUDGE)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


TINY = ["base=catalogue", "dim=16", "width=16", "heads=2", "history=8", "epochs=2", "pairs_at_once=128", "negatives=64"]


@needs_judge
def test_the_benchmark_judges_each_protocol(data, tmp_path):
    out, page = tmp_path / "figures.json", tmp_path / "page.md"
    told = run(data, "--set", *TINY, "learning_rate=0.01", "--out", str(out), "--markdown", str(page), "--case",
               "amazon_beauty", "movielens_small", "mind_ctr_lite")  # fmt: skip
    rows = json.loads(out.read_text())
    for case, figure in (("amazon_beauty", NDCG), ("movielens_small", NDCG), ("mind_ctr_lite", "AUC")):
        own = {row["system"]: row for row in rows if row["case"] == case and row["figure"] == figure}
        assert list(own) == [PROFILE, UNTUNED, TUNED, WITH_WORDS]
        for row in own.values():
            assert row["low"] <= row["value"] <= row["high"]
        assert own[TUNED]["met"] == (own[TUNED]["value"] >= own[TUNED]["bar"])
        assert own[TUNED]["gained"] == pytest.approx(own[TUNED]["value"] - own[PROFILE]["value"], abs=1e-6)
        assert f"<!-- encoders: {case} -->" in page.read_text()
        assert f"{case}: text interest alone" in told
    figures = {(row["case"], row["figure"]) for row in rows}
    assert {("amazon_beauty", name) for name in (COLD_RECALL, SECONDS, f"{NDCG}, warm users")} <= figures
    assert ("movielens_small", f"{NDCG}, {ONE_EVENT}") in figures


@needs_judge
def test_each_part_in_use_is_left_out_in_turn(data, tmp_path):
    out = tmp_path / "figures.json"
    told = run(data, "--set", *TINY, "hard_negatives=8", "--ablations", "--no-baselines", "--case", "amazon_beauty",
               "--variant", "one layer: layers=1", "--variant", "same: layers=2", "--out", str(out))  # fmt: skip
    rows = [row for row in json.loads(out.read_text()) if row["figure"] == NDCG]
    assert [row["system"] for row in rows] == [TUNED, *ABLATIONS, "one layer"]
    assert "same: not measured" in told
    assert "with skipped items: not measured" in told, "nothing was shown there"
    assert "against" not in rows[0]
    for row in rows[1:]:
        assert row["against"] == TUNED
        assert row["gained_low"] <= row["gained"] <= row["gained_high"]
        assert row["gained"] == pytest.approx(row["value"] - rows[0]["value"], abs=1e-6)


def test_hard_negatives_that_are_not_in_use_are_tried():
    off = replace(EncoderConfig(), hard_negatives=0, skipped_negatives=0)
    assert list(ablations(off)) == [*ABLATIONS, "with near neighbours", "with skipped items"]
    assert list(ablations(replace(off, hard_negatives=9))) == [*ABLATIONS, "with skipped items"]
    assert list(ablations(replace(off, skipped_negatives=9))) == [*ABLATIONS, "with near neighbours"]
    without = with_settings(
        replace(off, hard_negatives=9, skipped_negatives=9), ablations(off)["without hard negatives"]
    )
    assert without == off


@pytest.mark.parametrize("changes", [{"skipped_negatives": 9}, {"impressions_share": 0.1}])
def test_where_nothing_was_shown_skips_make_no_other_system(changes):
    config = EncoderConfig()
    assert same_training(config, replace(config, **changes), shown=False)
    assert not same_training(config, replace(config, **changes), shown=True)
    assert not same_training(config, replace(config, layers=0, **changes), shown=False)


@needs_judge
def test_a_setting_that_is_none_is_told_in_one_line(data):
    with pytest.raises(AssertionError, match="wanted NAME=VALUE with one of"):
        run(data, "--variant", "odd: nothing=1")


@needs_judge
def test_ready_made_models_are_measured_without_training(data, shop, small, tiny_transformer, tmp_path):
    config = replace(small, kind="transformer", base=str(tiny_transformer), epochs=1, pairs_per_epoch=100)
    train_pair(shop.folder, tmp_path / "models/amazon_beauty", config)
    command = ["--models", str(tmp_path / "models"), "--case", "amazon_beauty", "--inner", "--out"]
    run(data, *command, str(tmp_path / "encoded.json"))
    shutil.rmtree(tmp_path / "models/amazon_beauty/final/transformer")
    run(data, *command, str(tmp_path / "brought.json"))
    encoded, brought = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("encoded", "brought"))
    assert [row["system"] for row in encoded if row["figure"] == NDCG] == [PROFILE, TUNED, WITH_WORDS]
    assert all("bar" not in row for row in encoded), "bars are for the cases as the judge cuts them"
    for one, other in zip(encoded, brought, strict=True):
        assert one["value"] == other["value"]


@needs_judge
def test_figures_and_differences_are_the_judges(data, tmp_path):
    prepared = prepare("amazon_beauty", data=data, judge=JUDGE, scratch=tmp_path)
    judge, past = Judge(JUDGE, prepared), Past(prepared.asked)
    profile = profile_scorer(prepared.texts)
    ours = judge.judge(answers(profile, past, prepared))
    other = judge.judge(answers(lambda *asked: -profile(*asked), past, prepared))
    score = judge_module(JUDGE / "score.py")
    difference = judge.difference(NDCG, ours, other)
    assert (difference.value, difference.low, difference.high) == score.paired(
        prepared.judged, ours.answers, other.answers
    )
    assert ours.lines[NDCG].minus(other.lines[NDCG]).interval == pytest.approx((difference.low, difference.high))
    told = score.report(prepared.judged, ours.answers)
    assert ours.lines[COLD_RECALL].n == told["cold items"]["true"]
    assert round(ours.lines[f"{NDCG}, warm users"].value, 4) == told["warm users"]["ndcg@10"]


def three_items() -> Asked:
    """One user who took `a`, and `b` an instant before the cutoff; nobody has touched `c`."""
    instant = timedelta(microseconds=1)
    return Asked(
        items=pl.DataFrame({"item_id": ["a", "b", "c"]}),
        log=pl.DataFrame(
            {
                "user_id": ["u", "v"],
                "item_id": ["a", "b"],
                "weight": [1.0, 1.0],
                "kind": ["view", "view"],
                "occurred_at": [AT - timedelta(days=1), AT],
            },
            schema_overrides={"occurred_at": pl.Datetime("us")},
        ),
        queries=pl.DataFrame({"query_id": ["q1", "q2"], "user_id": ["u", "u"], "as_of": [AT, AT + instant]}),
        cutoff=AT,
    )


def test_untouched_is_what_nobody_had_touched_strictly_before():
    assert Past(three_items()).untouched(np.array([MOMENT + 1, MOMENT])).tolist() == [
        [False, False, True],
        [False, True, True],
    ]


def test_history_is_strictly_before_the_moment():
    past = Past(three_items())
    assert past.history("v", MOMENT).items.tolist() == []
    assert past.history("v", MOMENT + 1).items.tolist() == [1]
    assert past.history("u", MOMENT).ages_s.tolist() == [86_400.0]
    assert past.history("nobody", MOMENT).items.tolist() == []


def test_items_that_training_has_not_met_gain_what_the_model_adds(shop, small, tmp_path):
    folder = train(shop.folder, tmp_path / "model", small, epochs=0).folder
    texts = pl.read_parquet(shop.folder / "items.parquet")["text"].to_list()[:2]
    past, later = Past(three_items()), MOMENT + 5
    config = json.loads((folder / "config.json").read_text())

    def interest(last_text="rose tulip", **changes):
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return interest_scorer(folder, [*texts, last_text])([past.history("u", later)], past, np.array([later]))[0]

    plain = interest(newcomers=0.0)
    gains = {None: [0, 0, 0.75], MOMENT: [0, 0.75, 0.75], MOMENT + 1: [0, 0, 0.75]}
    for before, gained in gains.items():
        assert interest(newcomers=0.75, trained_before=before) - plain == pytest.approx(gained, abs=1e-5)
    assert interest("", newcomers=0.75)[2] == 0, "an item without text speaks for nothing"
    by_words = interest(texts[0], newcomers={"always": 0.5, "words": 2.0}, trained_before=None) - interest(texts[0])
    assert by_words == pytest.approx([0, 0, 2.5], abs=1e-5), "the user has taken the same words, and nothing else"
    config.pop("newcomers", None)
    assert np.array_equal(interest(), plain), "a model of before there was such an addition"


def test_words_count_in_standard_deviations():
    def of(row):
        return lambda histories, past, moments: np.array([row], np.float32)

    no_past = Past(three_items())
    found = with_words(of([0, 100, 200]), of([3, 3, 3]), 0.3)([], no_past, np.array([MOMENT]))
    assert found[0] == pytest.approx(np.array([-1, 0, 1]) * np.sqrt(3 / 2))
    both = with_words(of([0, 100, 200]), of([2, 1, 0]), 0.3)([], no_past, np.array([MOMENT]))
    assert both[0] == pytest.approx(found[0] * 0.7)


def test_queries_without_history_get_no_answers():
    asked = three_items()
    queries = pl.DataFrame({"query_id": ["q1", "q2"], "user_id": ["u", "new"], "as_of": [AT, AT]})
    asked = Asked(items=asked.items, log=asked.log, queries=queries, cutoff=AT)
    prepared = Prepared(name="x", rank=False, training=Path(), judged=Path(), asked=asked, texts=["a b", "a c", "d"])
    found = answers(profile_scorer(prepared.texts), Past(asked), prepared)
    assert found.rows() == [("q1", "b", 1), ("q1", "c", 2)], "what was taken is not recommended again"


def test_a_recalls_interval_weighs_queries_by_their_true_items():
    line = Line(values=np.array([1.0, 0.0]), counts=np.array([1.0, 3.0]))
    assert (line.value, line.n) == (1 / 4, 4)
    assert line.interval == (0.0, 1.0)


def test_a_page_keeps_what_stands_beside_a_table(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Before\n\n<!-- encoders: one -->\nold\n<!-- end of one -->\n\nAfter.\n")
    put_into(page, "one", "new")
    put_into(page, "two", "second")
    assert page.read_text() == (
        "# Before\n\n<!-- encoders: one -->\n\nnew\n<!-- end of one -->\n\nAfter.\n\n"
        "<!-- encoders: two -->\n\nsecond\n<!-- end of two -->\n"
    )
    put_into(page, "two", "third")
    assert "second" not in page.read_text()


def test_markdown_has_a_line_a_system():
    row = {"case": "x", "figure": NDCG, "kind": "static", "n": 5, "value": 0.25, "low": 0.125, "high": 0.5}
    gained = {"against": TUNED, "gained": -0.125, "gained_low": -0.25, "gained_high": 0.0}
    rows = [row | {"system": TUNED}, row | {"system": "mean pooling"} | gained]
    rows.append({"case": "x", "system": TUNED, "figure": SECONDS, "kind": "static", "n": 1, "value": 12.3})
    lines = markdown("x", rows, "python benchmarks/encoders.py").splitlines()
    assert lines[-4] == "| system | NDCG@10 | against tuned | seconds |"
    assert lines[-2] == "| tuned | 0.2500 [0.1250, 0.5000] |  | 12 |"
    assert lines[-1] == "| mean pooling | 0.2500 [0.1250, 0.5000] | -0.1250 [-0.2500, +0.0000] |  |"
