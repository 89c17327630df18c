"""What is refused before a route sees it: too large, too deep, of another type, from another origin."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem_details

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
NESTING_MAX: Final = 64
WEBSOCKET_ORIGIN_REFUSED: Final = 4403


class TooLarge(Exception):
    pass


class RequestLimits:
    """ASGI middleware: Host and Origin, content type, size of the body."""

    def __init__(self, app: ASGIApp, allowed_hosts: tuple[str, ...]) -> None:
        self.app = app
        self.allowed_hosts = frozenset(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": WEBSOCKET_ORIGIN_REFUSED, "reason": refusal[1]})
        elif refusal is not None:
            await problem_details(refusal[0], refusal[1], scope["path"])(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if _name(host) not in self.allowed_hosts:
            return 403, f"host {host[:100]!r} is not served here; add it to EPOCHLOG_ALLOWED_HOSTS if it should be"
        origin = headers.get("origin")
        if origin is not None and _name(urlsplit(origin).netloc) not in self.allowed_hosts:
            return 403, f"requests from pages of {origin[:100]!r} are refused"
        if scope["type"] == "websocket" or scope["method"] not in ("POST", "PUT", "PATCH"):
            return None
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > BODY_BYTES_MAX:
            return 413, f"the body has {length} bytes, at most {BODY_BYTES_MAX} are accepted"
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        empty = length == "0" or ("content-length" not in headers and "transfer-encoding" not in headers)
        if content_type != "application/json" and not empty:
            return 415, f"content type {content_type[:100]!r} is not accepted; send application/json"
        return None

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        received, answered = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_BYTES_MAX:
                raise TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except TooLarge:
            if not answered:
                detail = f"the body has more than {BODY_BYTES_MAX} bytes"
                await problem_details(413, detail, scope["path"])(scope, receive, send)


def _name(netloc: str) -> str:
    """Host without its port; IPv6 keeps its brackets."""
    if netloc.startswith("["):
        return netloc.partition("]")[0] + "]"
    return netloc.partition(":")[0].lower()


def nesting(value: Any) -> int:
    """How deep lists and objects lie in each other; 0 for a plain value. Counts no further than NESTING_MAX + 1."""
    depth, level = 0, [value]
    while depth <= NESTING_MAX:
        level = [inner for inner in level if isinstance(inner, (dict, list))]
        if not level:
            return depth
        depth += 1
        level = [
            inner for container in level for inner in (container.values() if isinstance(container, dict) else container)
        ]
    return depth


class StrictRequest(Request):
    """Reads JSON as JSON: no NaN tokens outside of metrics, no lone surrogates, no bottomless nesting."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            if not self.url.path.endswith("/callback/metrics"):
                raise json.JSONDecodeError(error.msg, "", error.pos) from error
            # What Python's json.dumps writes for a loss of NaN; the models accept it in metric maps only.
            try:
                document = json.loads(body)
            except (UnicodeDecodeError, RecursionError):
                raise json.JSONDecodeError(error.msg, "", error.pos) from error
        if nesting(document) > NESTING_MAX:
            raise json.JSONDecodeError(f"lists and objects lie more than {NESTING_MAX} deep in each other", "", 0)
        return document


class StrictRoute(APIRoute):
    """The route class of every router: its requests are StrictRequests."""

    def get_route_handler(self) -> Any:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Any:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict
