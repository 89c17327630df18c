from __future__ import annotations

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from api.errors import CONTENT_TYPE, add_error_handlers


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (asyncpg.DiskFullError("could not extend file"), "the database's disk is full; nothing was changed"),
        (
            asyncpg.TooManyConnectionsError("too many"),
            "the database's server is out of a resource; nothing was changed",
        ),
        (asyncpg.CannotConnectNowError("starting up"), "a service behind the API does not answer; nothing was changed"),
        (ConnectionRefusedError(), "a service behind the API does not answer; nothing was changed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_passes_by_itself_is_no_internal_error(error: Exception, detail: str) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/broken")
    async def broken() -> None:
        raise error

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        answer = await client.get("/broken")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == CONTENT_TYPE
    assert answer.headers["Retry-After"]
    assert answer.json()["detail"].startswith(detail)
