"""Whoever is shown that a run ended can read all of it: until then it is `finishing`.

A trainer's session is applied when every topic's read models have seen all its numbers up to the closing ones; facts
that came over HTTP are applied when none of the job's outbox rows waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from events.dedupe import SessionMarks
from events.job import Job
from events.lifecycle import FINISHING, JobState, status_of
from producers.database import Connection
from producers.queries import load_queries
from training_sdk.wire import JOBS, LOGS, METRICS

FINISHING_MAX_S: Final = 10.0
READ_MODELS_OF: Final = {JOBS: ("jobs", "checkpoints", "artifacts"), METRICS: ("metrics",), LOGS: ("logs",)}
"""What a reader of a run looks at; samples of the machine are no part of its result."""

SDK_SENDER: Final = "sdk"
queries: Final = load_queries(Path(__file__).parent / "completeness.sql")

Marks = Mapping[tuple[str, str], SessionMarks]
"""(read model, session) to what it has seen."""


@dataclass(frozen=True, slots=True)
class Visible:
    """State and status as a reader is shown them. ``integrity`` is None while the run goes on."""

    state: str
    status: str
    integrity: str | None = None
    ended_then: bool = False
    """At a past moment, of which nothing is still to be applied: nobody asks whether it is complete."""

    @property
    def ended(self) -> bool:
        return self.integrity is not None or self.ended_then


def applied(job: Job, marks: Marks, waiting_rows: int) -> bool:
    """Whether all that the counting attempt's senders said is applied. Pure."""
    if waiting_rows:
        return False
    for session_id, session in job.sessions.items():
        if session.attempt != job.attempt or session.sender != SDK_SENDER:
            continue
        if session.last_seq is None:
            return False
        for topic, last in session.last_seq.items():
            for model in READ_MODELS_OF.get(topic, ()):
                seen = marks.get((model, session_id), SessionMarks())
                if seen.high < last or any(low <= last for low, _ in seen.gaps):
                    return False
    return True


def visible_state(job: Job, marks: Marks, waiting_rows: int, now: datetime) -> Visible:
    """What a reader may be told. Pure."""
    if not job.ended:
        return Visible(str(job.state), status_of(job.state))
    if applied(job, marks, waiting_rows):
        return Visible(str(job.state), status_of(job.state), "complete")
    if job.end_appended_at is not None and (now - job.end_appended_at).total_seconds() > FINISHING_MAX_S:
        return Visible(str(job.state), status_of(job.state), "pending")
    return Visible(FINISHING, status_of(JobState.RUNNING))


async def visible_states(tx: Connection, jobs: Sequence[Job], now: datetime) -> dict[int, Visible]:
    """The visible state of each job, read in the transaction that read the jobs."""
    ended = [job.id for job in jobs if job.ended]
    marks: dict[int, dict[tuple[str, str], SessionMarks]] = {}
    waiting: dict[int, int] = {}
    if ended:
        for row in await queries.marks_of_jobs(tx, job_ids=ended):
            seen = SessionMarks(row["high"], tuple((low, high) for low, high in row["gaps"]))
            marks.setdefault(row["job_id"], {})[row["read_model"], row["session"]] = seen
        rows = await queries.waiting_rows(tx, job_ids=ended)
        waiting = {row["job_id"]: row["rows"] for row in rows}
    return {job.id: visible_state(job, marks.get(job.id, {}), waiting.get(job.id, 0), now) for job in jobs}
