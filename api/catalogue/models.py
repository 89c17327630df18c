"""Models that trainers offer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel

from api.context import Api
from api.guards import StrictRoute
from api.jobs.responses import time_text
from api.jobs.routes import Limit, Offset
from producers.database import transaction
from producers.queries import load_queries

router = APIRouter(prefix="/api/v1/models", tags=["models"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).parent / "queries.sql")


class ModelAnswer(BaseModel):
    name: str
    framework: str
    task_types: list[str]
    description: str | None
    capability: dict[str, Any]
    registered_at: str | None


class ModelList(BaseModel):
    models: list[ModelAnswer]
    total: int


@router.get("", summary="List registered models")
async def list_models(api: Api, limit: Limit = 100, offset: Offset = 0) -> ModelList:
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        rows = await queries.list_models(tx, limit=limit, offset=offset)
        total = await queries.count_models(tx)
    models = [ModelAnswer(**{**dict(row), "registered_at": time_text(row["registered_at"])}) for row in rows]
    return ModelList(models=models, total=total)
