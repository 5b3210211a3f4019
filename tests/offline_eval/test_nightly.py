"""Three nights of one small shop: a first model, one that takes its place, and one that does not."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import offline_eval.nightly
import readrank
from ingest import columns as c
from ingest.load import load_files
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from offline_eval.nightly import LIVE, Night, NightlyConfig, _cutoff, _Serving, _serving, nightly
from offline_eval.questions import EvaluationConfig, impressions_by_request
from offline_eval.simulate import SimulationConfig, simulate
from offline_eval.windows import replay_window
from ranker import bundle
from ranker.asked import asked_at
from ranker.rank import Ranker
from ranker.rules import RulesConfig
from tests.offline_eval.conftest import CLEAN
from tests.offline_eval.test_evaluate import SETTINGS

NIGHTLY = """
[nightly]
days = 5
queries = 150
least_queries = 20
margin = 1.0
"""
"""The new model may lose all that the serving one has: it passes unless it is shown to be worse than nothing."""


class Shop:
    """A workspace whose log arrives in parts."""

    def __init__(self, folder: Path) -> None:
        log = simulate(SimulationConfig(n_events=6_000, n_users=200, n_items=200, **CLEAN), folder / "log")
        self.workspace = Workspace.create(folder / "shop", SETTINGS + NIGHTLY)
        self._files, self._folder, self._items = (log.interactions, log.impressions), folder, log.items
        self._times = pl.read_parquet(log.interactions)[c.OCCURRED_AT]
        self._loaded = 0.0

    def load_until(self, share: float) -> None:
        since, until = (self._times.quantile(each, "nearest") for each in (self._loaded, share))
        parts = []
        for file in self._files:
            parts.append(self._folder / f"{share}-{file.name}")
            rows = pl.read_parquet(file).filter(pl.col(c.OCCURRED_AT) >= since, pl.col(c.OCCURRED_AT) < until)
            rows.write_parquet(parts[-1])
        with Store.open(self.workspace.store_path) as store:
            load_files(store, [self._items, *parts])
        self._loaded = share


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    return Shop(tmp_path_factory.mktemp("nights"))


@pytest.fixture(scope="module")
def first(shop) -> tuple[Night, str | None]:
    shop.load_until(0.6)
    return nightly(shop.workspace), serving(shop.workspace)


@pytest.fixture(scope="module")
def second(shop, first) -> tuple[Night, str | None]:
    shop.load_until(0.8)
    return nightly(shop.workspace), serving(shop.workspace)


def serving(workspace: Workspace) -> str:
    return bundle.live_folder(workspace.bundles_path).name


def log_of(workspace: Workspace) -> pl.DataFrame:
    with Store.open(workspace.store_path) as store:
        return store.interactions(before=END_OF_TIME)


def test_a_first_model_is_compared_with_the_popular_list_and_serves(first):
    night, live = first
    assert (night.decision, night.before, night.live) == ("promoted", None, live)
    assert set(night.comparison.metrics["system"]) == {"readrank", "popular"}
    assert {check.against for check in night.comparison.checks} == {"popular"}


def test_the_next_one_is_asked_about_what_neither_has_learned(first, second, shop):
    night, _ = second
    facts, compared = night.comparison.facts, night.comparison.metrics
    earlier = Ranker.load(shop.workspace.bundles_path / first[1])
    assert facts.cutoff > earlier.cutoff
    assert set(compared["system"]) == {"readrank", LIVE, "popular"}
    assert facts.counts["replay"]["queries"] == 120  # as many as [evaluation] asks at most
    asked = compared.filter(segment="all", metric="ndcg over live")
    assert asked["n"].to_list() == [facts.counts["replay"]["queries"]]
    assert {check.segment for check in night.comparison.checks if check.must_show} >= {"all"}


def test_what_passes_serves_with_all_that_has_happened(first, second, shop):
    night, live = second
    assert (night.decision, night.before, night.live) == ("promoted", first[1], live)
    ranker, log = Ranker.load(shop.workspace.bundles_path / live), log_of(shop.workspace)
    last = log[c.OCCURRED_AT].max()
    assert ranker.cutoff == night.comparison.facts.cutoff < last < ranker.known_until
    assert ranker.history.n_events == len(log)
    judged = night.comparison.facts.bundle_version
    assert bundle.read_manifest(shop.workspace.bundles_path / live).refreshed["source"] == judged
    assert not (shop.workspace.bundles_path / judged).exists(), "its models lie in the bundle that serves"
    assert bundle.rollback(shop.workspace.bundles_path) == (first[1], live)
    assert bundle.rollback(shop.workspace.bundles_path) == (live, first[1])


def test_a_night_is_recorded_with_what_decided(second, shop):
    night, _ = second
    with Store.open(shop.workspace.store_path, read_only=True) as store:
        told = store.connection.execute(
            "SELECT settings FROM evaluations WHERE bundle_version = ?", [night.comparison.facts.bundle_version]
        ).fetchall()
    settings = json.loads(told[0][0])["nightly"]
    assert (settings["decision"], settings["live"], settings["margin"]) == ("promoted", night.before, 1.0)
    assert settings["why"] == list(night.why)
    page = night.comparison.page.read_text()
    assert "<b>promoted</b>" in page
    assert night.why[0].split(":")[0] in page
    assert json.loads(night.comparison.data.read_text())["decision"] == "promoted"


@pytest.fixture
def third(second, shop):
    if shop._loaded < 1:
        shop.load_until(1.0)
    return shop.workspace


def test_a_model_that_finds_nothing_is_refused(third, monkeypatch, capsys):
    """Whatever it was that broke it."""
    live, bundles, ask = serving(third), set(third.bundles_path.iterdir()), offline_eval.nightly.recommend_many

    def broken(model, queries, *others):
        assert model.known_until < queries[c.AS_OF].min(), "both give live answers, also where the questions begin"
        answers = ask(model, queries, *others)
        return answers if model.cutoff == Ranker.load(third.bundles_path / live).cutoff else answers.clear()

    monkeypatch.setattr(offline_eval.nightly, "recommend_many", broken)
    third.settings_path.write_text(third.settings_path.read_text().replace("margin = 1.0", "margin = 0.5"))
    assert readrank.run(["nightly", "--workspace", str(third.root), "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["decision"], told["live"], told["before"]) == ("refused", live, live)
    assert {"all"} <= {check["segment"] for check in told["checks"] if check["verdict"] == "worse"}
    assert any("worse" in line for line in told["why"])
    assert serving(third) == live
    new = set(third.bundles_path.iterdir()) - bundles
    assert [path.name for path in new] == [told["candidate"]], "it stays for a look"
    assert not list(third.root.glob(".evaluation-*"))


def test_with_few_questions_nothing_is_trained(third, monkeypatch, capsys):
    live, bundles = serving(third), set(third.bundles_path.iterdir())
    left_by_a_killed_job = third.root / ".training-killed"
    left_by_a_killed_job.mkdir()
    monkeypatch.setattr(offline_eval.nightly, "train", lambda *ignored, **also: pytest.fail("trained"))
    third.settings_path.write_text(
        third.settings_path.read_text().replace("least_queries = 20", "least_queries = 9999")
    )
    assert readrank.run(["nightly", "--workspace", str(third.root)]) == 0
    said = capsys.readouterr().out
    assert "least_queries under [nightly] wants 9,999" in said
    assert f"{live} goes on serving" in said
    assert (serving(third), set(third.bundles_path.iterdir())) == (live, bundles)
    assert not left_by_a_killed_job.exists(), "retention is applied"


@pytest.fixture
def passing(third, monkeypatch) -> Workspace:
    """Whose next model passes, whatever it is worth."""
    third.settings_path.write_text(SETTINGS + NIGHTLY)
    monkeypatch.setattr(offline_eval.nightly, "decide", lambda found: ("promoted", list(found)))
    return third


def decisions(workspace: Workspace) -> list[str]:
    with Store.open(workspace.store_path, read_only=True) as store:
        told = store.connection.execute("SELECT settings->>'$.nightly.decision' FROM evaluations ORDER BY started_at")
        return [decision for (decision,) in told.fetchall()]


def test_a_model_that_cannot_be_brought_up_to_date_was_not_promoted(passing, monkeypatch):
    """As on a full disk, or where the job is killed meanwhile."""
    told, refresh = decisions(passing), offline_eval.nightly.refresh

    def failing(workspace, *, until=None, **others):
        if until is None:
            raise OSError("the disk is full")
        return refresh(workspace, until=until, **others)

    monkeypatch.setattr(offline_eval.nightly, "refresh", failing)
    live = serving(passing)
    with pytest.raises(OSError, match="full"):
        nightly(passing)
    assert (decisions(passing), serving(passing)) == (told, live)


def test_a_model_does_not_take_the_place_of_one_it_was_not_compared_with(passing, first, monkeypatch, capsys):
    """Somebody who rolled back while the night was at work has the last word."""
    live, compared, bundles = serving(passing), offline_eval.nightly.checks, set(passing.bundles_path.iterdir())

    def meanwhile(*others, **also):
        bundle.promote(passing.bundles_path, first[1])
        return compared(*others, **also)

    monkeypatch.setattr(offline_eval.nightly, "checks", meanwhile)
    assert readrank.run(["nightly", "--workspace", str(passing.root)]) == 0
    assert f"{first[1]} has come to serve meanwhile" in capsys.readouterr().out
    assert (serving(passing), decisions(passing)[-1]) == (first[1], "waits")
    assert set(passing.bundles_path.iterdir()) == bundles, "what waits is trained anew the next night"
    bundle.promote(passing.bundles_path, live)


def test_questions_are_the_latest_and_leave_the_new_model_something_to_learn(third):
    """As many days, or questions, as are wanted; but at most half of what the serving model has not learned from."""
    model, log = _serving(third)[0], log_of(third)
    with Store.open(third.store_path) as store:
        asked = asked_at(log, impressions_by_request(store))
        every = replay_window(log, model.cutoff, asked=asked).queries[c.AS_OF].sort()

        def begin(**settings) -> tuple[datetime, int]:
            return _cutoff(store, model, RulesConfig(), NightlyConfig(**settings), EvaluationConfig())

        half = every[-(len(every) // 2)]
        assert half > model.cutoff
        assert begin(days=9_999, queries=1) == begin(days=0, queries=9_999) == (half, (every >= half).sum())
        assert begin(days=0, queries=10) == (every[-10], (every >= every[-10]).sum())
        cutoff, n = begin(days=1, queries=1)
        assert n == (every > log[c.OCCURRED_AT].max() - timedelta(days=1)).sum()
        assert cutoff == every[-n]


def test_a_serving_model_that_does_not_load_is_said_and_not_asked(third):
    manifest = bundle.live_folder(third.bundles_path) / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text("{")
    model, why = _serving(third)
    manifest.write_text(whole)
    assert model is None
    assert "could not be asked" in why[0]
    name = third.bundles_path / "live"
    whole = name.read_bytes()
    name.write_bytes(b"\xff\xfe")
    model, why = _serving(third)
    name.write_bytes(whole)
    assert model is None
    assert "wanted the name of a bundle" in why[0]


@pytest.fixture
def daily(tmp_path) -> Workspace:
    """Fewer users each day, who take what is new to them, all at midnight: a log that tells days alone."""
    log = [(f"u{user}", f"i{day}", datetime(2024, 1, day)) for day in range(1, 5) for user in range(12 - 2 * day)]
    workspace, file = Workspace.create(tmp_path / "daily", SETTINGS + NIGHTLY), tmp_path / "log.parquet"
    pl.DataFrame(log, schema=[c.USER_ID, c.ITEM_ID, c.OCCURRED_AT], orient="row").write_parquet(file)
    with Store.open(workspace.store_path) as store:
        load_files(store, [file])
    return workspace


@pytest.mark.parametrize(
    ("learned_before", "asked_from", "n"),
    [(2, 3, 10), (3, 4, 4), (4, 4, 0), (5, 5, 0)],
)
def test_a_night_leaves_the_new_model_something_to_learn_where_a_log_tells_days_alone(
    daily, tmp_path, learned_before, asked_from, n
):
    """Else the model that serves is trained once more each night, and the way back is soon a copy of it."""
    model = _Serving(folder=tmp_path, cutoff=datetime(2024, 1, learned_before), reads=True)
    with Store.open(daily.store_path) as store:
        begin = _cutoff(store, model, RulesConfig(), NightlyConfig(), EvaluationConfig())
    assert begin == (datetime(2024, 1, asked_from), n)


def test_a_night_waits_where_a_model_serves_and_the_store_is_empty(daily, tmp_path):
    """As where retention has taken the log, or the store was lost."""
    model = _Serving(folder=tmp_path, cutoff=datetime(2024, 1, 3), reads=True)
    with Store.open(tmp_path / "empty.duckdb") as store:
        assert _cutoff(store, model, RulesConfig(), NightlyConfig(), EvaluationConfig()) == (model.cutoff, 0)
