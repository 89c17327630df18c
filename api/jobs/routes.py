"""Create, list and look at training jobs, and their audit trail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel

from api.context import Api
from api.freshness import After, note_position, wait_applied
from api.guards import StrictRoute
from api.jobs.completeness import Integrity
from api.jobs.finding import JobFilters, Sort, find_jobs
from api.jobs.history import AsOf, moment_of, note_moment, read_answer_at
from api.jobs.reading import JOB_ID_MAX, read_answer
from api.jobs.responses import JobAnswer
from producers.accept import accept
from producers.commands import CreateJob
from producers.database import transaction
from producers.describe import DescribeJob

router = APIRouter(prefix="/api/v1/training/jobs", tags=["training jobs"], route_class=StrictRoute)
JobId = Annotated[int, Path(ge=1, le=JOB_ID_MAX, examples=[25])]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", description="makes a repeat harmless")]
Limit = Annotated[int, Query(ge=1, le=1_000)]
Offset = Annotated[int, Query(ge=0, le=2**53)]

CREATE_EXAMPLE = {
    "model_name": "yolo11n",
    "framework": "ultralytics",
    "task_type": "detection",
    "dataset_id": 42,
    "config": {"imgsz": 640, "epochs": 100, "batch": 16, "lr0": 0.01, "optimizer": "SGD", "augment": True},
    "name": "Vehicle Detection v1",
    "description": "First training run for vehicle detection",
}


class JobList(BaseModel):
    jobs: list[JobAnswer]
    total: int


@router.post(
    "",
    status_code=201,
    summary="Create a training job",
    openapi_extra={"requestBody": {"content": {"application/json": {"example": CREATE_EXAMPLE}}}},
)
async def create_job(body: CreateJob, api: Api, response: Response, key: IdempotencyKey = None) -> JobAnswer:
    receipt = await accept(api.pool, None, body, key, datetime.now(UTC))
    response.headers["Location"] = f"/api/v1/training/jobs/{receipt.id}"
    note_position(response, receipt)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        return await read_answer(tx, receipt.id)


@router.get("", summary="Find training jobs; newest first unless sorted otherwise")
async def list_jobs(
    api: Api,
    filters: Annotated[JobFilters, Query()],
    sort: Annotated[Sort, Query(description="`-` for the largest first; what has none comes last")] = "-created",
    limit: Limit = 100,
    offset: Offset = 0,
    after: After = None,
) -> JobList:
    await wait_applied(api, after)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        jobs, total = await find_jobs(tx, filters, sort, limit, offset)
    pending = any(job.integrity == Integrity.PENDING for job in jobs)
    if pending and (ends := await api.tail.known_ends()) is not None:
        async with transaction(api.pool, readonly=True, snapshot=True) as tx:
            jobs, total = await find_jobs(tx, filters, sort, limit, offset, ends)
    return JobList(jobs=jobs, total=total)


@router.patch("/{job_id}", summary="Change name, description, tags or notes, also after the end")
async def describe_job(
    job_id: JobId, body: DescribeJob, api: Api, response: Response, key: IdempotencyKey = None
) -> JobAnswer:
    """Fields that are not sent stay; null takes one away. What changed stands in the audit trail."""
    note_position(response, await accept(api.pool, job_id, body, key, datetime.now(UTC)))
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        return await read_answer(tx, job_id)


@router.get("/{job_id}", summary="A training job, with its results once it ended")
async def get_job(job_id: JobId, api: Api, response: Response, as_of: AsOf = None) -> JobAnswer:
    """With ``as_of`` as it was then: without ``integrity``, and without what no log holds (the mirror's MLflow run)."""
    moment = await moment_of(api, job_id, as_of)
    note_moment(response, moment)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        answer = await (read_answer(tx, job_id) if moment is None else read_answer_at(tx, job_id, moment))
    if answer.integrity != Integrity.PENDING or (ends := await api.tail.known_ends()) is None:
        return answer
    # What is pending may be missing for good: that can be judged once the log said how far it goes.
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        return await read_answer(tx, job_id, ends)
