"""How good is our system on what it has not seen, beside the baselines? Train until a cutoff, ask, compare, record."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, get_args

import polars as pl

from encoders.text import TextConfig, item_texts
from ingest import columns as c
from ingest.errors import HeldStoreError
from ingest.held import scratch
from ingest.leftovers import EVALUATION
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from offline_eval.baselines import POPULAR, make_baselines, text_interest
from offline_eval.compare import compare_lists, compare_scores
from offline_eval.errors import EvaluationError
from offline_eval.questions import EvaluationConfig, counts_of, impressions_by_request, shown_requests, window_of
from offline_eval.record import record
from offline_eval.report import ReportFacts, write_report
from offline_eval.systems import BaselinesConfig
from offline_eval.windows import Protocol, choose_cutoff
from ranker.asked import asked_at
from ranker.bundle import read_manifest
from ranker.history import History
from ranker.many import rank_many, recommend_many
from ranker.rank import Ranker
from ranker.train import train
from ranker.train_config import TrainConfig

log = logging.getLogger(__name__)

OURS = "readrank"
"""Our system's name in every table."""
INTEREST = "text interest"
"""Our tuned text encoder by itself: what reading adds before any blending."""
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
_WITHOUT_BUNDLE: Final = "leave --bundle away to train a model for an earlier cutoff"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found, and where it lies."""

    run_ids: list[str]
    """Runs in the store's `evaluations`, one for each protocol."""
    facts: ReportFacts
    metrics: pl.DataFrame
    """Columns of `compare.SCHEMA`."""
    page: Path
    data: Path


