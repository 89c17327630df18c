"""How an attempt ends: by the trainer's word, by its process's exit, for a limit, or for a pause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from events.envelope import Event
from events.folding import Changes, become, stale
from events.job import EARLY_STOPPING, EXIT, REPORT, Checkpoint, Job, StopKind
from events.lifecycle import ACTIVE, JobState, may_become
from events.types.jobs import (
    JobCompleted,
    JobFailed,
    JobFound,
    JobLost,
    JobStopped,
    ProcessExited,
    TrainingResults,
)
from events.types.vocabulary import ErrorCode, Fact, JsonObject

BETWEEN_ATTEMPTS: Final = frozenset({JobState.QUEUED, JobState.RETRYING, JobState.PAUSED})
CANNOT_START: Final = 127
"""The exit code that stands for a command that cannot be started: it cannot be the next time either."""
_PAUSED: Final[Mapping[str, Any]] = {"state": JobState.PAUSED, "stop": None, "eta_seconds": None}


def gpu_count(gpu_info: JsonObject | list[JsonObject] | None) -> int:
    """GPUs that a run reported: a list has one entry a GPU, a single object is one GPU (or says its ``count``)."""
    if not gpu_info:
        return 0
    if isinstance(gpu_info, list):
        return len(gpu_info)
    count = gpu_info.get("count", 1)
    return count if isinstance(count, int) and count >= 0 else 1


def completed(job: Job, event: Event[Fact], data: JobCompleted) -> Changes:
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


def failed(job: Job, event: Event[Fact], data: JobFailed) -> Changes:
    if _is_over(job, event):
        return f"attempt {job.attempt} is over: the job is {job.state}"
    changes = _end(job, event, JobState.FAILED)
    if isinstance(changes, str):
        return changes
    return {**changes, **data.model_dump(), **_for_limit(job)}


def stopped(job: Job, event: Event[Fact], data: JobStopped) -> Changes:
    if _is_over(job, event) and job.stop is None:
        return f"attempt {job.attempt} is over: the job is {job.state}"
    paths = _paths(job, event, data.best_checkpoint_path, data.final_checkpoint_path)
    if _pauses(job):
        return stale(job, event) or {**_PAUSED, **paths, "stopped_at_epoch": data.stopped_at_epoch}
    changes = _end(job, event, JobState.STOPPED)
    if isinstance(changes, str):
        return changes
    return {
        **changes,
        **paths,
        "stopped_at_epoch": data.stopped_at_epoch,
        "training_results": _results(job, data.training_results) or job.training_results,
        "error_code": asked_code(job),
        **_for_limit(job),
    }


def exited(job: Job, event: Event[Fact], data: ProcessExited) -> Changes:
    if reason := stale(job, event):
        return reason
    if job.ended or (event.attempt <= job.attempt and job.state not in ACTIVE):
        return {"exit": data}
    if _pauses(job):
        return {**_PAUSED, "exit": data, "stopped_at_epoch": job.current_epoch}
    appended = event.append_time or event.time
    changes: dict[str, Any] = {"exit": data, "completed_at": event.time, "end_appended_at": appended, "ended_by": EXIT}
    changes["eta_seconds"] = None
    if job.limit is not None:
        return {**changes, **_for_limit(job)}
    if job.stop is not None:
        code = asked_code(job)
        return {**changes, "state": JobState.STOPPED, "stopped_at_epoch": job.current_epoch, "error_code": code}
    if data.signal is not None:
        code, message = ErrorCode.PROCESS_DIED, f"The trainer's process was ended by {data.signal}."
    elif data.exit_code == 0:
        code, message = ErrorCode.UNKNOWN, "The trainer ended with exit code 0 but never reported how training ended."
    else:
        code = ErrorCode.UNKNOWN if data.exit_code == CANNOT_START else ErrorCode.PROCESS_DIED
        message = f"The trainer's process ended with exit code {data.exit_code}."
    if data.reason:
        message = f"{message} {data.reason}"
    return {**changes, "state": JobState.FAILED, "error_code": str(code), "error_message": message}


def lost(job: Job, event: Event[Fact], data: JobLost) -> Changes:
    changes = stale(job, event) or become(job, JobState.LOST)
    return changes if isinstance(changes, str) else {**changes, "lost_at": event.time}


def found(job: Job, event: Event[Fact], data: JobFound) -> Changes:
    if reason := stale(job, event):
        return reason
    if job.state is not JobState.LOST:
        return f"the job is {job.state}, not lost"
    if job.stop is None:
        return {"state": JobState.RUNNING if job.started_session is not None else JobState.STARTING}
    return {"state": JobState.PAUSING if job.stop.kind is StopKind.PAUSE else JobState.STOPPING}


def asked_code(job: Job) -> str | None:
    """The error code of a run that stopped: a person's wish has one, a rule's decision is no error."""
    by_a_person = job.stop is not None and job.stop.requested_by != EARLY_STOPPING
    return str(ErrorCode.USER_STOPPED) if by_a_person else None


def _is_over(job: Job, event: Event[Fact]) -> bool:
    """Whether the attempt's process was seen to end, so that its late word must not end what comes after it."""
    return job.launch and 0 < event.attempt <= job.attempt and job.state in BETWEEN_ATTEMPTS


def _pauses(job: Job) -> bool:
    asked = job.stop is not None and job.stop.kind is StopKind.PAUSE
    return asked and job.state in (JobState.PAUSING, JobState.LOST)


def _end(job: Job, event: Event[Fact], state: JobState) -> Changes:
    """An end that the trainer reported."""
    if reason := stale(job, event):
        return reason
    # What failed and was asked to end before its retry has stopped, also where the trainer itself said that it failed.
    given_up = state is JobState.STOPPED and job.can_retry_by_itself and job.stop is not None
    if job.ended and job.ended_by == REPORT and not given_up:
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


def _for_limit(job: Job) -> dict[str, Any]:
    """A run that was ended for a limit has failed, whatever its trainer made of it."""
    if job.limit is None:
        return {}
    return {"state": JobState.FAILED, "error_code": job.limit.error_code, "error_message": job.limit.reason}


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
