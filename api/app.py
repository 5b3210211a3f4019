"""Which addresses does the service answer, and with what?"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated

from fastapi import Body, FastAPI, Query, Response
from pydantic_core import to_json

from api import playground
from api.accept_events import EventWriter
from api.answers import AnswerOut, EventsOut, ItemOut, ItemsOut, ProblemOut, ReadyOut
from api.decisions import DecisionLog
from api.errors import UnknownItemError
from api.events import Desk, EventsIn
from api.explained import comparison_json, reason_json
from api.limits import BodyLimit
from api.live import Live
from api.live_history import MOST_WAIT_S
from api.problems import PROBLEMS, add_problems
from api.recommender import Recommender, load_ranker
from api.requests import GivenItemIn, Id, RankingsIn, RecommendationsIn
from api.service import Served, Service
from api.settings import ServiceSettings, from_environment
from api.supervisor import end_with_parent
from api.threads import Repeated
from ingest import columns as c
from ingest.checks import ChecksConfig, KindsConfig
from ingest.moments import utc_now
from ingest.outbox import Outbox
from ingest.pseudonyms import Pseudonyms
from ingest.workspace import Workspace
from ranker import query as q

LEAST_PAUSE_S = 0.1
"""Between two looks for another bundle where nobody asks, however small READRANK_RELOAD_SECONDS is."""
NEW_ITEM = "a new one is known after `readrank ingest` and `readrank refresh --promote`"


def create_app(
    workspace_path: Path | str,
    settings: ServiceSettings | None = None,
    *,
    load: Callable[[Path], Recommender] = load_ranker,
) -> FastAPI:
    """Make the service of one workspace; the bundle is loaded when the app starts up.

    Starts without a bundle too: events are accepted, `/readyz` says what is missing, and the first bundle is picked up.
    """
    settings = settings or from_environment()
    workspace = Workspace.open(workspace_path)
    pseudonyms = Pseudonyms.of_workspace(workspace)
    # Ids are mapped as they come in: nothing behind this line ever sees another one.
    name_user: Callable[[str], str] = pseudonyms.of if pseudonyms else str
    desk = Desk(workspace.section("checks", ChecksConfig), workspace.section("kinds", KindsConfig), name_user)
    # A connection each: reading before an answer must not wait while another thread waits for the disk.
    outbox, reading, logging_to = (Outbox.open(workspace.outbox_path) for _ in range(3))
    writer = EventWriter(desk, outbox)
    live = Live(
        workspace.bundles_path,
        reading,
        load=load,
        check_every_s=settings.reload_seconds,
        patience_s=settings.budget_ms / 2e3,
    )
    decisions = DecisionLog(logging_to, length=settings.log_queue)
    watch = Repeated(live.look_for_bundle, max(settings.reload_seconds, LEAST_PAUSE_S), "bundle-watch")
    # In a thread of its own: an outbox that hangs must not keep another bundle from being found.
    count = Repeated(live.catch_up, MOST_WAIT_S, "event-count")
    service = Service(live, decisions, budget_s=settings.budget_ms / 1e3, threads=settings.threads)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        decisions.start()
        live.start()
        watch.start()
        count.start()
        yield
        watch.stop()
        count.stop()
        service.stop()
        writer.stop()
        decisions.stop()
        live.stop()
        for opened in (outbox, reading, logging_to):
            opened.close()

    app = FastAPI(
        title="readrank",
        version="1",
        summary="Recommendations that read: what suits a user, from what people do and what items say.",
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(BodyLimit, longest=settings.max_body_bytes)
    add_problems(app)
    _add_answers(app, service, name_user)
    _add_events(app, writer)
    _add_items(app, live)
    _add_health(app, live, decisions, lambda: [*live.problems, *filter(None, (service.problem, writer.problem))])
    if settings.playground:
        playground.add(app, live, tell_users=pseudonyms is None)
    return app


def app_from_environment() -> FastAPI:
    """Make the app as a worker process does: the workspace comes from `READRANK_WORKSPACE`."""
    settings = from_environment()
    log_at(logging.getLevelNamesMapping()[settings.log_level.upper()])
    end_with_parent()
    return create_app(settings.workspace, settings)


def log_at(level: int) -> None:
    """Log what our rooms say from this level on, and of libraries warnings at most: less is for their makers."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger().setLevel(max(level, logging.WARNING))
    for room in ("api", "ranker", "encoders", "ingest"):
        logging.getLogger(room).setLevel(level)


