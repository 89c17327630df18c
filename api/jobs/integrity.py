"""Whether all that was sent about a job is in the log and applied, session by session, so that it can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.context import Api
from api.guards import StrictRoute
from api.jobs.completeness import READ_MODELS_OF, SDK_SENDER, Integrity, marks_of, visible_states, worst
from api.jobs.lines import DeadRecord, Drop, Found, Line, line_of
from api.jobs.reading import read_job
from api.jobs.responses import time_text
from api.jobs.routes import JobId
from api.log_ends import Ends
from api.operations.health import TOPIC_OF
from events.dedupe import SessionMarks
from events.envelope import Position
from events.job import Job
from events.types.sessions import EventsDropped
from producers.database import Connection, transaction
from producers.dead_letter_queries import LetterFilter, find_places
from producers.dead_letters import load, number_of, place_text
from producers.live_models import live_models, rows_of_all
from producers.queries import load_queries
from training_sdk.wire import JOB_TOPICS, partition_of

router = APIRouter(prefix="/api/v1/training/jobs", tags=["training jobs"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
OUTBOX_SENDER: Final = "outbox"
DEAD_LETTERS_MAX: Final = 1_000


class ModelLineAnswer(BaseModel):
    read_model: str
    applied: int
    missing: list[tuple[int, int]] = Field(description="numbers that it has not applied, as inclusive ranges")
    verdict: Integrity


class DeadRecordAnswer(BaseModel):
    read_model: str
    position: str
    seq: int
    status: str


class DropAnswer(BaseModel):
    position: str
    seq: int
    from_seq: int | None
    to_seq: int | None
    count: int
    reason: str


class LineAnswer(BaseModel):
    """A session on a topic."""

    session: str
    sender: str | None
    rank: int | None
    topic: str
    closed_by: str | None = Field(description="who said the session's last numbers")
    sent: int | None = Field(description="the last number that its sender gave; null: it gave none")
    unsent: int = Field(description="of these, facts that wait in the outbox")
    in_log: int = Field(description="different numbers that were read from the log")
    missing: list[tuple[int, int]] = Field(description="numbers that were not, as inclusive ranges")
    dead_letters: list[DeadRecordAnswer]
    dropped: list[DropAnswer]
    read_models: list[ModelLineAnswer]
    counts: bool = Field(description="whether the job's own verdict rests on it: present attempt, no machine samples")
    verdict: Integrity
    reasons: list[str]


class AttemptAnswer(BaseModel):
    attempt: int | None = Field(description="null: sessions that the job's own topic knows nothing of")
    verdict: Integrity = Field(description="of its lines, but those of samples of machines")
    lines: list[LineAnswer]


class ReaderAnswer(BaseModel):
    read_model: str
    next_offset: int = Field(description="all before it is applied")
    last_append_time: str | None = Field(description="when the log took the last record that is applied")
    caught_up: bool | None = Field(description="null: the log could not be asked")


class TopicAnswer(BaseModel):
    """The job's partition of a topic. All of a job's records of the topic lie there."""

    topic: str
    partition: int
    log_end: int | None = Field(description="offset of its next record; null: the log could not be asked")
    read_models: list[ReaderAnswer]


class IntegrityAnswer(BaseModel):
    """``integrity`` is the job's own; `pending` while it goes on. It rests on the lines that count."""

    job_id: int
    state: str
    integrity: Integrity
    checked_at: str | None
    attempts: list[AttemptAnswer]
    topics: list[TopicAnswer]


SessionTopic = tuple[str, str]
"""(session, topic)."""


@dataclass(slots=True)
class _Known:
    """All rows about one job."""

    models_of: dict[str, list[str]]
    marks: dict[SessionTopic, dict[str, SessionMarks]] = field(default_factory=dict)
    outbox: dict[SessionTopic, int] = field(default_factory=dict)
    unsent: dict[SessionTopic, int] = field(default_factory=dict)
    drops: dict[SessionTopic, list[Drop]] = field(default_factory=dict)
    dead: dict[SessionTopic, list[DeadRecord]] = field(default_factory=dict)
    topics: list[TopicAnswer] = field(default_factory=list)


@router.get("/{job_id}/integrity", summary="Is all of it there: sent, in the log, applied")
async def get_integrity(job_id: JobId, api: Api) -> IntegrityAnswer:
    """Every number that a sender gave is accounted for: applied, not yet applied, a dead letter, or missing."""
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
    # In between: what the job's senders said is known, and the log is asked before what is applied is.
    ends = await api.tail.known_ends()
    now = datetime.now(UTC)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        job = await read_job(tx, job_id)
        visible = (await visible_states(tx, [job], now, ends))[job_id]
        known = await _read(tx, job, ends)
    return IntegrityAnswer(
        job_id=job_id,
        state=visible.state,
        integrity=visible.integrity or Integrity.PENDING,
        checked_at=time_text(now),
        attempts=_attempts(job, known),
        topics=known.topics,
    )


