"""Whoever is shown that a run ended can read all of it: until then it is `finishing`.

A trainer's session is applied when every topic's read models have seen all its numbers up to the closing ones; facts
that came over HTTP are applied when none of the job's outbox rows waits. What is missing when nothing can come any more
is said (api/jobs/integrity.py shows where).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from api.log_ends import Ends
from events.dedupe import SessionMarks
from events.job import Job, Session
from events.lifecycle import FINISHING, JobState, status_of
from producers.database import Connection
from producers.queries import load_queries
from training_sdk.wire import JOBS, LOGS, METRICS, partition_of

FINISHING_MAX_S: Final = 10.0
READ_MODELS_OF: Final = {JOBS: ("jobs", "checkpoints", "artifacts"), METRICS: ("metrics",), LOGS: ("logs",)}
"""What a reader of a run looks at; samples of the machine are no part of its result."""

SDK_SENDER: Final = "sdk"
queries: Final = load_queries(Path(__file__).parent / "completeness.sql")

Marks = Mapping[tuple[str, str], SessionMarks]
"""(read model, session) to what it has seen."""


class Integrity(StrEnum):
    """Whether all that was sent can be read. The later ones here outweigh the earlier ones."""

    COMPLETE = "complete"
    NOT_PROVABLE = "not provable"
    """A sender never said how much it sent."""
    PENDING = "pending"
    """Something is not applied, and may be yet."""
    INCOMPLETE = "incomplete"
    """Something was sent, or was to be, and is not there. It heals if it still comes."""


def worst(verdicts: Iterable[Integrity]) -> Integrity:
    order = list(Integrity)
    return max(verdicts, key=order.index, default=Integrity.COMPLETE)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a job. ``waiting_rows`` of the outbox are not applied; ``dropped``: calls that the counting
    attempt's senders left out, as they say; ``caught_up``: read models that have applied all that the log holds.
    """

    marks: Marks = field(default_factory=dict)
    waiting_rows: int = 0
    dropped: int = 0
    caught_up: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Visible:
    """State and status as a reader is shown them. ``integrity`` is None while the run goes on."""

    state: str
    status: str
    integrity: Integrity | None = None
    ended_then: bool = False
    """At a past moment, of which nothing is still to be applied: nobody asks whether it is complete."""

    @property
    def ended(self) -> bool:
        return self.integrity is not None or self.ended_then


def judge(last: int, seen: SessionMarks, *, caught_up: bool) -> Integrity:
    """One read model's view of a session whose numbers go up to ``last``. Pure."""
    if any(low <= last for low, _ in seen.gaps):
        # What came later is applied: this was passed over.
        return Integrity.INCOMPLETE
    if seen.high >= last:
        return Integrity.COMPLETE
    return Integrity.INCOMPLETE if caught_up else Integrity.PENDING


def integrity_of(job: Job, evidence: Evidence) -> Integrity:
    """Whether all that the counting attempt's senders said is applied. Pure."""
    verdicts = [Integrity.COMPLETE]
    if evidence.waiting_rows:
        verdicts.append(Integrity.PENDING)
    if evidence.dropped:
        verdicts.append(Integrity.INCOMPLETE)
    for session_id, session in job.sessions.items():
        if session.sender != SDK_SENDER:
            # Its last numbers are those of the outbox, whose rows were looked at; only what was passed over is not.
            seen = [found for (_, of), found in evidence.marks.items() if of == session_id]
            verdicts += [judge(found.high, found, caught_up=False) for found in seen]
        elif session.attempt == job.attempt:
            verdicts += _session_verdicts(session_id, session, evidence)
    return worst(verdicts)


def _session_verdicts(session_id: str, session: Session, evidence: Evidence) -> list[Integrity]:
    if session.last_seq is None:
        return [Integrity.NOT_PROVABLE]
    return [
        judge(last, evidence.marks.get((model, session_id), SessionMarks()), caught_up=model in evidence.caught_up)
        for topic, last in session.last_seq.items()
        for model in READ_MODELS_OF.get(topic, ())
    ]


def visible_state(job: Job, evidence: Evidence, now: datetime) -> Visible:
    """What a reader may be told. Pure."""
    if not job.ended:
        return Visible(str(job.state), status_of(job.state))
    integrity = integrity_of(job, evidence)
    waited = job.end_appended_at is not None and (now - job.end_appended_at).total_seconds() > FINISHING_MAX_S
    if integrity is Integrity.COMPLETE or waited:
        return Visible(str(job.state), status_of(job.state), integrity)
    return Visible(FINISHING, status_of(JobState.RUNNING))


async def visible_states(
    tx: Connection, jobs: Sequence[Job], now: datetime, ends: Ends | None = None
) -> dict[int, Visible]:
    """The visible state of each job, read in the transaction that read the jobs.

    ``ends``: the log's, asked for after the ends of the jobs were known; without them, what did not come is pending.
    """
    evidence = await _evidence(tx, [job for job in jobs if job.ended], ends)
    return {job.id: visible_state(job, evidence.get(job.id, Evidence()), now) for job in jobs}


async def _evidence(tx: Connection, jobs: Sequence[Job], ends: Ends | None) -> dict[int, Evidence]:
    if not jobs:
        return {}
    ids = [job.id for job in jobs]
    marks: dict[int, dict[tuple[str, str], SessionMarks]] = {}
    for row in await queries.marks_of_jobs(tx, job_ids=ids):
        marks.setdefault(row["job_id"], {})[row["read_model"], row["session"]] = marks_of(row)
    waiting = {row["job_id"]: row["rows"] for row in await queries.waiting_rows(tx, job_ids=ids)}
    rows = await queries.dropped_of_jobs(tx, job_ids=ids)
    dropped = {(row["job_id"], row["attempt"]): row["dropped"] for row in rows}
    applied = await queries.applied_offsets(tx) if ends is not None else []
    return {
        job.id: Evidence(
            marks.get(job.id, {}),
            waiting.get(job.id, 0),
            dropped.get((job.id, job.attempt), 0),
            caught_up(job.id, applied, ends or {}),
        )
        for job in jobs
    }


def marks_of(row: Mapping[str, Any]) -> SessionMarks:
    return SessionMarks(row["high"], tuple((low, high) for low, high in row["gaps"]))


def caught_up(job_id: int, applied: Sequence[Mapping[str, Any]], ends: Ends) -> set[str]:
    """The read models that have applied all there is in the job's partition. Pure."""
    partition = partition_of(str(job_id).encode())
    reached = {row["read_model"]: row["next_offset"] for row in applied if row["partition"] == partition}
    return {
        model
        for (topic, number), end in ends.items()
        if number == partition
        for model in READ_MODELS_OF.get(topic, ())
        if reached.get(model, 0) >= end
    }
