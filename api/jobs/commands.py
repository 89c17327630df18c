"""What may be asked of a run, and what its trainer is told of it. What came of it is in the events."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.context import Api, Context
from api.freshness import note_position
from api.guards import StrictRoute
from api.jobs.reading import read_job
from api.jobs.routes import IdempotencyKey, JobId
from events.job import Job
from events.lifecycle import JobState
from producers.accept import accept
from producers.callbacks import Body
from producers.commands import CancelJob, PauseJob, ResumeJob, RetryJob, StopJob
from producers.database import transaction

router = APIRouter(prefix="/api/v1/training/jobs", tags=["commands"], route_class=StrictRoute)


class CommandAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"status": "accepted", "job_id": 25, "position": 1042}})

    status: str
    job_id: int
    position: int | None = Field(description="for `?after=`; of the first request, where this one repeats it")


async def _take(api: Context, job_id: int, command: Body, key: str | None, response: Response) -> CommandAnswer:
    receipt = await accept(api.pool, job_id, command, key, datetime.now(UTC))
    note_position(response, receipt)
    return CommandAnswer(**receipt.answer, position=receipt.outbox_ids[0] if receipt.outbox_ids else None)


@router.post("/{job_id}/stop", status_code=202, summary="Ask a run to stop: the present epoch ends first")
async def stop_job(
    job_id: JobId, api: Api, response: Response, body: StopJob | None = None, key: IdempotencyKey = None
) -> CommandAnswer:
    return await _take(api, job_id, body or StopJob(), key, response)


@router.post("/{job_id}/cancel", status_code=202, summary="End a run within seconds; what its epoch learned is lost")
async def cancel_job(
    job_id: JobId, api: Api, response: Response, body: CancelJob | None = None, key: IdempotencyKey = None
) -> CommandAnswer:
    return await _take(api, job_id, body or CancelJob(), key, response)


@router.post("/{job_id}/pause", status_code=202, summary="End the present epoch, save, and free the slot")
async def pause_job(
    job_id: JobId, api: Api, response: Response, body: PauseJob | None = None, key: IdempotencyKey = None
) -> CommandAnswer:
    return await _take(api, job_id, body or PauseJob(), key, response)


@router.post("/{job_id}/resume", status_code=202, summary="Let a paused run go on from its last checkpoint")
async def resume_job(
    job_id: JobId, api: Api, response: Response, body: ResumeJob | None = None, key: IdempotencyKey = None
) -> CommandAnswer:
    return await _take(api, job_id, body or ResumeJob(), key, response)


class RetryBody(Body):
    reason: str = Field(default="the user asked to try again", max_length=4_096)
    requested_by: str = Field(default="api", max_length=4_096)


@router.post("/{job_id}/retry", status_code=202, summary="Try a failed run again from its last checkpoint")
async def retry_job(
    job_id: JobId, api: Api, response: Response, body: RetryBody | None = None, key: IdempotencyKey = None
) -> CommandAnswer:
    given = body or RetryBody()
    command = RetryJob(reason=given.reason, requested_by=given.requested_by)
    return await _take(api, job_id, command, key, response)


class Commands(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"example": {"stop": True, "kind": "pause", "reason": "urgent work", "attempt": 1}}
    )

    stop: bool = Field(description="end the present epoch, upload a checkpoint, report `stopped`")
    kind: str | None = Field(description="why: stop, cancel, pause or limit; null where the run has ended for good")
    reason: str | None
    attempt: int


def commands_for(job: Job) -> Commands:
    """What the trainer of the present attempt is to do. A trainer that a job has no use for any more is to end, too."""
    if job.stop is not None:
        return Commands(stop=True, kind=str(job.stop.kind), reason=job.stop.reason, attempt=job.attempt)
    if job.ended or job.state is JobState.PAUSED:
        return Commands(stop=True, kind=None, reason=f"the job is {job.state}", attempt=job.attempt)
    return Commands(stop=False, kind=None, reason=None, attempt=job.attempt)


@router.get("/{job_id}/commands", summary="What a trainer is asked to do now")
async def get_commands(job_id: JobId, api: Api) -> Commands:
    async with transaction(api.pool, readonly=True) as tx:
        job = await read_job(tx, job_id)
    return commands_for(job)
