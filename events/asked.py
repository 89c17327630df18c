"""What a request changes: to stop, to cancel, to pause, to go on, to try again; and a limit, which asks by itself.

The log may hold an end before the request that caused it: the launcher acts on what Postgres has, and a broker that was
down gets the request and the trainer's last word in any order. Such an end is judged again when the request is read.
"""

from __future__ import annotations

from typing import Any, Final

from events.ends import BETWEEN_ATTEMPTS, asked_code
from events.envelope import Event
from events.folding import NOT_ENDED, Changes, become, stale
from events.job import EARLY_STOPPING, EXIT, Job, Revival, Stop, StopKind
from events.lifecycle import ACTIVE, WAITING, JobState
from events.types.jobs import StopDecided, StopRequested, StopSignalled
from events.types.requests import CancelRequested, LimitExceeded, PauseRequested, ResumeRequested, RetryRequested
from events.types.vocabulary import Fact

_RANK: Final = {StopKind.PAUSE: 0, StopKind.STOP: 1, StopKind.LIMIT: 1, StopKind.CANCEL: 2}
"""A request replaces one of lower rank, so that nobody who asked for more waits for less."""


def stop_requested(job: Job, event: Event[Fact], data: StopRequested) -> Changes:
    return _ask(job, event, StopKind.STOP, data.requested_by, data.reason)


def cancel_requested(job: Job, event: Event[Fact], data: CancelRequested) -> Changes:
    return _ask(job, event, StopKind.CANCEL, data.requested_by, data.reason)


def pause_requested(job: Job, event: Event[Fact], data: PauseRequested) -> Changes:
    if job.state in WAITING and job.launch:
        return stale(job, event) or {"state": JobState.PAUSED}
    return _ask(job, event, StopKind.PAUSE, data.requested_by, data.reason)


def stop_decided(job: Job, event: Event[Fact], data: StopDecided) -> Changes:
    if reason := stale(job, event):
        return reason
    if job.state in BETWEEN_ATTEMPTS:
        return f"the job is {job.state}: nothing runs that could stop"
    changes = _ask(job, event, StopKind.STOP, EARLY_STOPPING, data.reason)
    return changes if isinstance(changes, str) else {**changes, "early_stopping": data}


def limit_exceeded(job: Job, event: Event[Fact], data: LimitExceeded) -> Changes:
    if reason := stale(job, event):
        return reason
    if job.limit is not None:
        return "a limit was exceeded already"
    failed = {"limit": data, "error_code": data.error_code, "error_message": data.reason}
    if job.ended:
        if not _unexplained(job):
            return f"the job is {job.state} already"
        return {**failed, "state": JobState.FAILED}
    if job.state not in ACTIVE:
        return f"the job is {job.state}: nothing runs"
    changes = _ask(job, event, StopKind.LIMIT, "supervisor", data.reason)
    if isinstance(changes, str):
        return changes
    # Its supervisor ends it; the launcher has nothing to pass on.
    return {**changes, "limit": data, "stop": changes["stop"].model_copy(update={"signalled_at": event.time})}


def stop_signalled(job: Job, event: Event[Fact], data: StopSignalled) -> Changes:
    if job.stop is None:
        return "no stop was requested"
    return {"stop": job.stop.model_copy(update={"signalled_at": event.time})}


def resume_requested(job: Job, event: Event[Fact], data: ResumeRequested) -> Changes:
    revival = {"revival": _revival("resume", event, data)}
    if stale(job, event):
        return revival  # the attempt that it asked for was faster in the log
    changes = become(job, JobState.QUEUED) if job.state is JobState.PAUSED else f"the job is {job.state}, not paused"
    if isinstance(changes, str):
        return changes
    return {**changes, **revival, "stop": None, "started_session": None, "pid": None}


def retry_requested(job: Job, event: Event[Fact], data: RetryRequested) -> Changes:
    retries = job.retries + 1 if data.automatic else 0
    counted = {"revival": _revival("retry", event, data), "retries": retries}
    if stale(job, event):
        return counted
    changes = become(job, JobState.RETRYING)
    if isinstance(changes, str):
        return changes
    return {**changes, **counted, **NOT_ENDED, "stop": None, "limit": None, "started_session": None, "pid": None}


def _revival(kind: str, event: Event[Fact], data: ResumeRequested | RetryRequested) -> Revival:
    return Revival(
        kind=kind,
        requested_by=data.requested_by,
        reason=data.reason,
        requested_at=event.time,
        after_attempt=event.attempt,
    )


def _ask(job: Job, event: Event[Fact], kind: StopKind, requested_by: str, reason: str) -> Changes:
    if old := stale(job, event):
        return old
    stop = Stop(kind=kind, requested_by=requested_by, reason=reason, requested_at=event.time)
    if _unexplained(job):
        return _explained(job, stop)
    if job.awaits_retry:
        return {"stop": stop}  # as if it had been asked before it failed: it is not tried again
    if job.ended:
        return f"the job is {job.state} already"
    earlier = job.stop
    if earlier is not None and _RANK[kind] <= _RANK[earlier.kind]:
        return f"a {earlier.kind} was requested already"
    if earlier is not None and kind is not StopKind.CANCEL:
        # It was told to end already; only a cancel has more to tell it: to hurry.
        stop = stop.model_copy(update={"signalled_at": earlier.signalled_at})
    if job.state not in ACTIVE:
        return {"stop": stop}
    return {"stop": stop, "state": JobState.PAUSING if kind is StopKind.PAUSE else JobState.STOPPING}


def _unexplained(job: Job) -> bool:
    """Ended without its own reason: it stopped and nobody had asked, or its process died without a word."""
    by_exit = job.state is JobState.FAILED and job.ended_by == EXIT
    return job.stop is None and (job.state is JobState.STOPPED or by_exit)


def _explained(job: Job, stop: Stop) -> dict[str, Any]:
    if stop.kind is StopKind.PAUSE:
        return {"state": JobState.PAUSED, **NOT_ENDED, "error_code": None, "error_message": None}
    changed = job.model_copy(update={"stop": stop})
    return {"stop": stop, "state": JobState.STOPPED, "error_code": asked_code(changed), "error_message": None}
