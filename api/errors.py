"""Every error as Problem Details (RFC 9457), with every problem of a request at once."""

from __future__ import annotations

import logging
from typing import Any, Final

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from producers.errors import NotAccepted
from producers.kafka.publisher import PublishFailed

CONTENT_TYPE: Final = "application/problem+json"
PROBLEMS_MAX: Final = 1_000
VALUE_LENGTH_MAX: Final = 120
logger = logging.getLogger(__name__)

_TITLES: Final = {
    400: "Bad request",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    413: "Request too large",
    415: "Unsupported content type",
    416: "Range not satisfiable",
    422: "Invalid request",
    500: "Internal error",
    503: "Temporarily unavailable",
}


def problem_details(
    status: int,
    detail: str,
    instance: str,
    problems: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    document = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "instance": instance,
        "problems": (problems or [])[:PROBLEMS_MAX],
    }
    return Response(orjson.dumps(document), status, media_type=CONTENT_TYPE, headers=headers)


def short(value: Any) -> Any:
    """A value as it may be shown back: numbers and short texts, never a whole body."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)
    text = value if isinstance(value, str) else type(value).__name__
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[:VALUE_LENGTH_MAX]}..."


def validation_problems(error: RequestValidationError) -> list[dict[str, Any]]:
    problems = []
    for fault in error.errors()[:PROBLEMS_MAX]:
        problem: dict[str, Any] = {"location": [short(part) for part in fault["loc"]], "message": fault["msg"]}
        if not isinstance(fault.get("input"), (dict, list)) and fault["type"] != "missing":
            problem["value"] = short(fault.get("input"))
        problems.append(problem)
    return problems


def add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problems = validation_problems(error)
        where = ["/".join(str(part) for part in problem["location"]) for problem in problems]
        detail = "; ".join(f"{place}: {p['message']}" for place, p in zip(where, problems, strict=True))
        return problem_details(422, detail[:4_000], request.url.path, problems)

    @app.exception_handler(NotAccepted)
    async def not_accepted(request: Request, error: NotAccepted) -> Response:
        problems = [problem.as_dict() for problem in error.problems]
        return problem_details(error.status, error.detail, request.url.path, problems)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return problem_details(error.status_code, str(error.detail), request.url.path, headers=headers)

    async def unavailable(request: Request, error: Exception) -> Response:
        logger.warning("%s %s: %r", request.method, request.url.path, error)
        detail = "a service behind the API does not answer; nothing was changed, try again"
        return problem_details(503, detail, request.url.path, headers={"Retry-After": "1"})

    @app.exception_handler(asyncpg.InsufficientResourcesError)
    async def exhausted(request: Request, error: asyncpg.InsufficientResourcesError) -> Response:
        logger.error("%s %s: %r", request.method, request.url.path, error)
        what = "disk is full" if isinstance(error, asyncpg.DiskFullError) else "server is out of a resource"
        detail = f"the database's {what}; nothing was changed, try again when there is room"
        return problem_details(503, detail, request.url.path, headers={"Retry-After": "10"})

    for kind in (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError):
        app.add_exception_handler(kind, unavailable)
    for other in (PublishFailed, ConnectionError, TimeoutError):
        app.add_exception_handler(other, unavailable)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem_details(500, "an unexpected error; the log of the API has it", request.url.path)
