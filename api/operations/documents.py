"""The contract of the log, for machines and for people."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from events.asyncapi import asyncapi_document

router = APIRouter(tags=["operations"])


@router.get("/asyncapi.json", summary="The log's topics and events as AsyncAPI 3")
async def get_asyncapi() -> dict[str, Any]:
    return asyncapi_document()
