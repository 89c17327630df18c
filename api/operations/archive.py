"""How far the archive is, and up to where it was found to be whole."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError
from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.context import Api, Context
from api.guards import StrictRoute
from api.jobs.responses import time_text
from api.operations.lag import WORKER_SILENCE_MAX_S
from api.operations.lag import queries as workers
from events.topics import TOPIC_NAMES
from producers.database import transaction
from producers.queries import load_queries

router = APIRouter(prefix="/api/v1/operations/archive", tags=["operations"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
ARCHIVER: Final = "projections-archive"


class ArchivedTopic(BaseModel):
    topic: str
    parts: int
    files: int
    bytes: int
    records: int = Field(description="with those that were forgotten since, because their job was purged")
    lag: int | None = Field(description="records of the log that are not archived yet; null when the log cannot say")
    lost: int = Field(description="offsets that the log dropped before they were archived")
    archived_at: str | None = Field(description="when the last part was done")
    unchecked: int = Field(description="archived offsets behind those that `archive verify` found whole")
    checked_at: str | None = Field(description="when it looked at the partition that it has not seen for longest")


class ArchiveAnswer(BaseModel):
    worker_alive: bool
    topics: list[ArchivedTopic]


@router.get("", summary="How far the log is archived in S3, and how far that was checked")
async def archive(api: Api) -> ArchiveAnswer:
    return await read_archive(api)


async def read_archive(context: Context) -> ArchiveAnswer:
    """Raises what Postgres raises; where Kafka does not answer, lags are None."""
    try:
        ends = await context.tail.end_offsets()
    except (KafkaError, OSError, TimeoutError):
        ends = None
    async with transaction(context.pool, readonly=True, snapshot=True) as tx:
        places = {(row["topic"], row["partition"]): row for row in await queries.places(tx)}
        files = {row["topic"]: row for row in await queries.files(tx)}
        checks = {(row["topic"], row["partition"]): row for row in await queries.checks(tx)}
        alive = {row["process"] for row in await workers.workers(tx) if row["age_s"] < WORKER_SILENCE_MAX_S}
    topics = [
        _topic(
            topic,
            {place[1]: row for place, row in places.items() if place[0] == topic},
            files.get(topic, {"files": 0, "bytes": 0}),
            {place[1]: row for place, row in checks.items() if place[0] == topic},
            None if ends is None else {place[1]: end for place, end in ends.items() if place[0] == topic},
        )
        for topic in TOPIC_NAMES
    ]
    return ArchiveAnswer(worker_alive=ARCHIVER in alive, topics=topics)


def _topic(
    name: str, places: dict[int, Any], files: Any, checks: dict[int, Any], ends: dict[int, int] | None
) -> ArchivedTopic:
    reached = {partition: row["next_offset"] or 0 for partition, row in places.items()}
    checked = {partition: row["next_offset"] for partition, row in checks.items()}
    return ArchivedTopic(
        topic=name,
        parts=sum(row["parts"] for row in places.values()),
        files=files["files"],
        bytes=files["bytes"],
        records=sum(row["records"] for row in places.values()),
        lag=None if ends is None else sum(max(0, end - reached.get(p, 0)) for p, end in ends.items()),
        lost=sum(row["lost"] for row in places.values()),
        archived_at=_text([row["archived_at"] for row in places.values() if row["archived_at"]], newest=True),
        unchecked=sum(max(0, end - checked.get(p, 0)) for p, end in reached.items()),
        checked_at=_text([checks[p]["checked_at"] for p in places if p in checks], newest=False),
    )


def _text(moments: list[datetime], *, newest: bool) -> str | None:
    if not moments:
        return None
    return time_text(max(moments) if newest else min(moments))
