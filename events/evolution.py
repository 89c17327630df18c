"""The fold of a job: one event after the other. Used by the projection, by commands, by queries and by the launcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from events.envelope import Event
from events.job import EARLY_STOPPING, EXIT, REPORT, Checkpoint, Job, Session, Stop
from events.lifecycle import ACTIVE, JobState, may_become
from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
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
    TrainingResults,
)
from events.types.sessions import SessionClosed, SessionOpened
from events.types.vocabulary import ErrorCode, Fact, JsonObject

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
    handler = _HANDLERS.get(type(event.data))
    if handler is None:
        return Folded(before, f"{event.type} does not concern the job's life")
    changes = handler(before, event, event.data)
    if isinstance(changes, str):
        return Folded(before, changes)
    return Folded(before.model_copy(update={**changes, "updated_at": event.time}))


Changes = Mapping[str, Any] | str
"""Fields to change, or the reason why the event is ignored."""


def gpu_count(gpu_info: JsonObject | list[JsonObject] | None) -> int:
    """GPUs that a run reported: a list has one entry a GPU, a single object is one GPU (or says its ``count``)."""
    if not gpu_info:
        return 0
    if isinstance(gpu_info, list):
        return len(gpu_info)
    count = gpu_info.get("count", 1)
    return count if isinstance(count, int) and count >= 0 else 1


def _stale(job: Job, event: Event[Fact]) -> str | None:
    if event.attempt and event.attempt < job.attempt:
        return f"attempt {event.attempt} is over, attempt {job.attempt} counts"
    return None


def _become(job: Job, state: JobState) -> Changes:
    if job.state == state:
        return f"the job is {state} already"
    if not may_become(job.state, state):
        return f"a job that is {job.state} cannot become {state}"
    return {"state": state}


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


def _queued(job: Job, event: Event[Fact], data: JobQueued) -> Changes:
    return _become(job, JobState.QUEUED)


_NEW_ATTEMPT: Final[Mapping[str, Any]] = {
    "early_stopping": None,
    "completed_at": None,
    "end_appended_at": None,
    "ended_by": None,
    "error_code": None,
    "error_message": None,
    "last_successful_epoch": None,
    "stopped_at_epoch": None,
    "exit": None,
    "pid": None,
    "hostname": None,
    "started_session": None,
    "eta_seconds": None,
}


def _launched(job: Job, event: Event[Fact], data: JobLaunched) -> Changes:
    if event.attempt <= job.attempt:
        return f"attempt {event.attempt} is not newer than attempt {job.attempt}"
    changes = _become(job, JobState.STARTING)
    if isinstance(changes, str):
        return changes
    return {**_NEW_ATTEMPT, **changes, "attempt": event.attempt, "launched_by": data.launcher}


def _started(job: Job, event: Event[Fact], data: JobStarted) -> Changes:
    if stale := _stale(job, event):
        return stale
    if job.ended and event.attempt <= job.attempt:
        return f"the job is {job.state} already"
    if job.started_session is not None and event.attempt == job.attempt and job.started_session != event.session:
        return f"attempt {job.attempt} was started by another process"
    fresh: Mapping[str, Any] = _NEW_ATTEMPT if event.attempt > job.attempt else {}
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
    if stale := _stale(job, event):
        return stale
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
    return changes


def _artifact_saved(job: Job, event: Event[Fact], data: ArtifactSaved) -> Changes:
    # A sign of life, and part of the audit trail; the file itself is the business of a read model of its own.
    return {}


def _stop_requested(job: Job, event: Event[Fact], data: StopRequested) -> Changes:
    if job.ended:
        return f"the job is {job.state} already"
    if job.stop is not None:
        return "a stop was requested already"
    stop = Stop(requested_by=data.requested_by, reason=data.reason, requested_at=event.time)
    return {"stop": stop, **({"state": JobState.STOPPING} if job.state in ACTIVE else {})}


def _stop_decided(job: Job, event: Event[Fact], data: StopDecided) -> Changes:
    if stale := _stale(job, event):
        return stale
    if job.state is JobState.PAUSED:
        return "the job is paused: nothing runs that could stop"
    changes = _stop_requested(job, event, StopRequested(requested_by=EARLY_STOPPING, reason=data.reason))
    return changes if isinstance(changes, str) else {**changes, "early_stopping": data}


def _stop_signalled(job: Job, event: Event[Fact], data: StopSignalled) -> Changes:
    if job.stop is None:
        return "no stop was requested"
    return {"stop": job.stop.model_copy(update={"signalled_at": event.time})}


def _end(job: Job, event: Event[Fact], state: JobState) -> Changes:
    """An end that the trainer reported."""
    if stale := _stale(job, event):
        return stale
    if job.ended and job.ended_by == REPORT:
        return f"the job is {job.state} already"
    if job.state != state and not may_become(job.state, state):
        return f"a job that is {job.state} cannot become {state}"
    return {
        "state": state,
        "attempt": max(job.attempt, event.attempt),
        "completed_at": event.time,
        "end_appended_at": event.append_time or event.time,
        "ended_by": REPORT,
        "eta_seconds": None,
        "error_code": None,
        "error_message": None,
    }


def _paths(job: Job, event: Event[Fact], best: str | None, final: str | None) -> dict[str, Any]:
    """Checkpoints that the completion names and no checkpoint event announced before."""
    changes: dict[str, Any] = {}
    if best is not None and job.best_checkpoint is None:
        changes["best_checkpoint"] = Checkpoint(path=best, attempt=event.attempt)
    if final is not None and job.last_checkpoint is None:
        changes["last_checkpoint"] = Checkpoint(path=final, attempt=event.attempt)
    return changes


def _results(job: Job, results: TrainingResults | None) -> TrainingResults | None:
    if results is None or results.gpu_hours is not None or results.training_time_seconds is None:
        return results
    hours = results.training_time_seconds / 3600 * gpu_count(job.gpu_info)
    return results.model_copy(update={"gpu_hours": round(hours, 6)})


def _completed(job: Job, event: Event[Fact], data: JobCompleted) -> Changes:
    changes = _end(job, event, JobState.COMPLETED)
    if isinstance(changes, str):
        return changes
    epochs = data.training_results.total_epochs
    return {
        **changes,
        **_paths(job, event, data.best_checkpoint_path, data.final_checkpoint_path),
        "training_results": _results(job, data.training_results),
        "current_epoch": epochs if epochs is not None else job.current_epoch,
    }


def _failed(job: Job, event: Event[Fact], data: JobFailed) -> Changes:
    changes = _end(job, event, JobState.FAILED)
    if isinstance(changes, str):
        return changes
    return {**changes, **data.model_dump()}


def _stopped(job: Job, event: Event[Fact], data: JobStopped) -> Changes:
    changes = _end(job, event, JobState.STOPPED)
    if isinstance(changes, str):
        return changes
    return {
        **changes,
        **_paths(job, event, data.best_checkpoint_path, data.final_checkpoint_path),
        "stopped_at_epoch": data.stopped_at_epoch,
        "training_results": _results(job, data.training_results) or job.training_results,
    }


def _exited(job: Job, event: Event[Fact], data: ProcessExited) -> Changes:
    if stale := _stale(job, event):
        return stale
    if job.ended:
        return {"exit": data}
    appended = event.append_time or event.time
    changes = {"exit": data, "completed_at": event.time, "end_appended_at": appended, "ended_by": EXIT}
    changes["eta_seconds"] = None
    if job.stop is not None:
        return {**changes, "state": JobState.STOPPED, "stopped_at_epoch": job.current_epoch}
    if data.signal is not None:
        code, message = ErrorCode.PROCESS_DIED, f"The trainer's process was ended by {data.signal}."
    elif data.exit_code == 0:
        code, message = ErrorCode.UNKNOWN, "The trainer ended with exit code 0 but never reported how training ended."
    else:
        code, message = ErrorCode.PROCESS_DIED, f"The trainer's process ended with exit code {data.exit_code}."
    if data.reason:
        message = f"{message} {data.reason}"
    return {**changes, "state": JobState.FAILED, "error_code": str(code), "error_message": message}


def _lost(job: Job, event: Event[Fact], data: JobLost) -> Changes:
    return _stale(job, event) or _become(job, JobState.LOST)


def _found(job: Job, event: Event[Fact], data: JobFound) -> Changes:
    if stale := _stale(job, event):
        return stale
    if job.state is not JobState.LOST:
        return f"the job is {job.state}, not lost"
    return {"state": JobState.STOPPING if job.stop is not None else JobState.RUNNING}


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
    JobQueued: _queued,
    JobLaunched: _launched,
    JobStarted: _started,
    ProgressReported: _progressed,
    CheckpointSaved: _checkpoint_saved,
    ArtifactSaved: _artifact_saved,
    StopRequested: _stop_requested,
    StopDecided: _stop_decided,
    StopSignalled: _stop_signalled,
    JobCompleted: _completed,
    JobFailed: _failed,
    JobStopped: _stopped,
    ProcessExited: _exited,
    JobLost: _lost,
    JobFound: _found,
    SessionOpened: _session_opened,
    SessionClosed: _session_closed,
}
