"""The audit trail of a job over HTTP: in pages, and as a stream that goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.context import Api
from api.guards import StrictRoute
from api.jobs.reading import read_job
from api.jobs.routes import JobId, Limit
from api.jobs.stream import Stand, sse_stream
from api.jobs.trail import FIRST, LAST, EventAnswer, Filters, Place, Way, place_of_offset, read_trail
from producers.database import transaction
from producers.errors import FieldProblem, Invalid
from training_sdk.wire import DEAD_LETTER, JOB_TOPICS, JOBS

router = APIRouter(prefix="/api/v1/training/jobs", tags=["training jobs"], route_class=StrictRoute)
ALL: Final = "all"
VALUES_MAX: Final = 50
TOPICS: Final = (*JOB_TOPICS, DEAD_LETTER)
NAMES: Final = {name: topic for topic in TOPICS for name in (topic, topic.removeprefix("training."))}
Starts = Annotated[
    list[Annotated[str, Query(max_length=200)]] | None,
    Query(
        max_length=VALUES_MAX,
        description="type of event or the beginning of one; given several times: any of them",
        examples=["training.stop", "training.job.completed.v1"],
    ),
]
Topics = Annotated[
    list[Annotated[str, Query(max_length=60)]] | None,
    Query(
        max_length=VALUES_MAX,
        description="`jobs` (the life of the job, the default), `metrics`, `logs`, `system`, `deadletter` (what was "
        "done with its dead letters), with or without `training.`, or `all`; heartbeats are not kept",
        examples=["jobs", "all"],
    ),
]


class EventList(BaseModel):
    events: list[EventAnswer]
    next: str | None = None
    """What ``after`` takes for the page that follows; null where none does."""
    previous: str | None = None


async def filters_of(
    topic: Topics = None,
    type: Starts = None,
    attempt: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
    source: Annotated[str | None, Query(max_length=200, description="who says so, or the beginning of it")] = None,
    since: Annotated[datetime | None, Query(description="the broker's time, inclusive")] = None,
    until: Annotated[datetime | None, Query(description="the broker's time, inclusive")] = None,
) -> Filters:
    """Raises Invalid for a topic that holds no events of jobs."""
    return Filters(topics_named(topic), type, attempt, source, _aware(since), _aware(until))


Wanted = Annotated[Filters, Depends(filters_of)]


def topics_named(names: list[str] | None) -> tuple[str, ...]:
    """Raises Invalid."""
    if names is None:
        return (JOBS,)
    if ALL in names:
        return TOPICS
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        message = f"no topic of jobs is called {unknown[0]!r}; there are {', '.join(TOPICS)}, and {ALL}"
        raise Invalid(message, [FieldProblem(("query", "topic"), message, unknown[0])])
    return tuple(dict.fromkeys(NAMES[name] for name in names))


@router.get("/{job_id}/events", summary="The audit trail: what happened, who said so, and what it changed")
async def get_events(
    job_id: JobId,
    api: Api,
    filters: Wanted,
    limit: Limit = 100,
    after: Annotated[str | None, Query(max_length=200, description="cursor of an event: those that follow")] = None,
    before: Annotated[
        str | None, Query(max_length=200, description="cursor of an event: those before it; `latest` for the last page")
    ] = None,
) -> EventList:
    """In the order in which the broker took the events, of equal times by topic and offset. ``summary`` is for people;
    ``ignored_reason`` says why an event changed nothing. Of metrics, logs and samples ``data`` is a summary: the points
    and lines are at ``/metrics/series`` and ``/logs``."""
    if after is not None and before is not None:
        message = "a page lies after or before a place, not both"
        raise Invalid(message, [FieldProblem(("query", "before"), message, before[:120])])
    way: Way = "after" if before is None else "before"
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
        if before is not None:
            place = LAST if before == "latest" else Place.decode(before, "before")
        elif after is None or after == "-1":
            place = FIRST
        elif after.isdecimal():
            place = await place_of_offset(tx, job_id, min(int(after), 2**62))
        else:
            place = Place.decode(after, "after")
        events, more = await read_trail(tx, job_id, filters, way, place, limit)
    if not events:
        return EventList(events=[])
    further = more if way == "after" else place is not LAST
    earlier = more if way == "before" else place is not FIRST
    return EventList(
        events=events, next=events[-1].cursor if further else None, previous=events[0].cursor if earlier else None
    )


@router.get(
    "/{job_id}/events/stream",
    summary="The audit trail as server-sent events: what is stored, then what happens",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "each event's data is one of /events"}},
)
async def stream_events(
    job_id: JobId,
    api: Api,
    filters: Wanted,
    request: Request,
    after: Annotated[str | None, Query(max_length=200, description="the `id` of an event of this stream")] = None,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)] = None,
) -> StreamingResponse:
    """Every event once, none left out, each with an ``id``: a browser's EventSource goes on from it by itself
    (``Last-Event-ID``), others with ``after``; without both from the first event. Each topic's events come in log
    order. A slow client is waited for: what it has not read stays in the read models. Comments every 15 s say that the
    connection lives. The stream goes on after the job's end. What operators did with dead letters is in the pages
    alone."""
    resumed = last_event_id if last_event_id is not None else after
    stand = Stand() if resumed is None else Stand.decode(resumed)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
    return sse_stream(api, job_id, filters, stand)


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
