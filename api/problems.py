"""How does every error become a status and one sentence?"""

import logging
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.answers import ProblemOut
from api.errors import ServiceError
from api.sentences import sentence

log = logging.getLogger(__name__)

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": ProblemOut, "description": "The body is not JSON"},
    413: {"model": ProblemOut, "description": "The body is too long"},
    422: {"model": ProblemOut, "description": "A field is missing, unknown or out of bounds"},
    503: {"model": ProblemOut, "description": "No model yet, or events cannot be made durable"},
}
RETRY_AFTER_S = 1
"""What is missing with a 503, a model or a turn to write, may be there after so long: the header `Retry-After`."""


def add_problems(app: FastAPI) -> None:
    """Let the app answer errors with `{"detail": sentence}`."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            place, reason = first["loc"][-1], first["ctx"]["error"]
            said = f"request body: wanted JSON, got a syntax error at character {place}: {reason}; correct it"
            return JSONResponse({"detail": said}, status_code=400)
        return JSONResponse({"detail": sentence(error.errors())}, status_code=422)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        told = {
            400: "request body: wanted JSON in UTF-8, got bytes, numbers or nesting that cannot be read; correct it",
            404: f"{request.url.path}: nothing is here; the addresses are in /openapi.json",
            405: f"{request.url.path}: does not take {request.method}; the addresses are in /openapi.json",
        }
        said = told.get(error.status_code, str(error.detail))
        return JSONResponse({"detail": said}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(ServiceError)
    async def failed(request: Request, error: ServiceError) -> JSONResponse:
        headers = {"Retry-After": str(RETRY_AFTER_S)} if error.status == 503 else None
        return JSONResponse({"detail": str(error)}, status_code=error.status, headers=headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        log.error("request failed path=%s error=%r", request.url.path, error)
        said = f"{request.url.path}: the service failed ({type(error).__name__}); its log tells more"
        return JSONResponse({"detail": said}, status_code=500)
