import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

import readrank
from ingest import columns as c
from ingest.errors import HeldStoreError
from ingest.leftovers import clear_leftovers
from ingest.load import load_files
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from offline_eval.compare import SCHEMA
from offline_eval.errors import EvaluationError
from offline_eval.evaluate import INTEREST, OURS, Evaluation, check_protocols, evaluate
from offline_eval.simulate import SimulationConfig, simulate
from offline_eval.systems import BaselinesConfig
from offline_eval.windows import choose_cutoff
from ranker.bundle import record
from ranker.catalogue import Catalogue
from ranker.errors import BundleError
from ranker.rank import Ranker
from ranker.refresh import refresh
from ranker.rules import RulesConfig
from ranker.train import train
from ranker.train_config import TrainConfig
from tests.conftest import held_store

SETTINGS = """
[encoder]
base = "catalogue"
dim = 32
epochs = 1
continue_epochs = 1
pairs_per_epoch = 2000

[blend]
trees = 40
patience = 10
compiled = false

[evaluation]
max_queries = 120
max_requests = 60
"""
SYSTEMS = {OURS, INTEREST, "popular", "item-item", "text-only", "behaviour-only"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tiny shop, ill-formed rows and all, not yet trained."""
    files = simulate(SimulationConfig(n_events=6_000, n_users=200, n_items=200), tmp_path_factory.mktemp("log")).files
    workspace = Workspace.create(tmp_path_factory.mktemp("loaded") / "shop", SETTINGS)
    with Store.open(workspace.store_path) as store:
        load_files(store, files)
    return workspace


@pytest.fixture(scope="module")
def evaluated(loaded: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Evaluation]:
    root = tmp_path_factory.mktemp("evaluated") / "shop"
    shutil.copytree(loaded.root, root)
    workspace = Workspace.open(root)
    return workspace, evaluate(workspace)


def test_every_system_stands_in_the_same_table(evaluated: tuple[Workspace, Evaluation]) -> None:
    rows = evaluated[1].metrics
    assert dict(rows.schema) == SCHEMA
    for protocol in ("cutoff", "replay"):
        part = rows.filter(protocol=protocol, segment="all", metric="ndcg")
        assert set(part["system"]) == SYSTEMS
        assert part["n"].n_unique() == 1
        assert part["value"].min() > 0
    assert set(rows.filter(segment="shown requests", metric="auc")["system"]) == SYSTEMS
    gains = rows.filter(segment="all", protocol="replay").filter(pl.col("metric").str.starts_with("ndcg over "))
    assert set(gains["metric"]) == {f"ndcg over {system}" for system in SYSTEMS - {OURS}}


def test_model_knows_nothing_from_the_cutoff_on_and_serves_nobody(evaluated: tuple[Workspace, Evaluation]) -> None:
    workspace, evaluation = evaluated
    with Store.open(workspace.store_path) as store:
        assert evaluation.facts.cutoff == choose_cutoff(store.interactions(before=END_OF_TIME), 0.9)
        bundles = store.connection.execute("SELECT version, cutoff, status FROM bundles").fetchall()
    assert bundles == [(evaluation.facts.bundle_version, evaluation.facts.cutoff, "retired")]
    assert list(workspace.bundles_path.iterdir()) == []
    assert not list(workspace.root.glob(".evaluation-*"))


def test_store_and_reports_hold_what_was_found(evaluated: tuple[Workspace, Evaluation]) -> None:
    workspace, evaluation = evaluated
    with Store.open(workspace.store_path) as store:
        runs = store.connection.execute("SELECT run_id, n_queries FROM evaluations ORDER BY run_id").fetchall()
        n_rows = store.connection.execute("SELECT count(*) FROM evaluation_metrics").fetchall()
    counts = evaluation.facts.counts
    assert runs == [(run, counts[run.rsplit("-", 1)[1]]["queries"]) for run in sorted(evaluation.run_ids)]
    assert n_rows == [(evaluation.metrics.height,)]
    assert counts["replay"]["queries"] == 120 < counts["replay"]["queries_before_cap"]
    assert evaluation.page.parent == workspace.reports_path
    assert OURS in evaluation.page.read_text()
    assert len(json.loads(evaluation.data.read_text())["metrics"]) == evaluation.metrics.height


def test_what_an_answer_led_to_is_asked_when_the_answer_was_given(evaluated: tuple[Workspace, Evaluation]) -> None:
    """Of one answer whatever was taken is one question; counted here in SQL."""
    workspace, evaluation = evaluated
    questions = """
        WITH first AS (SELECT user_id, item_id, min(occurred_at) AS first FROM interactions GROUP BY ALL),
        shown AS (SELECT request_id, item_id, min(occurred_at) AS shown FROM impressions GROUP BY ALL)
        SELECT
            count(DISTINCT (user_id, occurred_at)),
            count(DISTINCT (user_id, least(occurred_at, coalesce(shown, occurred_at))))
                FILTER (least(occurred_at, coalesce(shown, occurred_at)) >= $cutoff)
        FROM interactions
        JOIN first USING (user_id, item_id)
        LEFT JOIN shown USING (request_id, item_id)
        WHERE first = occurred_at AND occurred_at >= $cutoff AND weight > 0
    """
    with Store.open(workspace.store_path) as store:
        ((instants, asked),) = store.connection.execute(questions, {"cutoff": evaluation.facts.cutoff}).fetchall()
    assert evaluation.facts.counts["replay"]["queries_before_cap"] == asked < instants


@pytest.fixture
def trained(loaded: Workspace, tmp_path: Path) -> tuple[Workspace, datetime, Path]:
    """The shop with a bundle; its cutoff and its folder."""
    shutil.copytree(loaded.root, tmp_path / "shop")
    workspace = Workspace.open(tmp_path / "shop")
    cutoff = datetime(2024, 10, 1)
    return workspace, cutoff, train(workspace, TrainConfig.of(workspace), until=cutoff).folder


def test_a_refreshed_bundle_is_refused_with_the_name_of_the_one_to_judge(
    trained: tuple[Workspace, datetime, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _, source = trained
    (tmp_path / "new.csv").write_text("item_id,title\nbrand-new,Red scarf\n")
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "new.csv"])
    folder, changes = refresh(workspace, version=source.name)
    assert changes.new == 1
    assert readrank.run(["evaluate", "--bundle", folder.name, "--workspace", str(workspace.root)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{folder.name}: wanted a bundle as it was trained" in said
    assert f"evaluate {source.name}, from which it came" in said
    with Store.open(workspace.store_path) as store:
        assert store.connection.execute("SELECT count(*) FROM evaluations").fetchall() == [(0,)]


def test_a_bundle_is_named_and_has_its_own_cutoff(
    trained: tuple[Workspace, datetime, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _, folder = trained
    at = ["--workspace", str(workspace.root)]
    shutil.copytree(folder, tmp_path / "elsewhere")
    for name in ("", "mistyped", ".", str(tmp_path / "elsewhere"), "../bundles/" + folder.name):
        assert readrank.run(["evaluate", "--bundle", name, *at]) == 2
        said = capsys.readouterr().err
        assert (
            f"{workspace.bundles_path}: wanted the name of a bundle in it, got '{name}'; there are {folder.name}"
            in said
        )
    assert readrank.run(["evaluate", "--bundle", folder.name, "--cutoff", "2024-01-01", *at]) == 2
    assert "a bundle is judged at its own cutoff: leave it away" in capsys.readouterr().err


def test_a_trained_bundle_is_judged_at_its_own_cutoff_and_kept(trained: tuple[Workspace, datetime, Path]) -> None:
    workspace, cutoff, folder = trained
    evaluation = evaluate(workspace, bundle=folder, protocols=["cutoff"], k=5)
    assert evaluation.facts.cutoff == cutoff == Ranker.load(folder).cutoff
    assert set(evaluation.metrics["protocol"]) == {"cutoff"}
    assert set(evaluation.metrics["k"].drop_nulls()) == {5}
    with Store.open(workspace.store_path) as store:
        ((settings,),) = store.connection.execute("SELECT settings FROM evaluations").fetchall()
        assert store.connection.execute("SELECT status FROM bundles").fetchall() == [("trained",)]
    settings = json.loads(settings)
    assert (settings["k"], settings["max_queries"]) == (5, 120)
    assert settings["rules"] == json.loads(json.dumps(asdict(Ranker.load(folder).model.rules)))
    assert settings["baselines"]["shares"] == list(BaselinesConfig().shares)


@pytest.mark.parametrize("cutoff", [datetime(2024, 1, 21), datetime(2024, 1, 20)])
def test_a_bundle_without_anything_to_be_judged_on_is_a_mistake_with_a_way_out(
    cutoff: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the whole log, or all but a dislike; its cutoff is its own, so none can be named."""
    workspace = Workspace.create(tmp_path / "shop", "")
    rows = [f"u{day % 2},i,{'click' if day < 20 else 'hide'},2024-01-{day:02d}" for day in range(1, 21)]
    (tmp_path / "log.csv").write_text("user_id,item_id,kind,occurred_at\n" + "\n".join(rows) + "\n")
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "log.csv"])
        catalogue = Catalogue.from_store(store.items(END_OF_TIME), store.interactions(END_OF_TIME))
    ranker = SimpleNamespace(catalogue=catalogue, cutoff=cutoff, model=SimpleNamespace(rules=RulesConfig()))
    monkeypatch.setattr(Ranker, "load", lambda folder: ranker)
    monkeypatch.setattr("offline_eval.evaluate.read_manifest", lambda folder: SimpleNamespace(refreshed=None))
    monkeypatch.setattr("offline_eval.evaluate.make_baselines", lambda *_, **__: {"popular": None})
    monkeypatch.setattr("offline_eval.evaluate.text_interest", lambda *_: None)
    with pytest.raises(EvaluationError, match="; leave --bundle away to train a model for an earlier cutoff, "):
        evaluate(workspace, bundle=tmp_path / "v")


