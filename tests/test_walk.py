"""The whole walk through the command line on a tiny shop: every command does its work and says what it did."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

import readrank
from offline_eval.simulate import SimulationConfig, simulate

TINY = """
[encoder]
base = "catalogue"
dim = 16
width = 16
heads = 2
epochs = 1
continue_epochs = 1
pairs_per_epoch = 1000

[examples]
share = 0.3

[blend]
trees = 40
patience = 10
compiled = false
"""


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A shop from simulation to bundle, by commands alone; gives its folder and the log's."""
    root = tmp_path_factory.mktemp("walk")
    log = simulate(SimulationConfig(n_events=4_000, n_users=150, n_items=120), root / "log")
    shop = root / "shop"
    assert readrank.run(["init", str(shop)]) == 0
    (shop / "readrank.toml").write_text(TINY)
    assert readrank.run(["ingest", *map(str, log.files), "--workspace", str(shop)]) == 0
    assert readrank.run(["train", "--until", "2024-12-01", "--workspace", str(shop)]) == 0
    return shop, log


def run_json(capsys, *arguments: str):
    capsys.readouterr()
    assert readrank.run(["--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert readrank.run(list(arguments)) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err


def test_recommend_writes_ranks_for_each_query(walked, tmp_path, capsys):
    shop, _ = walked
    pl.DataFrame(
        {"query_id": ["q1", "q2"], "user_id": ["u1", "nobody"], "as_of": ["2024-12-01", "2024-12-24T08:00:00Z"]}
    ).write_csv(tmp_path / "q.csv")
    out = tmp_path / "recs.parquet"
    told = run_json(
        capsys, "recommend", "--queries", str(tmp_path / "q.csv"), "-k", "7", "--out", str(out), "-w", str(shop)
    )
    frame = pl.read_parquet(out)
    assert told == {"queries": 2, "rows": 14, "out": str(out), "columns_not_read": []}
    assert frame.columns == ["query_id", "item_id", "rank", "score"]
    assert frame.group_by("query_id").agg(pl.col("rank").sort())["rank"].to_list() == [list(range(1, 8))] * 2


def test_columns_of_questions_that_nothing_reads_are_told(walked, tmp_path, capsys):
    questions, out = tmp_path / "q.csv", str(tmp_path / "recs.csv")
    questions.write_text("query_id,user_id,exclude,as_off\nq1,u1,i1,2024-12-01\n")
    asked = ["recommend", "--queries", str(questions), "--out", out, "-w", str(walked[0])]
    assert run_json(capsys, *asked)["columns_not_read"] == ["exclude", "as_off"]
    assert readrank.run(asked) == 0
    assert capsys.readouterr().err == "readrank: columns not read: exclude, as_off\n"


def test_rank_scores_every_row(walked, tmp_path, capsys):
    shop, log = walked
    items = pl.read_parquet(log.impressions)["item_id"].drop_nulls().unique().head(5).to_list()
    requests = pl.DataFrame({"item_id": [*items, "unknown"]}).with_columns(
        request_id=pl.lit("r1"), user_id=pl.lit("u1"), occurred_at=pl.lit("2024-12-05 10:00:00")
    )
    requests.write_parquet(tmp_path / "r.parquet")
    out = tmp_path / "scored.parquet"
    run_json(capsys, "rank", "--requests", str(tmp_path / "r.parquet"), "--out", str(out), "-w", str(shop))
    scored = pl.read_parquet(out)
    assert scored["item_id"].to_list() == requests["item_id"].to_list()
    assert scored["score"].is_finite().all()


def test_a_second_training_promotes_and_promote_goes_back(walked, capsys):
    shop, _ = walked
    live = shop / "bundles" / "live"
    first = live.read_text().strip()
    second = run_json(capsys, "train", "-w", str(shop))["bundle"]
    assert live.read_text().strip() == second != first
    run_json(capsys, "promote", first, "-w", str(shop))
    assert live.read_text().strip() == first


def test_rollback_goes_back_and_twice_returns(walked, capsys):
    shop, _ = walked
    live = shop / "bundles" / "live"
    first = live.read_text().strip()
    second = run_json(capsys, "train", "-w", str(shop))["bundle"]
    assert run_json(capsys, "rollback", "-w", str(shop)) == {"live": first, "replaced": second}
    assert live.read_text().strip() == first
    assert run_json(capsys, "rollback", "-w", str(shop)) == {"live": second, "replaced": first}
    assert readrank.run(["rollback", "-w", str(shop)]) == 0
    assert capsys.readouterr().out == f"{first} serves now, instead of {second}\n"


def test_rollback_without_an_earlier_bundle_is_one_sentence(walked, tmp_path, capsys):
    version = (walked[0] / "bundles" / "live").read_text().strip()
    shutil.copytree(walked[0], tmp_path / "shop")
    (tmp_path / "shop" / "bundles" / "previous").unlink(missing_ok=True)
    said = complaint(capsys, "rollback", "-w", str(tmp_path / "shop"))
    assert f"wanted a bundle that served before {version}, found none" in said
    readrank.run(["init", str(tmp_path / "empty")])
    assert "run `readrank train` first" in complaint(capsys, "rollback", "-w", str(tmp_path / "empty"))


CAPS_NOTHING = "caps under [rules]: no item has an attribute 'nosuch', so nosuch = 2 caps nothing"


@contextmanager
def cap_of_nothing(shop: Path) -> Iterator[None]:
    """Let the settings cap an attribute that no item has."""
    settings = shop / "readrank.toml"
    before = settings.read_text()
    settings.write_text(before + "\n[rules]\ncaps = { nosuch = 2 }\n")
    yield
    settings.write_text(before)


def test_tune_compares_with_the_defaults_and_training_finds_what_it_left(walked, capsys):
    shop, _ = walked
    told = run_json(capsys, "tune", "--trials", "2", "--until", "2024-12-01", "-w", str(shop))
    assert told["recommend"]["trials"] == 2
    assert set(told["recommend"]["judged"]) == {"value", "baseline", "low", "high", "queries"}
    assert (shop / "tuned.toml").exists() == bool(told["settings"])
    (shop / "tuned.toml").write_text(
        '[blend]\nleaves = 5\n[tuned]\nblend = "recommend"\nstudy = "s"\ntrial = 1\ntrials = 2\n'
        'until = "2024-12-01 00:00:00"\nvalue = 0.3\ndefaults = 0.2\nlow = 0.05\nhigh = 0.15\n'
    )
    first = (shop / "bundles" / "live").read_text().strip()
    trained = run_json(capsys, "train", "--until", "2024-12-01", "-w", str(shop))
    manifest = json.loads((shop / "bundles" / trained["bundle"] / "manifest.json").read_text())
    assert manifest["settings"]["blend"]["leaves"] == manifest["tuned"]["settings"]["leaves"] == 5
    assert trained["tuned"]["value"] == manifest["tuned"]["value"] == 0.3
    with cap_of_nothing(shop):
        assert readrank.run(["train", "--until", "2024-11-30", "--no-promote", "-w", str(shop)]) == 0
    said = capsys.readouterr().out
    assert CAPS_NOTHING in said
    assert "tuned.toml is not used: it was found with what lies before 2024-12-01 00:00:00" in said
    assert "probability of being taken next: calibration error" in said
    (shop / "tuned.toml").unlink()
    run_json(capsys, "promote", first, "-w", str(shop))


def test_tune_without_a_log_is_one_sentence(tmp_path, capsys):
    readrank.run(["init", str(tmp_path / "empty")])
    assert "run `readrank ingest` first" in complaint(capsys, "tune", "-w", str(tmp_path / "empty"))


def test_refresh_takes_new_items_in_and_serves_only_when_told(walked, tmp_path, capsys):
    shop, _ = walked
    live = shop / "bundles" / "live"
    first = run_json(capsys, "refresh", "--promote", "-w", str(shop))["bundle"]  # with what came over HTTP until now
    assert live.read_text().strip() == first
    told = run_json(capsys, "refresh", "-w", str(shop))
    assert (told["bundle"], told["written"], told["live"]) == (first, False, True)
    (tmp_path / "new.csv").write_text("item_id,title\nbrand-new,Red scarf\n")
    run_json(capsys, "ingest", str(tmp_path / "new.csv"), "-w", str(shop))
    told = run_json(capsys, "refresh", "-w", str(shop))
    assert (told["changes"]["new"], told["changes"]["encoded"], told["live"]) == (1, 1, False)
    assert live.read_text().strip() == first
    told = run_json(capsys, "refresh", "--version", first, "--promote", "-w", str(shop))
    assert told["live"]
    assert live.read_text().strip() == told["bundle"] != first
    capsys.readouterr()
    assert readrank.run(["refresh", "-w", str(shop)]) == 0
    said = capsys.readouterr().out
    assert "nothing has changed" in said
    assert CAPS_NOTHING not in said
    with cap_of_nothing(shop):
        assert readrank.run(["refresh", "-w", str(shop)]) == 0
        assert CAPS_NOTHING in capsys.readouterr().out
        assert run_json(capsys, "refresh", "-w", str(shop))["idle_rules"] == [CAPS_NOTHING]
    run_json(capsys, "promote", first, "-w", str(shop))


def test_refresh_of_what_is_no_bundle_is_one_sentence(walked, tmp_path, capsys):
    assert "got 'nope'; there are" in complaint(capsys, "refresh", "--version", "nope", "-w", str(walked[0]))
    readrank.run(["init", str(tmp_path / "empty")])
    assert "run `readrank train` first" in complaint(capsys, "refresh", "-w", str(tmp_path / "empty"))


def test_a_training_is_published_for_analysts(walked):
    import duckdb

    shop, _ = walked
    with duckdb.connect(str(shop / "analytics.duckdb"), read_only=True) as analyst:
        published = {version for (version,) in analyst.execute("SELECT version FROM bundles").fetchall()}
    assert published == {path.name for path in (shop / "bundles").iterdir() if path.is_dir()}


def test_exported_training_data_has_the_promised_files(walked, tmp_path, capsys):
    shop, _ = walked
    run_json(capsys, "export-training", str(tmp_path / "data"), "-w", str(shop))
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"items.parquet", "sequences.parquet"}
    run_json(capsys, "export-training", str(tmp_path / "data"), "-w", str(shop))


@pytest.mark.parametrize("place", [".", "bundles", "bundles/data", "bundles/../reports"])
def test_an_export_does_not_go_among_the_workspace_s_own_files(walked, capsys, place):
    shop, _ = walked
    before = sorted(shop.rglob("*"))
    said = complaint(capsys, "export-training", str(shop / place), "-w", str(shop))
    assert "wanted a folder of its own, got the workspace's; name another" in said
    assert sorted(shop.rglob("*")) == before


def test_an_export_leaves_files_of_the_same_names_alone(walked, tmp_path, capsys):
    shop, _ = walked
    (tmp_path / "mine").mkdir()
    for name in ("items.parquet", "impressions.parquet"):
        pl.DataFrame({"item_id": ["a"], "title": ["Years of work"]}).write_parquet(tmp_path / "mine" / name)
    held = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    said = complaint(capsys, "export-training", str(tmp_path / "mine"), "-w", str(shop))
    assert "it holds other files (impressions.parquet, items.parquet); name another" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == held
    file = tmp_path / "mine" / "items.parquet"
    for place in (file, file / "data", "/proc/M"):
        assert f"{place}: wanted a folder to write" in complaint(capsys, "export-training", str(place), "-w", str(shop))


def test_train_on_an_empty_store_is_one_sentence(tmp_path, capsys):
    readrank.run(["init", str(tmp_path / "empty")])
    said = complaint(capsys, "train", "-w", str(tmp_path / "empty"))
    assert "run `readrank ingest` first" in said


def test_recommend_before_training_is_one_sentence(tmp_path, capsys):
    readrank.run(["init", str(tmp_path / "empty")])
    (tmp_path / "q.csv").write_text("query_id,user_id\nq,u\n")
    arguments = ["--queries", str(tmp_path / "q.csv"), "--out", str(tmp_path / "o.csv"), "-w", str(tmp_path / "empty")]
    assert "run `readrank train` first" in complaint(capsys, "recommend", *arguments)


def test_time_that_is_none_is_one_sentence(walked, capsys):
    assert "wanted a time such as 2024-05-01" in complaint(capsys, "train", "--until", "soon", "-w", str(walked[0]))


def test_unknown_encoder_is_one_sentence(walked, capsys):
    said = complaint(capsys, "train", "--encoder", "magic", "-w", str(walked[0]))
    assert "wanted one of static, transformer, got 'magic'" in said


def test_damaged_bundle_is_one_sentence(walked, tmp_path, capsys):
    shop, _ = walked
    version = (shop / "bundles" / "live").read_text().strip()
    history = shop / "bundles" / version / "history" / "users.parquet"
    whole = history.read_bytes()
    (tmp_path / "q.csv").write_text("query_id,user_id\nq,u\n")
    arguments = ["--queries", str(tmp_path / "q.csv"), "--out", str(tmp_path / "o.csv"), "-w", str(shop)]
    history.write_bytes(whole[:-7])
    try:
        assert "the bundle is damaged" in complaint(capsys, "recommend", *arguments)
        assert not (tmp_path / "o.csv").exists()
    finally:
        history.write_bytes(whole)


def test_failed_training_leaves_nothing_half_written(walked, capsys, monkeypatch):
    from ranker import bundle

    shop, _ = walked
    before = sorted(path.name for path in (shop / "bundles").iterdir())

    def full(*ignored):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "file_sha256", full)
    assert "the disk is full" in complaint(capsys, "train", "-w", str(shop))
    assert sorted(path.name for path in (shop / "bundles").iterdir()) == before
    assert not list(shop.glob(".training-*"))


def test_demo_refuses_a_folder_with_other_files(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "name another" in complaint(capsys, "demo", str(tmp_path))
    assert (tmp_path / "thesis.txt").exists()
