"""The states of a job and the one table of steps between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    PENDING = "pending"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    LOST = "lost"
    RETRYING = "retrying"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


FINISHING: Final = "finishing"
"""Not a state of the fold: what a reader is shown until all of an ended run is applied."""

S = JobState
ACTIVE: Final = frozenset({S.STARTING, S.RUNNING, S.PAUSING, S.STOPPING, S.LOST})
"""An attempt exists and has not ended."""
WAITING: Final = frozenset({S.PENDING, S.QUEUED, S.RETRYING})
"""The next attempt is to be started."""
TERMINAL: Final = frozenset({S.COMPLETED, S.STOPPED, S.FAILED})
_ENDS: Final = frozenset({S.COMPLETED, S.STOPPED, S.FAILED})

TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    S.PENDING: frozenset({S.QUEUED, S.STARTING, S.RUNNING, S.PAUSED}) | _ENDS,
    S.QUEUED: frozenset({S.STARTING, S.RUNNING, S.PAUSED}) | _ENDS,
    S.STARTING: frozenset({S.RUNNING, S.STOPPING, S.PAUSING, S.LOST}) | _ENDS,
    S.RUNNING: frozenset({S.STOPPING, S.PAUSING, S.LOST}) | _ENDS,
    S.PAUSING: frozenset({S.PAUSED, S.STOPPING, S.LOST}) | _ENDS,
    S.PAUSED: frozenset({S.QUEUED, S.STARTING, S.RUNNING}) | _ENDS,
    S.STOPPING: frozenset({S.LOST}) | _ENDS,
    S.LOST: frozenset({S.STARTING, S.RUNNING, S.STOPPING, S.PAUSING, S.PAUSED}) | _ENDS,
    S.RETRYING: frozenset({S.QUEUED, S.STARTING, S.RUNNING, S.PAUSED}) | _ENDS,
    # An end is final, but an end that was only judged from the process's exit gives way to the trainer's own last
    # word, which may be found in its spool later (events.ends looks at Job.ended_by). An end that nothing explains
    # gives way to the request or the limit that caused it, which may be read later (events.asked).
    S.FAILED: frozenset({S.RETRYING, S.COMPLETED, S.STOPPED, S.PAUSED}),
    S.STOPPED: frozenset({S.COMPLETED, S.FAILED, S.PAUSED}),
    S.COMPLETED: frozenset(),
}

_STATUS: Final[Mapping[JobState, str]] = {
    S.PENDING: "pending",
    S.QUEUED: "pending",
    S.STARTING: "pending",
    S.RUNNING: "running",
    S.PAUSING: "running",
    S.PAUSED: "running",
    S.STOPPING: "running",
    S.LOST: "running",
    S.RETRYING: "running",
    S.COMPLETED: "completed",
    S.STOPPED: "stopped",
    S.FAILED: "failed",
}


def status_of(state: JobState) -> str:
    """One of the five words that the API answers with: pending, running, completed, stopped, failed."""
    return _STATUS[state]


def may_become(current: JobState, following: JobState) -> bool:
    return following in TRANSITIONS[current]
