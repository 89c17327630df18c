"""What a job left in the store: checkpoints, plots, any file. Listed from the log, handed on from the store."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict

from api.context import Api
from api.freshness import After, wait_applied
from api.guards import StrictRoute
from api.jobs.history import AsOf, moment_of, note_moment
from api.jobs.reading import queries, read_job
from api.jobs.responses import PastMoment, time_text
from api.jobs.routes import JobId, Limit, Offset
from api.store import File, content
from events.types.vocabulary import JsonObject
from producers.database import transaction
from producers.errors import NotFound

router = APIRouter(prefix="/api/v1/training/jobs", tags=["files"], route_class=StrictRoute)
FileId = Annotated[int, Path(ge=0, le=2**62)]
Range = Annotated[str | None, Header(max_length=200)]
Kind = Literal["plot", "prediction", "model", "file"]
CONTENT_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "the object"},
    206: {"content": {"application/octet-stream": {}}, "description": "the range that was asked for"},
}
ARTIFACTS_EXAMPLE: Final[JsonObject] = {
    "artifacts": [
        {
            "id": 812,
            "attempt": 1,
            "name": "confusion_matrix.png",
            "kind": "plot",
            "epoch": 100,
            "object_uri": "s3://training-checkpoints/artifacts/25/attempt-1/9f86d0.../confusion_matrix.png",
            "content_type": "image/png",
            "file_size_bytes": 103424,
            "sha256": "9f86d0...",
            "saved_at": "2025-11-20T12:59:58Z",
            "content_url": "/api/v1/training/jobs/25/artifacts/812/content",
        }
    ],
    "total": 1,
}


class CheckpointAnswer(BaseModel):
    id: int
    attempt: int
    epoch: int | None
    checkpoint_path: str
    object_uri: str | None
    is_best: bool
    metrics: dict[str, Any] | None
    file_size_bytes: int | None
    sha256: str | None
    resumable: bool | None
    step: int | None
    saved_at: str | None
    content_url: str


class CheckpointList(BaseModel):
    checkpoints: list[CheckpointAnswer]
    total: int
    as_of: PastMoment = None


class ArtifactAnswer(BaseModel):
    id: int
    attempt: int
    name: str
    kind: str
    epoch: int | None
    object_uri: str
    content_type: str | None
    file_size_bytes: int
    sha256: str
    saved_at: str | None
    content_url: str


class ArtifactList(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": ARTIFACTS_EXAMPLE})

    artifacts: list[ArtifactAnswer]
    total: int
    as_of: PastMoment = None


def _shown(job_id: int, what: str, row: Any) -> dict[str, Any]:
    url = f"/api/v1/training/jobs/{job_id}/{what}/{row['id']}/content"
    return {**dict(row), "saved_at": time_text(row["saved_at"]), "content_url": url}


@router.get("/{job_id}/checkpoints", summary="Checkpoints in the order of their announcement")
async def get_checkpoints(
    job_id: JobId,
    api: Api,
    response: Response,
    limit: Limit = 100,
    offset: Offset = 0,
    after: After = None,
    as_of: AsOf = None,
) -> CheckpointList:
    await wait_applied(api, after)
    moment = await moment_of(api, job_id, as_of)
    note_moment(response, moment)
    text, until = (None, None) if moment is None else (moment.text, moment.jobs)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
        rows = await queries.checkpoints(tx, job_id=job_id, until=until, limit=limit, offset=offset)
        total = await queries.count_checkpoints(tx, job_id=job_id, until=until)
    found = [CheckpointAnswer(**_shown(job_id, "checkpoints", row)) for row in rows]
    return CheckpointList(checkpoints=found, total=total, as_of=text)


@router.get("/{job_id}/artifacts", summary="Plots, predictions and other files in the order of their announcement")
async def get_artifacts(
    job_id: JobId,
    api: Api,
    response: Response,
    kind: Annotated[Kind | None, Query()] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    after: After = None,
    as_of: AsOf = None,
) -> ArtifactList:
    await wait_applied(api, after)
    moment = await moment_of(api, job_id, as_of)
    note_moment(response, moment)
    text, until = (None, None) if moment is None else (moment.text, moment.jobs)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
        rows = await queries.artifacts(tx, job_id=job_id, kind=kind, until=until, limit=limit, offset=offset)
        total = await queries.count_artifacts(tx, job_id=job_id, kind=kind, until=until)
    found = [ArtifactAnswer(**_shown(job_id, "artifacts", row)) for row in rows]
    return ArtifactList(artifacts=found, total=total, as_of=text)


@router.get(
    "/{job_id}/artifacts/{artifact_id}/content",
    summary="An artifact itself; one range of bytes where the header Range asks for it",
    response_class=Response,
    responses=CONTENT_ANSWERS,
)
async def get_artifact_content(job_id: JobId, artifact_id: FileId, api: Api, range: Range = None) -> Response:
    async with transaction(api.pool, readonly=True) as tx:
        row = await queries.artifact(tx, job_id=job_id, id=artifact_id)
    if row is None:
        raise NotFound(f"job {job_id} has no artifact {artifact_id}")
    file = File(row["object_uri"], f"artifacts/{job_id}/", row["name"], row["content_type"], row["sha256"])
    return await content(api.store, api.settings.checkpoints_bucket, file, range)


@router.get(
    "/{job_id}/checkpoints/{checkpoint_id}/content",
    summary="A checkpoint itself; one range of bytes where the header Range asks for it",
    response_class=Response,
    responses=CONTENT_ANSWERS,
)
async def get_checkpoint_content(job_id: JobId, checkpoint_id: FileId, api: Api, range: Range = None) -> Response:
    """The immutable object; the alias where only that was announced."""
    async with transaction(api.pool, readonly=True) as tx:
        row = await queries.checkpoint(tx, job_id=job_id, id=checkpoint_id)
    if row is None:
        raise NotFound(f"job {job_id} has no checkpoint {checkpoint_id}")
    uri = row["object_uri"] or row["checkpoint_path"]
    file = File(uri, f"checkpoints/{job_id}/", row["checkpoint_path"], None, row["sha256"])
    return await content(api.store, api.settings.checkpoints_bucket, file, range)