def test_a_model_trained_for_an_evaluation_that_fails_is_no_bundle_that_could_serve(
    loaded: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What training does is tested elsewhere: here it leaves what it leaves when it ends, a folder and a row."""
    shutil.copytree(loaded.root, tmp_path / "shop")
    workspace = Workspace.open(tmp_path / "shop")

    def trained(aside: Workspace, *ignored: object, until: datetime, progress: object) -> SimpleNamespace:
        with Store.open(workspace.store_path) as store:
            store.connection.execute(
                "INSERT INTO bundles (version, cutoff, created_at, status) VALUES ('v', $at, $at, 'trained')",
                {"at": until},
            )
        return SimpleNamespace(folder=aside.bundles_path / "v")

    monkeypatch.setattr("offline_eval.evaluate.train", trained)
    with pytest.raises(BundleError):  # an empty folder cannot be judged
        evaluate(workspace)
    with Store.open(workspace.store_path) as store:
        assert store.connection.execute("SELECT version, status FROM bundles").fetchall() == [("v", "retired")]


def test_an_evaluation_whose_training_waited_in_vain_tells_of_the_store_and_not_of_its_bundle(
    loaded: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training says that its bundle may be promoted; that of an evaluation is gone."""
    shutil.copytree(loaded.root, tmp_path / "shop")
    workspace = Workspace.open(tmp_path / "shop")

    def trained(aside: Workspace, *ignored: object, **named: object) -> None:
        with held_store(workspace.store_path):
            record(aside, aside.bundles_path / "v")

    monkeypatch.setattr("ingest.store.PATIENCE_S", 0)
    monkeypatch.setattr("offline_eval.evaluate.train", trained)
    with pytest.raises(HeldStoreError) as told:
        evaluate(workspace)
    assert str(workspace.store_path) in str(told.value)
    assert "promote" not in str(told.value)


@pytest.mark.parametrize("cutoff", [datetime(1999, 1, 1), datetime(2099, 1, 1)])
def test_a_cutoff_outside_the_log_is_a_mistake_with_a_way_out(loaded: Workspace, cutoff: datetime) -> None:
    with pytest.raises(EvaluationError, match=r"got \d+ and \d+: the log goes from 2024-01-01 .* name a cutoff inside"):
        evaluate(loaded, cutoff=cutoff)
    assert not list(loaded.root.glob(".evaluation-*"))


STOPPED = """
import sys
import offline_eval.evaluate
from ingest.workspace import Workspace
def train(aside, *ignored, **named):
    (aside.bundles_path / "somebody").touch()
    print(aside.bundles_path.name, flush=True)
    sys.stdin.read()
offline_eval.evaluate.train = train
offline_eval.evaluate.evaluate(Workspace.open(sys.argv[1]))
"""


def test_a_killed_evaluation_leaves_what_the_next_job_clears(loaded: Workspace) -> None:
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(loaded.root)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdout
        name = job.stdout.readline().strip()
        assert clear_leftovers(loaded) == ()
        job.kill()
        job.wait()
    assert (loaded.root / name / "somebody").exists()
    assert clear_leftovers(loaded) == (name,)


def test_an_empty_store_is_a_mistake(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "shop", "")
    Store.open(workspace.store_path).close()
    with pytest.raises(EvaluationError, match="ingest a longer log"):
        evaluate(workspace)


@pytest.mark.parametrize(
    ("kind", "way_out"), [("click", "set repeats = true under \\[rules\\]"), ("hide", "set weights under \\[kinds\\]")]
)
def test_a_log_in_which_nobody_takes_anything_new_is_a_mistake(tmp_path: Path, kind: str, way_out: str) -> None:
    workspace = Workspace.create(tmp_path / "shop", SETTINGS)
    (tmp_path / "items.csv").write_text("item_id,title\na,apple\nb,pear\n")
    rows = [f"u{day % 2},{'ab'[day % 2]},{kind},2024-01-{day:02d}" for day in range(1, 21)]
    (tmp_path / "log.csv").write_text("user_id,item_id,kind,occurred_at\n" + "\n".join(rows) + "\n")
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "items.csv", tmp_path / "log.csv"])
    with pytest.raises(EvaluationError, match=way_out):
        evaluate(workspace)
    assert not list(workspace.root.glob(".evaluation-*"))