def _add_answers(app: FastAPI, service: Service, name_user: Callable[[str], str]) -> None:

    @app.post("/v1/recommendations", response_model=AnswerOut, responses=PROBLEMS, tags=["answers"])
    async def recommendations(
        ask: Annotated[RecommendationsIn, Body(openapi_examples=RecommendationsIn.examples)],
    ) -> Response:
        """Recommend items of the whole catalogue to a user."""
        query = q.Query(
            user_id=name_user(ask.user_id),
            as_of=utc_now(),
            k=ask.k,
            exclude=frozenset(ask.exclude),
            categories=frozenset(ask.categories),
            min_price=ask.min_price,
            max_price=ask.max_price,
            session=ask.session,
            diversity=ask.diversity,
            explain=ask.explain,
            compare=_two(ask.compare),
        )
        return _answer(await service.recommend(query), compared=query.compare is not None)

    @app.post("/v1/rankings", response_model=AnswerOut, responses=PROBLEMS, tags=["answers"])
    async def rankings(
        ask: Annotated[RankingsIn, Body(openapi_examples=RankingsIn.examples)],
    ) -> Response:
        """Order the given items for a user; every one of them comes back."""
        given: dict[str, GivenItemIn] = {}
        for item in ask.items:
            given.setdefault(item.item_id, item)
        items = [
            q.GivenItem(
                item_id=item.item_id,
                title=item.title,
                description=item.description,
                categories=item.categories,
            )
            for item in given.values()
        ]
        query = q.Query(
            user_id=name_user(ask.user_id),
            as_of=utc_now(),
            k=len(items),
            session=ask.session,
            explain=ask.explain,
            compare=_two(ask.compare),
        )
        return _answer(await service.rank(query, items), compared=query.compare is not None)


def _add_events(app: FastAPI, writer: EventWriter) -> None:
    @app.post("/v1/events", status_code=202, responses=PROBLEMS, tags=["events"])
    async def events(sent: Annotated[EventsIn, Body(openapi_examples=EventsIn.examples)]) -> EventsOut:
        """Accept what users did; each event is judged by itself, and the accepted ones are on disk before the 202."""
        return await writer.accept(sent.events, utc_now())


def _add_items(app: FastAPI, live: Live) -> None:
    @app.get("/v1/items/{item_id:path}", responses={404: {"model": ProblemOut}}, tags=["items"])
    def item(item_id: Id) -> ItemOut:
        """Tell what the model knows of an item."""
        found = _item(live, item_id)
        if found is None:
            raise UnknownItemError(f"item_id: wanted an item of the catalogue, got {item_id!r}; {NEW_ITEM}")
        return found

    @app.get("/v1/items", tags=["items"])
    def items(ids: Annotated[list[Id], Query(max_length=200)]) -> ItemsOut:
        """Tell what the model knows of several items; unknown ones are left out."""
        return ItemsOut(items=[found for item_id in ids if (found := _item(live, item_id)) is not None])


def _add_health(app: FastAPI, live: Live, decisions: DecisionLog, problems: Callable[[], list[str]]) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Say that the process lives."""
        return {"status": "ok"}

    @app.get("/readyz", response_model=ReadyOut, responses={503: {"model": ReadyOut}}, tags=["health"])
    async def readyz() -> Response:
        """Say whether answers can be given, by which model, and what is wrong although they can."""
        # Without waiting for what hangs: bundles are looked for, and events counted, beside it.
        serving = live.peek()
        ready = ReadyOut(
            ready=serving is not None,
            model=serving.ranker.version if serving else None,
            cutoff=serving.ranker.cutoff.isoformat() if serving else None,
            live_events=live.n_events,
            answers_not_logged=decisions.lost,
            problems=problems(),
        )
        return Response(ready.model_dump_json(), status_code=200 if ready.ready else 503, media_type="application/json")


def _two(ids: list[str] | None) -> tuple[str, str] | None:
    return (ids[0], ids[1]) if ids else None


def _answer(served: Served, *, compared: bool) -> Response:
    """Write an `AnswerOut`; by hand, because a model of it cost more than ranking small requests."""
    answer = {
        "request_id": served.request_id,
        "model": served.model,
        "degraded": served.degraded,
        "items": [
            {
                "item_id": item.item_id,
                "rank": item.rank,
                "score": item.score,
                "probability": item.probability,
                "placed_by": item.placed_by,
                "reasons": [reason_json(reason, _as_it_is) for reason in item.reasons],
            }
            for item in served.answer.items
        ],
    }
    if compared:
        answer["comparison"] = comparison_json(served.answer.comparison, _as_it_is)
    return Response(to_json(answer, inf_nan_mode="null"), media_type="application/json")


def _as_it_is(value: float) -> float:
    return value


def _item(live: Live, item_id: str) -> ItemOut | None:
    serving = live.peek() or live.now()
    found = serving.ranker.item(item_id)
    if found is None:
        return None
    return ItemOut(item_id=item_id, title=found.get(c.TITLE), categories=found.get(c.CATEGORIES) or [])