async def _read(tx: Connection, job: Job, ends: Ends | None) -> _Known:
    models = [model for model in await live_models(tx) if TOPIC_OF.get(model) in JOB_TOPICS]
    known = _Known({topic: [model for model in models if TOPIC_OF[model] == topic] for topic in JOB_TOPICS})
    marks = rows_of_all(models, "session_marks", "session, topic, job_id, high, gaps")
    for row in await tx.fetch(f"SELECT * FROM ({marks}) AS marks WHERE job_id = $1", job.id):
        known.marks.setdefault((row["session"], row["topic"]), {})[row["read_model"]] = marks_of(row)
    sessions = [name for name, session in job.sessions.items() if session.sender == OUTBOX_SENDER]
    for row in await queries.outbox_numbers(tx, sessions=sessions):
        known.outbox[row["session"], row["topic"]] = row["last_seq"]
    for row in await queries.unsent(tx, job_id=job.id):
        where = (row["session"], row["topic"])
        known.outbox[where] = known.outbox.get(where, 0) + row["unnumbered"]
        known.unsent[where] = row["unsent"]
    for row in await queries.drops(tx, job_id=job.id):
        place = Position(row["topic"], row["partition"], row["log_offset"])
        said = EventsDropped.model_validate(row["data"])
        drop = Drop(place, row["seq"], said.from_seq, said.to_seq, said.count, said.reason)
        known.drops.setdefault((row["session"], row["topic"]), []).append(drop)
    await _read_dead_letters(tx, job, known)
    known.topics = await _read_topics(tx, job, models, ends)
    return known


async def _read_dead_letters(tx: Connection, job: Job, known: _Known) -> None:
    places, _ = await find_places(tx, LetterFilter(key=str(job.id).encode()), DEAD_LETTERS_MAX)
    for letter in await load(tx, places):
        number = number_of(letter.record)
        if number is None:
            continue
        session, seq = number
        for standing in letter.standings:
            if not standing.applied:
                dead = DeadRecord(standing.read_model, letter.record.position, seq, standing.status)
                known.dead.setdefault((session, letter.record.topic), []).append(dead)


async def _read_topics(tx: Connection, job: Job, models: list[str], ends: Ends | None) -> list[TopicAnswer]:
    partition = partition_of(str(job.id).encode())
    offsets = rows_of_all(models, "offsets", "partition, next_offset, append_time")
    rows = await tx.fetch(f"SELECT * FROM ({offsets}) AS offsets WHERE partition = $1", partition)
    found: dict[str, Mapping[str, Any]] = {row["read_model"]: row for row in rows}
    answers = []
    for topic in JOB_TOPICS:
        end = None if ends is None else ends.get((topic, partition), 0)
        readers = []
        for model in [model for model in models if TOPIC_OF[model] == topic]:
            reached = found[model]["next_offset"] if model in found else 0
            readers.append(
                ReaderAnswer(
                    read_model=model,
                    next_offset=reached,
                    last_append_time=time_text(found[model]["append_time"]) if model in found else None,
                    caught_up=None if end is None else reached >= end,
                )
            )
        answers.append(TopicAnswer(topic=topic, partition=partition, log_end=end, read_models=readers))
    return answers


def _attempts(job: Job, known: _Known) -> list[AttemptAnswer]:
    lines: dict[int | None, list[LineAnswer]] = {}
    closed = {(name, topic) for name, session in job.sessions.items() for topic in session.last_seq or ()}
    for session_id, topic in sorted({*known.marks, *known.outbox, *closed, *known.dead}):
        session = job.sessions.get(session_id)
        attempt = session.attempt if session else None
        lines.setdefault(attempt, []).append(_line(job, known, session_id, topic))
    return [
        AttemptAnswer(
            attempt=attempt,
            verdict=worst(line.verdict for line in found if line.topic in READ_MODELS_OF),
            lines=found,
        )
        for attempt, found in sorted(lines.items(), key=lambda item: -1 if item[0] is None else item[0])
    ]


def _line(job: Job, known: _Known, session_id: str, topic: str) -> LineAnswer:
    session = job.sessions.get(session_id)
    where = (session_id, topic)
    sent = known.outbox.get(where)
    if session is not None and session.last_seq is not None:
        sent = session.last_seq.get(topic, 0)
    marks = known.marks.get(where, {})
    found = Found(
        topic=topic,
        sent=sent,
        unsent=known.unsent.get(where, 0),
        goes_on=not job.ended and session is not None and session.attempt == job.attempt,
        marks={model: marks.get(model, SessionMarks()) for model in known.models_of[topic]},
        caught_up=frozenset(
            reader.read_model for one in known.topics for reader in one.read_models if reader.caught_up
        ),
        dead=known.dead.get(where, ()),
        drops=known.drops.get(where, ()),
    )
    line = line_of(found)
    own = session is not None and (session.sender != SDK_SENDER or session.attempt == job.attempt)
    return LineAnswer(
        session=session_id,
        sender=session.sender if session else None,
        rank=session.rank if session else None,
        topic=topic,
        closed_by=session.closed_by if session else None,
        sent=sent,
        unsent=found.unsent,
        counts=own and topic in READ_MODELS_OF,
        **_shown(found, line),
    )


def _shown(found: Found, line: Line) -> dict[str, Any]:
    return {
        "in_log": line.in_log,
        "missing": list(line.missing),
        "dead_letters": [
            DeadRecordAnswer(
                read_model=dead.read_model, position=place_text(dead.position), seq=dead.seq, status=dead.status
            )
            for dead in found.dead
        ],
        "dropped": [
            DropAnswer(
                position=place_text(drop.position),
                seq=drop.seq,
                from_seq=drop.from_seq,
                to_seq=drop.to_seq,
                count=drop.count,
                reason=drop.reason,
            )
            for drop in found.drops
        ],
        "read_models": [
            ModelLineAnswer(
                read_model=model.read_model, applied=model.applied, missing=list(model.missing), verdict=model.verdict
            )
            for model in line.models
        ],
        "verdict": line.verdict,
        "reasons": list(line.reasons),
    }
