"""What the handlers of the fold share: how they answer, and when an event does not count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from events.envelope import Event
from events.job import Job
from events.lifecycle import JobState, may_become
from events.types.vocabulary import Fact

Changes = Mapping[str, Any] | str
"""Fields to change, or the reason why the event is ignored."""

NEW_ATTEMPT: Final[Mapping[str, Any]] = {
    "early_stopping": None,
    "completed_at": None,
    "end_appended_at": None,
    "ended_by": None,
    "error_code": None,
    "error_message": None,
    "last_successful_epoch": None,
    "stopped_at_epoch": None,
    "exit": None,
    "limit": None,
    "pid": None,
    "hostname": None,
    "started_session": None,
    "eta_seconds": None,
}
"""What an attempt begins with."""

NOT_ENDED: Final[Mapping[str, Any]] = {"completed_at": None, "end_appended_at": None, "ended_by": None}


def stale(job: Job, event: Event[Fact]) -> str | None:
    """Why an event of an older attempt does not count; None for one of the present attempt."""
    if event.attempt and event.attempt < job.attempt:
        return f"attempt {event.attempt} is over, attempt {job.attempt} counts"
    return None


def become(job: Job, state: JobState) -> Changes:
    if job.state == state:
        return f"the job is {state} already"
    if not may_become(job.state, state):
        return f"a job that is {job.state} cannot become {state}"
    return {"state": state}
