"""The contract of the log, for machines and for people."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from events.asyncapi import asyncapi_document
from events.page import CONTENT_SECURITY_POLICY, asyncapi_page

router = APIRouter(tags=["operations"])


@router.get("/asyncapi.json", summary="The log's topics and events as AsyncAPI 3")
async def get_asyncapi() -> dict[str, Any]:
    return asyncapi_document()


@router.get("/asyncapi", summary="The same as a page for people", response_class=HTMLResponse)
async def get_asyncapi_page() -> HTMLResponse:
    """Topics, event types and every field with unit, meaning and example. Without scripts; asks no other host."""
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(asyncapi_page(), headers=headers)
