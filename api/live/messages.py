"""What of the log is shown on a WebSocket, and how. Frames are encoded once, whoever gets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from events.envelope import Event, Position
from events.types.checkpoints import CheckpointSaved
from events.types.deletion import JobDeleted, JobPurged, JobRestored
from events.types.jobs import (
    JobCompleted,
    JobCreated,
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
)
from events.types.logs import LogWritten
from events.types.metrics import MetricsReported
from events.types.requests import CancelRequested, LimitExceeded, PauseRequested, ResumeRequested, RetryRequested
from events.types.vocabulary import Fact, json_bytes
from training_sdk.wire import JOBS, LOGS, METRICS

LIVE_TOPICS: Final = (JOBS, METRICS, LOGS)

JOB_CREATED, JOB_STATUS, PROGRESS, METRIC, CHECKPOINT, LOG, ERROR = (
    *("job_created", "job_status", "progress", "metrics", "checkpoint", "log", "error"),
)
JOB_DELETED, JOB_RESTORED, JOB_PURGED = "job_deleted", "job_restored", "job_purged"
STATUS_CHANGES: Final = (
    *(JobQueued, JobLaunched, JobStarted, StopRequested, StopDecided, JobLost, JobFound),
    *(CancelRequested, PauseRequested, ResumeRequested, RetryRequested, LimitExceeded),
    *(JobCompleted, JobFailed, JobStopped, ProcessExited),
)
"""After one of these a reader may see another status; the job itself is asked which."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A message for clients. ``full`` replaces ``data`` for clients that asked for every point.

    ``slot`` names what a newer frame of the same slot replaces when a plain client is slow. ``time`` is the event's
    own, RFC 3339; full clients get it too.
    """

    type: str
    data: bytes
    full: bytes | None = None
    slot: str | None = None
    time: bytes | None = None

    def text(self, *, full: bool, cursor: bytes | None = None) -> str:
        body = self.full if full and self.full is not None else self.data
        with_cursor = b"" if cursor is None else b',"cursor":"' + cursor + b'"'
        with_time = b',"time":"' + self.time + b'"' if full and self.time is not None else b""
        return (b'{"type":"' + self.type.encode() + b'","data":' + body + with_time + with_cursor + b"}").decode()


@dataclass(frozen=True, slots=True)
class Update:
    """One event as frames, with its place and number, by which a subscriber drops what it has."""

    job_id: int
    position: Position
    session: str
    seq: int
    frames: tuple[Frame, ...]
    may_change_status: bool = False


def update_of(event: Event[Fact]) -> Update:
    """The event as clients see it; no frames for what they are not shown."""
    assert event.position is not None
    assert event.seq is not None
    make = MESSAGES.get(type(event.data))
    if isinstance(event.data, JobPurged) and event.topic != JOBS:
        make = None  # it stands on every topic and is told once
    moment = event.time.isoformat().replace("+00:00", "Z").encode()
    frames = tuple(replace(frame, time=moment) for frame in make(event.data, event.job_id)) if make is not None else ()
    changes = isinstance(event.data, STATUS_CHANGES)
    return Update(event.job_id, event.position, event.session, event.seq, frames, changes)


def _created(data: JobCreated, job_id: int) -> tuple[Frame, ...]:
    return (Frame(JOB_CREATED, json_bytes({"id": job_id, "name": data.name, "status": "pending"})),)


def _deleted(data: JobDeleted, job_id: int) -> tuple[Frame, ...]:
    return (Frame(JOB_DELETED, json_bytes({"id": job_id, "requested_by": data.requested_by, "reason": data.reason})),)


def _restored(data: JobRestored, job_id: int) -> tuple[Frame, ...]:
    return (Frame(JOB_RESTORED, json_bytes({"id": job_id, "requested_by": data.requested_by, "reason": data.reason})),)


def _purged(data: JobPurged, job_id: int) -> tuple[Frame, ...]:
    return (Frame(JOB_PURGED, json_bytes({"id": job_id, "requested_by": data.requested_by, "reason": data.reason})),)


def _progressed(data: ProgressReported, job_id: int) -> tuple[Frame, ...]:
    shown = {"epoch": data.epoch, "total": data.total_epochs, "phase": data.phase}
    if data.eta_seconds is not None:
        shown["eta_seconds"] = data.eta_seconds
    return (Frame(PROGRESS, json_bytes(shown), slot=PROGRESS),)


def _measured(data: MetricsReported, job_id: int) -> tuple[Frame, ...]:
    """The newest point as the design's message; the whole event for clients that want every point."""
    if not data.times:
        return ()
    last = {name: column[-1] for name, column in data.values.items() if column[-1] is not None}
    newest = {"epoch": data.epochs[-1], "metrics": last, "phase": data.phase, "step": data.steps[-1]}
    return (Frame(METRIC, json_bytes(newest), json_bytes(data.model_dump(mode="json")), slot=f"metrics/{data.phase}"),)


def _checkpoint(data: CheckpointSaved, job_id: int) -> tuple[Frame, ...]:
    shown = {"path": data.checkpoint_path, "is_best": data.is_best, "epoch": data.epoch}
    return (Frame(CHECKPOINT, json_bytes(shown)),)


def _logged(data: LogWritten, job_id: int) -> tuple[Frame, ...]:
    return tuple(
        Frame(
            LOG,
            orjson.dumps(
                {
                    "level": line.level,
                    "message": line.message,
                    "timestamp": line.timestamp,
                    "source": line.source,
                },
                option=orjson.OPT_UTC_Z,
            ),
        )
        for line in data.lines
    )


MESSAGES: Final[Mapping[type[Fact], Callable[[Any, int], tuple[Frame, ...]]]] = {
    JobCreated: _created,
    JobDeleted: _deleted,
    JobRestored: _restored,
    JobPurged: _purged,
    ProgressReported: _progressed,
    MetricsReported: _measured,
    CheckpointSaved: _checkpoint,
    LogWritten: _logged,
}


def status_frame(status: str, state: str) -> Frame:
    return Frame(JOB_STATUS, orjson.dumps({"status": status, "state": state}))


def error_frame(code: str | None, message: str | None) -> Frame:
    return Frame(ERROR, orjson.dumps({"code": code or "UNKNOWN", "message": message or ""}))
