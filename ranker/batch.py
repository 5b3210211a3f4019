"""How does a file of questions become a file of answers? The live bundle, with history as of each question."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from threadpoolctl import threadpool_limits

from ingest import columns as c
from ingest.outbox import OnlineEvent, Outbox
from ingest.progress import Progress, silent
from ingest.pseudonyms import Pseudonyms
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from ranker.bundle import live_folder
from ranker.history import History
from ranker.many import rank_many, recommend_many
from ranker.query_files import (
    QUERY,
    REQUEST,
    check_answers,
    columns_not_read,
    read_queries,
    read_requests,
    write_answers,
)
from ranker.rank import Ranker


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What became of a file of questions."""

    questions: int
    """Queries, or items of requests."""
    rows: int
    """Rows written."""
    columns_not_read: list[str]
    """Columns of the file that nothing reads."""


def recommend_file(workspace: Workspace, queries: Path, out: Path, k: int, progress: Progress = silent) -> Answered:
    """Answer a file of queries."""
    check_answers(out, queries)
    asked = read_queries(queries)
    users = _users(workspace)
    ranker = Ranker.load(live_folder(workspace.bundles_path))
    with threadpool_limits(1):  # threads of BLAS wait by spinning: twice the cores busy, little gained, a lot lost
        named = asked.with_columns(users(asked[c.USER_ID]))
        answers = recommend_many(ranker.model, named, k, history_of(workspace, ranker), progress)
    write_answers(answers, out)
    return Answered(questions=len(asked), rows=len(answers), columns_not_read=columns_not_read(queries, QUERY))


def rank_file(workspace: Workspace, requests: Path, out: Path, progress: Progress = silent) -> Answered:
    """Score a file of requests."""
    check_answers(out, requests)
    asked = read_requests(requests)
    users = _users(workspace)
    ranker = Ranker.load(live_folder(workspace.bundles_path))
    with threadpool_limits(1):
        named = asked.with_columns(users(asked[c.USER_ID]))
        scored = rank_many(ranker.model, named, history_of(workspace, ranker), progress)
    write_answers(scored.with_columns(asked[c.USER_ID]), out)  # rows and order are those asked
    return Answered(questions=len(asked), rows=len(scored), columns_not_read=columns_not_read(requests, REQUEST))


def _users(workspace: Workspace) -> Callable[[pl.Series], pl.Series]:
    """Return what turns the ids of a file into those of the store: pseudonyms, where the workspace has them."""
    pseudonyms = Pseudonyms.of_workspace(workspace)
    return pseudonyms.column if pseudonyms else lambda given: given


def history_of(workspace: Workspace, ranker: Ranker) -> History:
    """Read all that users did, also what came over HTTP and waits for the store.

    What lies after a question's moment is never looked at. What was shown after the bundle's cutoff a service learns
    with the next training, so it is left out.
    """
    with Store.open(workspace.store_path, read_only=True) as store:  # meanwhile nobody takes what waits into it
        interactions = store.interactions(before=END_OF_TIME)
        impressions = store.impressions(before=ranker.cutoff)
        waiting = _waiting(workspace)
    history = History.from_frames(ranker.catalogue, interactions, impressions)
    return ranker.history_with(waiting, history) if waiting else history


def _waiting(workspace: Workspace) -> list[OnlineEvent]:
    if not workspace.outbox_path.exists():
        return []
    with Outbox.open(workspace.outbox_path) as outbox:
        return outbox.events_after(outbox.drained_seq())[0]