@pytest.mark.parametrize("in_sight", ["2024-01-05", "2024-01-20"])
def test_replay_with_nothing_to_ask_is_a_mistake_before_the_training(
    in_sight: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is new after the cutoff was asked for before it, by the request that showed it, in sight then or later."""
    workspace = Workspace.create(tmp_path / "shop", SETTINGS)
    (tmp_path / "items.csv").write_text("item_id,title\na,apple\nb,pear\n")
    days = "".join(f"u{day % 2},{'ab'[day % 2]},2024-01-{day:02d},\n" for day in range(1, 20))
    (tmp_path / "log.csv").write_text(f"user_id,item_id,occurred_at,request_id\n{days}u0,b,2024-01-20,r1\n")
    (tmp_path / "shown.csv").write_text(
        f"request_id,user_id,item_id,occurred_at,clicked\nr1,u0,b,{in_sight},true\nr1,u0,a,2024-01-05,false\n"
    )
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / name for name in ("items.csv", "log.csv", "shown.csv")])
    monkeypatch.setattr("offline_eval.evaluate.train", lambda *_, **__: pytest.fail("trained before it asked"))
    with pytest.raises(EvaluationError, match="evaluation by replay wants interactions"):
        evaluate(workspace, protocols=["replay"])


def test_protocols_are_taken_by_name() -> None:
    assert check_protocols(None) == check_protocols(["replay", "cutoff"]) == ["cutoff", "replay"]
    assert check_protocols(["replay"]) == ["replay"]
    with pytest.raises(EvaluationError, match="wanted cutoff or replay, got 'yesterday'"):
        check_protocols(["yesterday"])


def test_command_prints_the_comparison(
    loaded: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(loaded.root, tmp_path / "shop")
    status = readrank.run(["evaluate", "--protocol", "cutoff", "--workspace", str(tmp_path / "shop")])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert all(system in said.out for system in SYSTEMS)
    assert "ndcg@10" in said.out
    assert (tmp_path / "shop" / "analytics.duckdb").exists()


def test_command_answers_a_wrong_cutoff_in_one_line(loaded: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert readrank.run(["evaluate", "--cutoff", "1999-01-01", "--workspace", str(loaded.root)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert c.OCCURRED_AT not in said.err
