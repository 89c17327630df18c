"""Erasing a job for good, and what is erased of it by now: whoever owns a part of it says so for himself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from aiokafka.errors import KafkaError
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.context import Api, Context
from api.freshness import note_position
from api.guards import StrictRoute
from api.jobs.reading import read_job
from api.jobs.responses import time_text
from api.jobs.routes import IdempotencyKey, JobId
from events.job import Purge
from producers.accept import accept
from producers.commands import PurgeJob
from producers.database import transaction
from producers.errors import NotFound
from producers.job_state import load_purge
from producers.kafka.keeping import Keeping, read_keeping
from producers.queries import load_queries
from training_sdk.wire import JOB_TOPICS

router = APIRouter(prefix="/api/v1/training/jobs", tags=["training jobs"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
READ_MODELS: Final = (
    *("jobs", "artifacts", "checkpoints", "metrics", "logs", "system"),
    *("early-stop", "mlflow-runs", "mlflow-metrics"),
)
"""Those that hold something of a job."""

PURGE_EXAMPLE = {"confirm": 25, "reason": "asked to by the data protection officer"}


class Store(BaseModel):
    """A place that holds something of the job."""

    name: str
    state: Literal["erased", "pending", "remains"]
    detail: str | None = Field(default=None, description="what is waited for, or how the rest can be erased")


class TopicCopy(BaseModel):
    topic: str
    erased_from: str | None = Field(description="from when on retention has erased the last copy; null for never")
    detail: str | None


class PurgeAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": 25,
                "purged_at": "2026-11-24T20:15:00Z",
                "requested_by": "api",
                "reason": "asked to by the data protection officer",
                "state": "pending",
                "stores": [{"name": "objects", "state": "pending", "detail": "a launcher erases them"}],
                "topics": [{"topic": "training.logs", "erased_from": "2026-12-31T20:21:00Z", "detail": None}],
                "kafka_erased_from": "never, while topic training.jobs keeps records for ever; set its retention.ms",
            }
        }
    )

    job_id: int
    purged_at: str
    requested_by: str
    reason: str | None
    state: Literal["erased", "pending", "remains"] = Field(description="of all stores; the log's topics apart")
    stores: list[Store]
    topics: list[TopicCopy]
    kafka_erased_from: str = Field(description="a date, or why there is none")


@router.post(
    "/{job_id}/purge",
    status_code=202,
    summary="Erase a deleted job for good: read models, objects, MLflow run, spools",
    openapi_extra={"requestBody": {"content": {"application/json": {"example": PURGE_EXAMPLE}}}},
)
async def purge_job(
    job_id: JobId, body: PurgeJob, api: Api, response: Response, key: IdempotencyKey = None
) -> PurgeAnswer:
    """Only a job that has ended and is deleted; `confirm` repeats its id or name. It cannot be undone."""
    note_position(response, await accept(api.pool, job_id, body, key, datetime.now(UTC)))
    return await _report(api, job_id)


@router.get("/{job_id}/purge", summary="What is erased of a purged job by now, and what is not")
async def get_purge(job_id: JobId, api: Api) -> PurgeAnswer:
    return await _report(api, job_id)


async def _report(api: Context, job_id: int) -> PurgeAnswer:
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        purge = await load_purge(tx, job_id)
        if purge is None:
            job = await read_job(tx, job_id)
            raise NotFound(f"training job {job.id} is not purged")
        rows = {row["read_model"]: row for row in await queries.read_models(tx, job_id=job_id)}
        outside = await queries.outside(tx, job_id=job_id)
        archive = await queries.archive(tx, job_id=job_id, topics=list(JOB_TOPICS))
    last_records: dict[str, datetime] = {}
    for row in rows.values():
        last_records[row["topic"]] = max(row["last_record_at"], last_records.get(row["topic"], row["last_record_at"]))
    settings = api.settings
    try:
        keeping = await read_keeping(settings.kafka_bootstrap_servers, settings.topic_prefix, JOB_TOPICS)
    except (KafkaError, OSError, TimeoutError):
        keeping = {}
    stores = [*_read_models(rows), *_outside(outside), _archive(archive)]
    topics = [_copy(topic, keeping.get(topic), last_records.get(topic), purge) for topic in JOB_TOPICS]
    return PurgeAnswer(
        job_id=job_id,
        purged_at=time_text(purge.purged_at) or "",
        requested_by=purge.requested_by,
        reason=purge.reason,
        state=worst(stores),
        stores=stores,
        topics=topics,
        kafka_erased_from=erased_from(topics),
    )


def worst(stores: Sequence[Store]) -> Literal["erased", "pending", "remains"]:
    states = {store.state for store in stores}
    return "pending" if "pending" in states else "remains" if "remains" in states else "erased"


def _read_models(rows: Mapping[str, Any]) -> list[Store]:
    stores = []
    for name in READ_MODELS:
        row, shown = rows.get(name), f"read model {name}"
        if row is None:
            stores.append(Store(name=shown, state="pending", detail="its worker has not applied the purge yet"))
        elif row["remains"] is not None:
            stores.append(Store(name=shown, state="remains", detail=row["remains"]))
        else:
            stores.append(Store(name=shown, state="erased"))
    return stores


def _outside(row: Mapping[str, Any] | None) -> list[Store]:
    done: Mapping[str, Any] = row if row is not None else {}
    problem = done.get("problem")
    waits = f"a launcher tries again: {problem}" if problem else "a launcher erases them, once the purge is applied"
    swept = f"by launcher {done.get('swept_by')}; others remove what lies on their machines when they find it"
    return [
        _store("objects", done.get("objects_erased_at"), f"{done.get('objects', 0)} in S3", waits),
        _store("outbox", done.get("outbox_erased_at"), "what was asked and answered", waits),
        _store("spools and run folders", done.get("swept_at"), swept, "each launcher removes those on its machine"),
    ]


def _archive(rows: Sequence[Mapping[str, Any]]) -> Store:
    waits = [row["topic"] for row in rows if row["done_at"] is None]
    if waits:
        detail = f"the archiver takes it out of the files of {', '.join(waits)} when it archives the purge"
        return Store(name="archive", state="pending", detail=detail)
    since = time_text(max((row["done_at"] for row in rows), default=None))
    return Store(name="archive", state="erased", detail=since or "nothing is archived")


def _store(name: str, erased_at: datetime | None, erased: str, waits: str) -> Store:
    if erased_at is None:
        return Store(name=name, state="pending", detail=waits)
    return Store(name=name, state="erased", detail=f"{erased}, {time_text(erased_at)}")


def _copy(topic: str, keeping: Keeping | None, last_record_at: datetime | None, purge: Purge) -> TopicCopy:
    if keeping is None:
        return TopicCopy(topic=topic, erased_from=None, detail="unknown: Kafka does not answer; ask again")
    if keeping.retention is None:
        kept = f"while topic {topic} keeps records for ever"
        remedy = f"never, {kept}; set its retention.ms (30 days, with the archive on)"
        return TopicCopy(topic=topic, erased_from=None, detail=remedy)
    moment = time_text(keeping.erased_from(last_record_at or purge.purged_at))
    waits = None if last_record_at is not None else "counted from the request: the purge is not applied yet"
    return TopicCopy(topic=topic, erased_from=moment, detail=waits)


def erased_from(topics: Sequence[TopicCopy]) -> str:
    """The date of the last topic, or what is said of those that have none."""
    without = [copy.detail for copy in topics if copy.erased_from is None and copy.detail is not None]
    return "; ".join(without) or max(copy.erased_from for copy in topics if copy.erased_from is not None)
