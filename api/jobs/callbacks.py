"""The six callbacks of a trainer. The body is the command; the answer comes after its commit, broker up or down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from api.context import Api, Context
from api.freshness import note_position
from api.guards import StrictRoute
from api.jobs.routes import IdempotencyKey, JobId
from producers.accept import accept
from producers.callbacks import (
    Body,
    ReportCheckpoint,
    ReportCompletion,
    ReportLogs,
    ReportMetrics,
    ReportProgress,
    ReportStarted,
)

router = APIRouter(prefix="/api/v1/training/jobs", tags=["callbacks"], route_class=StrictRoute)


class CallbackAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "job_id": 25}})

    status: str = "ok"
    job_id: int


class LogAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "received": 2}})

    status: str = "ok"
    received: int


async def _take(api: Context, job_id: int, body: Body, key: str | None, response: Response) -> dict[str, Any]:
    receipt = await accept(api.pool, job_id, body, key, datetime.now(UTC))
    note_position(response, receipt)
    return receipt.answer


@router.post("/{job_id}/callback/started", summary="Training started")
async def post_started(
    job_id: JobId, body: ReportStarted, api: Api, response: Response, key: IdempotencyKey = None
) -> CallbackAnswer:
    return CallbackAnswer(**await _take(api, job_id, body, key, response))


@router.post("/{job_id}/callback/progress", summary="An epoch goes on")
async def post_progress(
    job_id: JobId, body: ReportProgress, api: Api, response: Response, key: IdempotencyKey = None
) -> CallbackAnswer:
    return CallbackAnswer(**await _take(api, job_id, body, key, response))


@router.post("/{job_id}/callback/metrics", summary="Metrics of a step or of an epoch")
async def post_metrics(
    job_id: JobId, body: ReportMetrics, api: Api, response: Response, key: IdempotencyKey = None
) -> CallbackAnswer:
    return CallbackAnswer(**await _take(api, job_id, body, key, response))


@router.post("/{job_id}/callback/checkpoint", summary="A checkpoint lies in the store")
async def post_checkpoint(
    job_id: JobId, body: ReportCheckpoint, api: Api, response: Response, key: IdempotencyKey = None
) -> CallbackAnswer:
    return CallbackAnswer(**await _take(api, job_id, body, key, response))


@router.post("/{job_id}/callback/completion", summary="Training ended: completed, failed or stopped")
async def post_completion(
    job_id: JobId, body: ReportCompletion, api: Api, response: Response, key: IdempotencyKey = None
) -> CallbackAnswer:
    return CallbackAnswer(**await _take(api, job_id, body, key, response))


@router.post("/{job_id}/callback/log", summary="One log line, or many")
async def post_log(
    job_id: JobId, body: ReportLogs, api: Api, response: Response, key: IdempotencyKey = None
) -> LogAnswer:
    return LogAnswer(**await _take(api, job_id, body, key, response))