def evaluate(
    workspace: Workspace,
    *,
    cutoff: datetime | None = None,
    protocols: Sequence[Protocol] = PROTOCOLS,
    k: int | None = None,
    bundle: Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Train on what came before the cutoff, and compare with the baselines on what came at and after it.

    The model serves nobody and is gone afterwards; `bundle` names a trained one to be judged instead, at its own
    cutoff; a refreshed one is refused, as its catalogue is later than its cutoff. Writes `evaluations` and
    `evaluation_metrics` into the store, and HTML and JSON into `reports/`. Raises EvaluationError when the log has
    nothing before, or nothing at and after, the cutoff.
    """
    started_at = utc_now()
    config = workspace.section("evaluation", EvaluationConfig)
    config = replace(config, k=k or config.k)
    baselines = workspace.section("baselines", BaselinesConfig)
    with _bundle_to_judge(workspace, cutoff, bundle, protocols, config, progress) as folder:
        ranker = Ranker.load(folder)
        with Store.open_when_free(workspace.store_path, progress) as store:
            interactions, impressions = store.interactions(before=END_OF_TIME), impressions_by_request(store)
            known = store.impressions(before=ranker.cutoff)  # a service learns of later ones with the next training
        rows, counts = _compare(
            workspace,
            ranker,
            folder,
            interactions,
            impressions,
            live=History.from_frames(ranker.catalogue, interactions, known),
            protocols=protocols,
            config=config,
            baselines_config=baselines,
            progress=progress,
        )
    facts = ReportFacts(
        run_id=started_at.strftime("%Y%m%dT%H%M%S%f")[:-3],
        cutoff=ranker.cutoff,
        bundle_version=ranker.version,
        counts=counts,
        started_at=started_at,
        finished_at=utc_now(),
        ours=OURS,
    )
    with Store.open_when_free(workspace.store_path, progress) as store:
        settings = {**asdict(config), "rules": asdict(ranker.model.rules), "baselines": asdict(baselines)}
        run_ids = record(store, facts, rows, settings)
    page, data = write_report(facts, rows, workspace.reports_path)
    log.info("evaluated run=%s cutoff=%s rows=%d", facts.run_id, facts.cutoff, rows.height)
    return Evaluation(run_ids=run_ids, facts=facts, metrics=rows, page=page, data=data)


def check_protocols(names: Sequence[str] | None) -> Sequence[Protocol]:
    """Take protocols by name, each once; None or none means all. EvaluationError for a name that is none."""
    unknown = sorted(set(names or ()) - set(PROTOCOLS))
    if unknown:
        there = " or ".join(PROTOCOLS)
        raise EvaluationError(f"--protocol: wanted {there}, got {unknown[0]!r}; leave it away for both")
    return [protocol for protocol in PROTOCOLS if not names or protocol in names]


def _compare(
    workspace: Workspace,
    ranker: Ranker,
    folder: Path,
    interactions: pl.DataFrame,
    impressions: pl.DataFrame,
    *,
    live: History,
    protocols: Sequence[Protocol],
    config: EvaluationConfig,
    baselines_config: BaselinesConfig,
    progress: Progress,
) -> tuple[pl.DataFrame, dict[str, dict[str, int]]]:
    """Ask every system the same questions; gives rows of metrics and, for each protocol, counts."""
    catalogue, cutoff = ranker.catalogue, ranker.cutoff
    # What follows was checked before a training, so that only a bundle can fail here, whose cutoff cannot be changed.
    _check_sides(interactions, cutoff, _WITHOUT_BUNDLE)
    texts = item_texts(catalogue.items, workspace.section("text", TextConfig))
    rules, k = ranker.model.rules, config.k
    baselines = make_baselines(catalogue, texts, interactions, cutoff, baselines_config, rules=rules, progress=progress)
    baselines[INTEREST] = text_interest(baselines[POPULAR], folder)
    rows: list[pl.DataFrame] = []
    counts: dict[str, dict[str, int]] = {}
    asked = asked_at(interactions, impressions)
    for protocol in protocols:
        window = window_of(
            protocol, interactions, cutoff, asked, repeats=rules.repeats, config=config, way_out=_WITHOUT_BUNDLE
        )
        queries = window.queries.select(c.QUERY_ID, c.USER_ID, c.AS_OF)
        answers = {OURS: recommend_many(ranker.model, queries, k, live, progress)}
        for number, (name, baseline) in enumerate(baselines.items()):
            progress(f"ask {protocol}", number, len(baselines), name)
            answers[name] = baseline.recommend(queries, k)
        progress(f"ask {protocol}", len(baselines), len(baselines))
        rows.append(compare_lists(window, answers, len(catalogue), k, OURS))
        counts[protocol] = counts_of(window)
        if protocol == "replay":
            shown = shown_requests(window, impressions, config)
            # Scores may look at nothing of the outcome.
            given = shown.select(c.REQUEST_ID, c.USER_ID, c.ITEM_ID, c.OCCURRED_AT)
            scored = {OURS: rank_many(ranker.model, given, live)}
            scored |= {name: baseline.rank(given) for name, baseline in baselines.items()}
            rows.append(compare_scores(window, shown, scored, OURS))
    return pl.concat(rows), counts


@contextmanager
def _bundle_to_judge(
    workspace: Workspace,
    cutoff: datetime | None,
    bundle: Path | None,
    protocols: Sequence[Protocol],
    config: EvaluationConfig,
    progress: Progress,
) -> Iterator[Path]:
    """Give the folder of a bundle that knows nothing from the cutoff on; one trained for this is removed at the end."""
    if bundle is not None:
        _check_not_refreshed(bundle)
        yield bundle
        return
    with Store.open(workspace.store_path) as store:
        interactions = store.interactions(before=END_OF_TIME)
        asked = asked_at(interactions, impressions_by_request(store))
    if cutoff is None:
        cutoff = choose_cutoff(interactions, config.quantile)
    _check_sides(interactions, cutoff)
    training = TrainConfig.of(workspace)
    for protocol in protocols:  # before the training, which takes minutes
        window_of(protocol, interactions, cutoff, asked, repeats=training.rules.repeats, config=config)
    del interactions, asked
    with scratch(workspace.root, EVALUATION) as folder:
        aside = _Aside(workspace.root, folder)
        try:
            judged = train(aside, training, until=cutoff, progress=progress).folder
        except HeldStoreError as error:  # a training tells of its bundle, which could be promoted; this one goes
            raise error.__cause__ if isinstance(error.__cause__, HeldStoreError) else error from None
        try:
            yield judged
        finally:  # whatever happens: its folder goes, and its row must not name one that may serve
            with Store.open_when_free(workspace.store_path, progress) as store:
                store.connection.execute("UPDATE bundles SET status = 'retired' WHERE version = ?", [judged.name])


@dataclass(frozen=True)
class _Aside(Workspace):
    """The same workspace with another place for bundles: a trial model never lies among those that may serve."""

    bundles: Path

    @property
    def bundles_path(self) -> Path:
        """Where the trial model is written."""
        return self.bundles


def _check_not_refreshed(folder: Path) -> None:
    refreshed = read_manifest(folder).refreshed
    if refreshed is not None:
        raise EvaluationError(
            f"{folder.name}: wanted a bundle as it was trained, got one whose catalogue, of its refresh, is later than "
            f"its cutoff; evaluate {refreshed['source']}, from which it came, or leave --bundle away to train anew"
        )


def _check_sides(interactions: pl.DataFrame, cutoff: datetime, way_out: str = "name a cutoff inside it") -> None:
    before = interactions.filter(pl.col(c.OCCURRED_AT) < cutoff).height
    after = interactions.height - before
    if not before or not after:
        span = interactions[c.OCCURRED_AT].sort().cast(pl.String)
        lies = f"the log goes from {span[0]} to {span[-1]}" if interactions.height else "the log is empty"
        raise EvaluationError(
            f"evaluation wants interactions before and at or after the cutoff {cutoff}, got {before} and {after}: "
            f"{lies}; {way_out}, or ingest a longer log"
        )
