"""May tonight's model serve? Train without the latest part of the log, ask both models about it, promote or refuse."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from ingest import columns as c
from ingest.bounds import Days, Fraction, Positive, check_bounds
from ingest.bundle_folders import LIVE as SERVES
from ingest.bundle_folders import bundle_folders, remove_bundle, version_named_by
from ingest.held import scratch
from ingest.leftovers import EVALUATION
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.retention import Retained, RetentionConfig, retain
from ingest.store import END_OF_TIME, Store
from ingest.take_in import drain_outbox
from ingest.workspace import Workspace
from offline_eval.baselines import POPULAR, popular_list
from offline_eval.compare import compare_lists, compare_scores
from offline_eval.evaluate import OURS
from offline_eval.gate import Check, Decision, checks, decide
from offline_eval.questions import EvaluationConfig, counts_of, impressions_by_request, shown_requests, window_of
from offline_eval.record import record
from offline_eval.report import ReportFacts, write_report
from offline_eval.systems import BaselinesConfig
from offline_eval.windows import Protocol, choose_cutoff, replay_window
from ranker import bundle
from ranker.asked import asked_at
from ranker.errors import BundleError
from ranker.history import History
from ranker.many import rank_many, recommend_many
from ranker.model import Model
from ranker.rank import Ranker
from ranker.refresh import refresh
from ranker.rules import RulesConfig
from ranker.spoken import unused_settings
from ranker.train import train
from ranker.train_config import TrainConfig

log = logging.getLogger(__name__)

LIVE: Final = "live"
"""The name of the model that serves, in every table."""
PROTOCOL: Final[Protocol] = "replay"
"""How both are asked: as a service is, with the history up to each moment."""
_DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class NightlyConfig:
    """When tonight's model may take the place of the one that serves (`readrank nightly`)."""

    days: Days = 1.0
    """Both models are asked about at least so many of the latest days of the log. Neither has learned from them."""
    queries: Positive = 2000
    """Where they hold fewer questions than this, both are asked about a longer time, but about no more than half of
    what the serving model has not learned from: the other half is what the new one learns. In segments of so many
    questions, too, the new model must be shown to be no worse."""
    least_queries: Positive = 200
    """With fewer questions nothing is trained: the night waits for more."""
    margin: Fraction = 0.1
    """The new model is no worse when it has lost, by a 95 % interval, at most this share of what the serving one
    has."""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How the new model did beside the others."""

    facts: ReportFacts
    metrics: pl.DataFrame
    """Columns of `compare.SCHEMA`; systems are `readrank` (the new model), `live` and `popular`."""
    checks: tuple[Check, ...]
    """All that could decide, segment by segment."""
    page: Path
    """The report as HTML."""
    data: Path
    """The report as JSON."""


@dataclass(frozen=True, kw_only=True)
class Night:
    """What a night came to."""

    decision: Decision
    why: tuple[str, ...]
    """A sentence each."""
    live: str | None
    """Version that serves from now on."""
    before: str | None
    """Version that served before."""
    comparison: Comparison | None = None
    """None where there were too few questions: then nothing was trained."""
    retained: Retained = field(default_factory=Retained)


def nightly(workspace: Workspace, *, progress: Progress = silent) -> Night:
    """Drain, train, compare, decide, and let the new model serve if it is shown to be no worse than the one that does.

    Both are asked by the replay protocol about the end of the log, which neither has learned from, over one catalogue.
    A model that passes is brought up to date (`ranker.refresh`): it serves with all that users have done by now. One
    that is refused stays under `bundles/` for a look; one that waits is removed, as another is trained the next night.
    The comparison is recorded like an evaluation's.
    Raises what a training raises.
    """
    started_at = utc_now()
    config = workspace.section("nightly", NightlyConfig)
    evaluation = workspace.section("evaluation", EvaluationConfig)
    training, retention = TrainConfig.of(workspace), workspace.section("retention", RetentionConfig)
    before = version_named_by(workspace.bundles_path, SERVES)
    serving, unread = _serving(workspace)
    with Store.open(workspace.store_path) as store:
        drain_outbox(workspace, store)
        cutoff, n_queries = _cutoff(store, serving, training.rules, config, evaluation)
    if n_queries < config.least_queries:
        why = (*unread, _too_few(n_queries, cutoff, serving, config))
        retained = retain(workspace, retention, utc_now(), progress=progress)
        return Night(decision="waits", why=why, live=before, before=before, retained=retained)
    trained = train(workspace, training, until=cutoff, progress=progress)
    candidate, notes = trained.folder, (*unread, *unused_settings(trained))
    counts, rows = _compare(workspace, candidate, serving, evaluation, progress)
    found = checks(rows, OURS, LIVE if serving else None, POPULAR, margin=config.margin, enough=config.queries)
    decision, telling = decide(found)
    why = (*notes, *map(str, telling))
    fresh = candidate
    if decision == "promoted":  # which nobody is told before all is ready
        fresh, _ = refresh(workspace, version=candidate.name, progress=progress)
        if (now := version_named_by(workspace.bundles_path, SERVES)) != before:
            decision, why = "waits", (*notes, f"{now} has come to serve meanwhile, and was not compared")
    facts = ReportFacts(
        run_id=started_at.strftime("%Y%m%dT%H%M%S%f")[:-3],
        cutoff=cutoff,
        bundle_version=candidate.name,
        counts={PROTOCOL: counts},
        started_at=started_at,
        finished_at=utc_now(),
        ours=OURS,
        decision=decision,
        why=why,
    )
    told = {**asdict(config), "decision": decision, "why": why, "live": before}
    page, data = write_report(facts, rows, workspace.reports_path)
    with Store.open_when_free(workspace.store_path, progress) as store:
        record(store, facts, rows, {**asdict(evaluation), "nightly": told})
    log.info("night run=%s decision=%s candidate=%s live=%s", facts.run_id, decision, candidate.name, before)
    if decision == "promoted":
        _, retained = bundle.settle(workspace, fresh.name, retention, serve=True, progress=progress)
        _remove(workspace, {candidate.name} - {fresh.name})  # its models lie in the bundle that serves
    else:
        retained = retain(workspace, retention, utc_now(), progress=progress)
        _remove(workspace, {candidate.name, fresh.name} if decision == "waits" else set())
    live = version_named_by(workspace.bundles_path, SERVES)
    comparison = Comparison(facts=facts, metrics=rows, checks=tuple(found), page=page, data=data)
    return Night(decision=decision, why=why, live=live, before=before, comparison=comparison, retained=retained)


@dataclass(frozen=True, kw_only=True)
class _Serving:
    """The model that serves, as far as its manifest tells."""

    folder: Path
    cutoff: datetime
    reads: bool
    """Whether it reads texts; one that does not cannot be refreshed."""


def _serving(workspace: Workspace) -> tuple[_Serving | None, tuple[str, ...]]:
    """Return the model that serves, or None and, where there is one, why it cannot be asked."""
    if not (workspace.bundles_path / SERVES).exists():
        return None, ()
    try:
        folder = bundle.live_folder(workspace.bundles_path)
        manifest = bundle.checked_manifest(folder)
    except BundleError as error:
        return None, (f"the model that serves could not be asked: {error}",)
    reads = not manifest.measured.get("without_text")
    return _Serving(folder=folder, cutoff=datetime.fromisoformat(manifest.cutoff), reads=reads), ()


def _cutoff(
    store: Store, serving: _Serving | None, rules: RulesConfig, config: NightlyConfig, evaluation: EvaluationConfig
) -> tuple[datetime, int]:
    """Return the moment from which both models are asked, and how many questions there are from then on.

    Without a model that serves, the questions begin at the earliest where an evaluation's do.
    """
    interactions = store.interactions(before=END_OF_TIME)
    asked = asked_at(interactions, impressions_by_request(store))
    earliest = serving.cutoff if serving else choose_cutoff(interactions, evaluation.quantile)
    every = replay_window(
        interactions, earliest, asked=asked, repeats=rules.repeats, max_queries=interactions.height + 1
    )
    moments = every.queries[c.AS_OF].sort()
    if moments.is_empty():
        return earliest, 0
    since = interactions.select(pl.col(c.OCCURRED_AT).max().dt.offset_by(f"-{round(config.days * _DAY_US)}us")).item()
    wanted = max(config.queries, int((moments > since).sum()))
    # All of one moment are asked together, and the new model has to learn something: not from the first moment on.
    begins = moments if not serving else moments.filter(moments > moments[0])
    if begins.is_empty():
        return earliest, 0
    cutoff: datetime = max(moments[-min(wanted, len(moments) // 2 if serving else len(moments))], begins[0])
    return cutoff, int((moments >= cutoff).sum())


def _too_few(n: int, cutoff: datetime, serving: _Serving | None, config: NightlyConfig) -> str:
    of = "half of what came after the serving model's cutoff" if serving else "the latest part of the log"
    first = "" if serving else "; `readrank train` makes a first model without a comparison"
    return (
        f"{n:,} questions from {cutoff:%Y-%m-%d %H:%M} on, which is {of}; "
        f"least_queries under [nightly] wants {config.least_queries:,}{first}"
    )


def _compare(
    workspace: Workspace, candidate: Path, serving: _Serving | None, config: EvaluationConfig, progress: Progress
) -> tuple[dict[str, int], pl.DataFrame]:
    """Ask the new model, the one that serves and the popular list the same questions; gives counts and metrics."""
    ranker = Ranker.load(candidate)
    rules, cutoff, k = ranker.model.rules, ranker.cutoff, config.k
    with Store.open_when_free(workspace.store_path, progress) as store:
        interactions, impressions = store.interactions(before=END_OF_TIME), impressions_by_request(store)
        known = store.impressions(before=cutoff)
    asked = asked_at(interactions, impressions)
    window = window_of(PROTOCOL, interactions, cutoff, asked, repeats=rules.repeats, config=config)
    shown = shown_requests(window, impressions, config)
    queries = window.queries.select(c.QUERY_ID, c.USER_ID, c.AS_OF)
    given = shown.select(c.REQUEST_ID, c.USER_ID, c.ITEM_ID, c.OCCURRED_AT)
    baselines = workspace.section("baselines", BaselinesConfig)
    popular = popular_list(ranker.catalogue, interactions, cutoff, baselines, rules=rules)
    answers: dict[str, pl.DataFrame] = {}
    scored: dict[str, pl.DataFrame] = {}

    def ask(name: str, model: Model) -> None:
        learned = known.filter(pl.col(c.OCCURRED_AT) < model.cutoff)  # of later ones a service learns with a training
        history = History.from_frames(model.catalogue, interactions, learned)
        # As in service every answer is a live one, also at the cutoff itself, where the new model's history ends.
        live = replace(model, known_until=cutoff - timedelta(microseconds=1))
        answers[name] = recommend_many(live, queries, k, history, progress)
        scored[name] = rank_many(model, given, history)

    ask(OURS, ranker.model)
    if serving:
        with _over_catalogue_at(workspace, serving, cutoff, progress) as folder:
            ask(LIVE, Ranker.load(folder).model)
    answers[POPULAR], scored[POPULAR] = popular.recommend(queries, k), popular.rank(given)
    lists = compare_lists(window, answers, len(ranker.catalogue), k, OURS)
    return counts_of(window), pl.concat([lists, compare_scores(window, shown, scored, OURS)])


@contextmanager
def _over_catalogue_at(workspace: Workspace, serving: _Serving, cutoff: datetime, progress: Progress) -> Iterator[Path]:
    """Give the serving model over the catalogue, and with the rules, that the new one has: models are compared.

    A model that reads no texts cannot be refreshed and is given as it is.
    """
    with scratch(workspace.root, EVALUATION) as aside:
        if not serving.reads:
            yield serving.folder
            return
        yield refresh(workspace, version=serving.folder.name, until=cutoff, into=aside, progress=progress)[0]


def _remove(workspace: Workspace, versions: set[str]) -> None:
    for old in bundle_folders(workspace.bundles_path):
        if old.version in versions:
            remove_bundle(old)
