"""Where does a person try the service by hand? One page, with nothing fetched from elsewhere."""

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query
from fastapi.requests import Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel
from starlette.staticfiles import StaticFiles

from api.live import Live

PAGE = Path(__file__).parent / "page"

POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The page runs its own script alone, whatever a title may hold."""


class UsersOut(BaseModel):
    """Some users to try."""

    users: list[str]


def add(app: FastAPI, live: Live, *, tell_users: bool = True) -> None:
    """Serve the page at `/`, its files under `/page`, and some user ids for its list.

    Pseudonyms are no ids to ask with: where users have them, `tell_users` is false and the list stays empty.
    """

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY})

    @app.get("/page/users", include_in_schema=False)
    def users(n: Annotated[int, Query(ge=1, le=50)] = 12) -> UsersOut:
        serving = live.peek() or live.now()
        known = serving.ranker.history.user_ids if tell_users else []
        # Evenly spread over the log: its first users alone would all be its oldest.
        return UsersOut(users=[known[i * len(known) // n] for i in range(min(n, len(known)))])

    app.mount("/page", StaticFiles(directory=PAGE), name="page")
