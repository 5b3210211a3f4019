"""How long may a request body be? Longer ones end with 413 before they fill the memory."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Counts a body while it arrives, so that one without a Content-Length is held to the limit as well.

    FastAPI's own limit answers in plain text; raising inside the read lets our handler write the sentence as JSON.
    """

    def __init__(self, app: ASGIApp, *, longest: int):
        self._app = app
        self._longest = longest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its reads counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        n_bytes = 0

        async def counted() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._longest:
                raise HTTPException(
                    413,
                    f"request body: wanted at most {self._longest:,} bytes, got more; "
                    "send it in parts, or raise READRANK_MAX_BODY_BYTES",
                )
            return message

        await self._app(scope, counted, send)
