"""Log lines of a job."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict

from api.context import Api
from api.freshness import After, wait_applied
from api.guards import StrictRoute
from api.jobs.history import AsOf, Moment, moment_of, note_moment
from api.jobs.reading import read_job
from api.jobs.responses import PastMoment, time_text
from api.jobs.routes import JobId, Limit, Offset
from api.like import like_text
from events.topics import PARTITIONS
from events.types.vocabulary import LOG_LINES_PER_EVENT_MAX, JsonObject, LogLevel, LogSource
from producers.database import transaction
from producers.queries import load_queries

router = APIRouter(prefix="/api/v1/training/jobs", tags=["logs"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).parent / "queries.sql")
LOGS_EXAMPLE: Final[JsonObject] = {
    "logs": [
        {
            "id": 1234,
            "level": "INFO",
            "message": "Starting epoch 5/100",
            "timestamp": "2025-11-20T10:35:00.123000Z",
            "source": "trainer",
            "metadata": {"epoch": 5},
        }
    ],
    "total": 542,
    "has_more": True,
}
ORDER: Final = [LogLevel.DEBUG, LogLevel.INFO, LogLevel.WARNING, LogLevel.ERROR]


class LogLine(BaseModel):
    id: int
    level: str
    message: str
    timestamp: str
    source: str
    metadata: dict[str, Any] | None


class LogPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": LOGS_EXAMPLE})

    logs: list[LogLine]
    total: int
    has_more: bool
    as_of: PastMoment = None


@router.get("/{job_id}/logs", summary="Log lines by time")
async def get_logs(
    job_id: JobId,
    api: Api,
    response: Response,
    level: LogLevel | None = None,
    min_level: LogLevel | None = None,
    source: LogSource | None = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
    after: After = None,
    as_of: AsOf = None,
) -> LogPage:
    """``level`` is exact, ``min_level`` takes it and all above; ``since`` and ``until`` are inclusive."""
    await wait_applied(api, after)
    moment = await moment_of(api, job_id, as_of)
    note_moment(response, moment)
    filters = {
        "job_id": job_id,
        "levels": levels(level, min_level),
        "source": source,
        "since": _aware(since),
        "until": _aware(until),
        "search": like_text(search),
        "below_id": first_id_after(moment),
    }
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
        rows = await queries.lines(tx, limit=limit, offset=offset, **filters)
        total = await queries.count_lines(tx, **filters)
    lines = [LogLine(**{**dict(row), "timestamp": time_text(row["timestamp"])}) for row in rows]
    more = offset + len(lines) < total
    return LogPage(logs=lines, total=total, has_more=more, as_of=None if moment is None else moment.text)


def first_id_after(moment: Moment | None) -> int | None:
    """Lines of a past moment have smaller ids: they grow with the offset (projections/core/logs.py: line_id)."""
    return None if moment is None else (moment.logs + 1) * PARTITIONS * LOG_LINES_PER_EVENT_MAX


def levels(exact: LogLevel | None, at_least: LogLevel | None) -> list[str] | None:
    """The levels that both filters let through; None for all."""
    wanted = ORDER if at_least is None else ORDER[ORDER.index(at_least) :]
    if exact is not None:
        wanted = [level for level in wanted if level is exact]
    return None if len(wanted) == len(ORDER) else [str(level) for level in wanted]


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
