"""The fold of a job: one event after the other. Used by the projection, by commands, by queries and by the launcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from events import asked, ends
from events.envelope import Event
from events.folding import NEW_ATTEMPT, Changes, become, stale
from events.job import Checkpoint, Deletion, Job, Purge, Session
from events.lifecycle import JobState
from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
from events.types.deletion import JobDeleted, JobPurged, JobRestored
from events.types.jobs import (
    JobCompleted,
    JobCreated,
    JobDescribed,
    JobFailed,
    JobFound,
    JobLaunched,
    JobLost,
    JobQueued,
    JobStarted,
    JobStopped,
    ProcessExited,
    ProgressReported,
    StopDecided,
    StopRequested,
    StopSignalled,
)
from events.types.requests import CancelRequested, LimitExceeded, PauseRequested, ResumeRequested, RetryRequested
from events.types.sessions import SessionClosed, SessionOpened
from events.types.vocabulary import Fact

SESSIONS_MAX: Final = 200
"""Sessions remembered per job (attempts times ranks, and the outbox); further ones are ignored, and recorded so."""


@dataclass(frozen=True, slots=True)
class Folded:
    """The job after an event, and why the event changed nothing (None when it counted)."""

    job: Job
    ignored: str | None = None


def evolve(job: Job | None, event: Event[Fact]) -> Job:
    """The job after ``event``. Pure, and never raises for a sequence of valid events, in whatever order."""
    return fold(job, event).job


def fold(job: Job | None, event: Event[Fact]) -> Folded:
    """As ``evolve``, and says whether and why the event was ignored."""
    before = job if job is not None else Job(id=event.job_id)
    if before.purge is not None:
        return Folded(before, "the job was purged")
    if isinstance(event.data, JobPurged):
        purge = Purge(requested_by=event.data.requested_by, reason=event.data.reason, purged_at=event.time)
        return Folded(Job(id=before.id, purge=purge))
    handler = _HANDLERS.get(type(event.data))
    if handler is None:
        return Folded(before, f"{event.type} does not concern the job's life")
    changes = handler(before, event, event.data)
    if isinstance(changes, str):
        return Folded(before, changes)
    return Folded(before.model_copy(update={**changes, "updated_at": event.time}))


def _created(job: Job, event: Event[Fact], data: JobCreated) -> Changes:
    if job.exists:
        return "the job was created already"
    config_epochs = data.config.get("epochs")
    return {
        **data.model_dump(),
        "total_epochs": job.total_epochs or (config_epochs if isinstance(config_epochs, int) else None),
        "created_at": event.time,
    }


def _described(job: Job, event: Event[Fact], data: JobDescribed) -> Changes:
    return {name: value or None for name, value in data.model_dump(exclude={"requested_by"}, exclude_none=True).items()}


def _deleted(job: Job, event: Event[Fact], data: JobDeleted) -> Changes:
    if job.deletion is not None:
        return "the job was deleted already"
    return {"deletion": Deletion(requested_by=data.requested_by, reason=data.reason, deleted_at=event.time)}


def _restored(job: Job, event: Event[Fact], data: JobRestored) -> Changes:
    return {"deletion": None} if job.deletion is not None else "the job is not deleted"


def _queued(job: Job, event: Event[Fact], data: JobQueued) -> Changes:
    return become(job, JobState.QUEUED)


def _launched(job: Job, event: Event[Fact], data: JobLaunched) -> Changes:
    if event.attempt <= job.attempt:
        return f"attempt {event.attempt} is not newer than attempt {job.attempt}"
    changes = become(job, JobState.STARTING)
    if isinstance(changes, str):
        return changes
    return {**NEW_ATTEMPT, **changes, "attempt": event.attempt, "launched_by": data.launcher}


def _started(job: Job, event: Event[Fact], data: JobStarted) -> Changes:
    if reason := stale(job, event):
        return reason
    if job.ended and event.attempt <= job.attempt:
        return f"the job is {job.state} already"
    if job.started_session is not None and event.attempt == job.attempt and job.started_session != event.session:
        return f"attempt {job.attempt} was started by another process"
    fresh: Mapping[str, Any] = NEW_ATTEMPT if event.attempt > job.attempt else {}
    return {
        **fresh,
        "attempt": max(job.attempt, event.attempt),
        "state": job.state if job.state in (JobState.STOPPING, JobState.PAUSING) else JobState.RUNNING,
        "started_at": job.started_at or event.time,
        "started_session": event.session,
        "pid": data.pid,
        "hostname": data.hostname,
        "gpu_info": data.gpu_info,
        "total_epochs": data.total_epochs or job.total_epochs,
        "mlflow_run_id": data.mlflow_run_id or job.mlflow_run_id,
    }


def _progressed(job: Job, event: Event[Fact], data: ProgressReported) -> Changes:
    if reason := stale(job, event):
        return reason
    if job.ended:
        return f"the job is {job.state} already"
    return {
        "current_epoch": data.epoch,
        "total_epochs": data.total_epochs,
        "phase": data.phase,
        "eta_seconds": data.eta_seconds,
    }


def _checkpoint_saved(job: Job, event: Event[Fact], data: CheckpointSaved) -> Changes:
    # No check of the state: a checkpoint that lies in the store is a fact, also when its news comes late.
    checkpoint = Checkpoint(
        path=data.checkpoint_path,
        object_uri=data.object_uri,
        epoch=data.epoch,
        attempt=event.attempt,
        sha256=data.sha256,
        file_size_bytes=data.file_size_bytes,
        resumable=data.resumable,
        step=data.step,
    )
    changes: dict[str, Any] = {}
    if data.is_best:
        changes["best_checkpoint"] = checkpoint
    last = job.last_checkpoint
    newer = last is None or (event.attempt, data.epoch or 0) > (last.attempt, last.epoch or 0)
    if not data.is_best or newer:
        changes["last_checkpoint"] = checkpoint
    if data.resumable and data.object_uri is not None and _how_far(checkpoint) >= _how_far(job.resume_checkpoint):
        changes["resume_checkpoint"] = checkpoint
    return changes


def _how_far(checkpoint: Checkpoint | None) -> tuple[int, int, int]:
    return (0, 0, 0) if checkpoint is None else (checkpoint.attempt, checkpoint.epoch or 0, checkpoint.step or 0)


def _artifact_saved(job: Job, event: Event[Fact], data: ArtifactSaved) -> Changes:
    # A sign of life, and part of the audit trail; the file itself is the business of a read model of its own.
    return {}


def _session_opened(job: Job, event: Event[Fact], data: SessionOpened) -> Changes:
    if event.session in job.sessions:
        return "the session was opened already"
    if len(job.sessions) >= SESSIONS_MAX:
        return f"more than {SESSIONS_MAX} sessions"
    session = Session(attempt=event.attempt, rank=event.rank, sender=data.sender)
    return {
        "sessions": {**job.sessions, event.session: session},
        "total_epochs": data.total_epochs or job.total_epochs,
    }


def _session_closed(job: Job, event: Event[Fact], data: SessionClosed) -> Changes:
    session = job.sessions.get(data.session)
    if session is None:
        if len(job.sessions) >= SESSIONS_MAX:
            return f"more than {SESSIONS_MAX} sessions"
        session = Session(attempt=event.attempt, rank=event.rank, sender="sdk")
    if session.last_seq is not None:
        return "the session was closed already"
    closed = session.model_copy(update={"last_seq": data.last_seq, "closed_by": data.closed_by})
    return {"sessions": {**job.sessions, data.session: closed}}


_HANDLERS: Final[Mapping[type[Fact], Callable[[Job, Event[Fact], Any], Changes]]] = {
    JobCreated: _created,
    JobDescribed: _described,
    JobDeleted: _deleted,
    JobRestored: _restored,
    JobQueued: _queued,
    JobLaunched: _launched,
    JobStarted: _started,
    ProgressReported: _progressed,
    CheckpointSaved: _checkpoint_saved,
    ArtifactSaved: _artifact_saved,
    StopRequested: asked.stop_requested,
    StopDecided: asked.stop_decided,
    StopSignalled: asked.stop_signalled,
    CancelRequested: asked.cancel_requested,
    PauseRequested: asked.pause_requested,
    ResumeRequested: asked.resume_requested,
    RetryRequested: asked.retry_requested,
    LimitExceeded: asked.limit_exceeded,
    JobCompleted: ends.completed,
    JobFailed: ends.failed,
    JobStopped: ends.stopped,
    ProcessExited: ends.exited,
    JobLost: ends.lost,
    JobFound: ends.found,
    SessionOpened: _session_opened,
    SessionClosed: _session_closed,
}
