"""A job that nobody wants to see any more: deleted, which hides it, and restored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.context import Api, Context
from api.freshness import note_position
from api.guards import StrictRoute
from api.jobs.reading import read_answer
from api.jobs.responses import JobAnswer
from api.jobs.routes import IdempotencyKey, JobId
from events.types.vocabulary import Text
from producers.accept import accept
from producers.callbacks import Body
from producers.commands import DeleteJob, RestoreJob
from producers.database import transaction

router = APIRouter(prefix="/api/v1/training/jobs", tags=["training jobs"], route_class=StrictRoute)
Reason = Annotated[Text | None, Query(description="for people; stands in the audit trail")]
RequestedBy = Annotated[Text, Query(description="who asks")]


async def _take(api: Context, job_id: int, command: Body, key: str | None, response: Response) -> JobAnswer:
    note_position(response, await accept(api.pool, job_id, command, key, datetime.now(UTC)))
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        return await read_answer(tx, job_id)


@router.delete("/{job_id}", summary="Hide an ended job: lists leave it out, and nothing may be asked of it")
async def delete_job(
    job_id: JobId,
    api: Api,
    response: Response,
    reason: Reason = None,
    requested_by: RequestedBy = "api",
    key: IdempotencyKey = None,
) -> JobAnswer:
    """Everything is kept: `POST .../restore` brings it back, `POST .../purge` erases it for good."""
    return await _take(api, job_id, DeleteJob(reason=reason, requested_by=requested_by), key, response)


@router.post("/{job_id}/restore", summary="Show a deleted job again, as it was")
async def restore_job(
    job_id: JobId, api: Api, response: Response, body: RestoreJob | None = None, key: IdempotencyKey = None
) -> JobAnswer:
    return await _take(api, job_id, body or RestoreJob(), key, response)
