"""The SDK's HTTP transport: the same events as over Kafka, in batches, answered when Kafka has acknowledged them.

Nothing is stored here: the SDK's spool is its outbox, so a 503 loses nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.context import Api
from api.guards import StrictRoute
from api.jobs.reading import read_job
from api.jobs.routes import JobId
from events.codec import MalformedEvent, from_wire
from events.types.vocabulary import Text
from producers.database import transaction
from producers.errors import FieldProblem, Invalid
from training_sdk.wire import JOB_TOPICS, RECORD_BYTES_MAX, WireEvent

router = APIRouter(prefix="/api/v1/training/jobs", tags=["SDK transport"], route_class=StrictRoute)
EVENTS_MAX = 500


class SentEvent(BaseModel):
    topic: Text
    key: Text
    type: Text
    time: Text
    source: Text
    attempt: Annotated[int, Field(ge=0, le=2**31)]
    rank: Annotated[int, Field(ge=0, le=2**31)]
    session: Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,64}$")]
    seq: Annotated[int, Field(ge=1, le=2**53)]
    data: dict[str, Any]


class SentEvents(BaseModel):
    events: Annotated[list[SentEvent], Field(min_length=1, max_length=EVENTS_MAX)]


class IngestAnswer(BaseModel):
    status: str = "ok"
    received: int


@router.post("/{job_id}/events", summary="Append a session's events to the log")
async def post_events(job_id: JobId, body: SentEvents, api: Api) -> IngestAnswer:
    async with transaction(api.pool, readonly=True) as tx:
        await read_job(tx, job_id)
    problems: list[FieldProblem] = []
    messages = []
    for index, sent in enumerate(body.events):
        message = WireEvent(**{**sent.model_dump(), "data": orjson.dumps(sent.data)})
        problem = _problem(message, job_id)
        if problem is not None:
            problems.append(FieldProblem(("body", "events", index), problem))
        messages.append(message)
    if problems:
        raise Invalid(f"{len(problems)} of {len(messages)} events cannot be taken; none was", problems)
    await api.publisher.publish(messages)
    return IngestAnswer(received=len(messages))


def _problem(message: WireEvent, job_id: int) -> str | None:
    if message.topic not in JOB_TOPICS:
        return f"topic {message.topic[:80]!r} is none of {', '.join(JOB_TOPICS)}"
    if message.key != str(job_id):
        return f"key {message.key[:80]!r} is not the job {job_id}"
    if len(message.data) > RECORD_BYTES_MAX:
        return f"the data has {len(message.data)} bytes, at most {RECORD_BYTES_MAX} fit"
    try:
        from_wire(message)
    except MalformedEvent as error:
        return str(error)
    return None
