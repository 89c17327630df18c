"""What happens to a job, as it happens: the WebSocket's frames, each once, over every break of the connection."""

from __future__ import annotations

import contextlib
import time as clock
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import orjson

from training_sdk.delivery.transport import backoff_s
from training_sdk.service.requests import ApiError, Service
from training_sdk.service.websocket import SocketClosed, WebSocket

ENDED: Final = frozenset({"completed", "stopped", "failed"})
SILENCE_MAX_S: Final = 15.0
"""Without a frame for this long the job is asked for over HTTP: a lost connection must not look like a slow epoch."""
SILENCE_AFTER_BREAK_S: Final = 2.0
"""An end that came while the connection was broken is in no frame after it."""
PINGLESS_MAX_S: Final = 40.0
"""Twice what the service waits between pings: nobody is at the other end any more, though nothing closed it."""
UNREACHABLE_MAX_S: Final = 600.0
UNKNOWN_JOB: Final = 4404
BAD_CURSOR: Final = 4400


@dataclass(frozen=True, slots=True)
class Update:
    """``type``: snapshot, job_status, progress, metrics, checkpoint, log, error or gap (something was left out).

    ``data`` is as the service sends it; metrics come in columns, every point. ``str()`` is a line for people.
    """

    type: str
    data: Mapping[str, Any]
    time: datetime | None = None

    def __str__(self) -> str:
        return _LINES.get(self.type, _plain)(self.data) or self.type


def follow(service: Service, job_id: int, timeout_s: float | None = None) -> Iterator[Update]:
    """Updates until the job has ended; the first one is a snapshot of the job as it is.

    A break is bridged: the next connection goes on behind the last frame. Raises TimeoutError when the job has not
    ended in time, ApiError when there is no such job or the service stays out of reach for UNREACHABLE_MAX_S.
    """
    deadline = None if timeout_s is None else clock.monotonic() + timeout_s
    cursor: str | None = None
    failures, heard_at = 0, clock.monotonic()
    while True:
        try:
            with contextlib.closing(WebSocket(_address(service, job_id, cursor))) as connection:
                silence_s = SILENCE_MAX_S if cursor is None else SILENCE_AFTER_BREAK_S
                while True:
                    text = connection.receive(_bounded(silence_s, deadline, job_id))
                    failures, heard_at = 0, clock.monotonic()
                    if text is None:
                        silence_s = SILENCE_MAX_S
                        job = service.ask("GET", f"training/jobs/{job_id}")
                        if has_ended(job):
                            yield Update("job_status", {"status": job["status"], "state": job["state"]})
                            return
                        if clock.monotonic() - connection.heard_at > PINGLESS_MAX_S:
                            raise SocketClosed(1006, f"not even a ping came for {PINGLESS_MAX_S:.0f} s")
                        continue
                    frame = orjson.loads(text)
                    cursor = frame.get("cursor") or cursor
                    update = _update(frame)
                    yield update
                    if _says_end(update) and has_ended(service.ask("GET", f"training/jobs/{job_id}")):
                        return
        except SocketClosed as error:
            if error.code == UNKNOWN_JOB:
                raise ApiError(f"there is no training job {job_id}", 404) from error
            if error.code == BAD_CURSOR:
                cursor = None
            reason: Exception = error
        except ApiError as error:
            if error.status not in (0, 503):
                raise
            reason = error
        except (OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and deadline is not None and clock.monotonic() >= deadline:
                raise
            reason = error
        failures += 1
        if clock.monotonic() - heard_at > UNREACHABLE_MAX_S:
            raise ApiError(f"{service.url} is out of reach for {UNREACHABLE_MAX_S:.0f} s: {reason}") from reason
        clock.sleep(_bounded(backoff_s(failures), deadline, job_id))


def has_ended(job: Mapping[str, Any]) -> bool:
    """Whether nothing more happens by itself: a failure that the launcher tries again is no end."""
    return job["status"] in ENDED and not job["awaits_retry"]


def _says_end(update: Update) -> bool:
    job = update.data.get("job", {}) if update.type == "snapshot" else update.data
    return update.type in ("snapshot", "job_status") and job.get("status") in ENDED


def _bounded(seconds: float, deadline: float | None, job_id: int) -> float:
    if deadline is None:
        return seconds
    left = deadline - clock.monotonic()
    if left <= 0:
        raise TimeoutError(f"job {job_id} has not ended in time")
    return min(seconds, left)


def _address(service: Service, job_id: int, cursor: str | None) -> str:
    scheme, _, rest = service.url.partition("://")
    after = f"&after={quote(cursor, safe='')}" if cursor else ""
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws/training?job_id={job_id}&protocol=2{after}"


def _update(frame: Mapping[str, Any]) -> Update:
    moment = frame.get("time")
    data = frame.get("data")
    return Update(
        str(frame.get("type")),
        data if isinstance(data, Mapping) else {},
        datetime.fromisoformat(moment) if isinstance(moment, str) else None,
    )


def _plain(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in data.items() if not isinstance(value, (dict, list)))


def _snapshot(data: Mapping[str, Any]) -> str:
    job = data.get("job", {})
    name = f" ({job['name']})" if job.get("name") else ""
    epoch = f", epoch {job['current_epoch']} of {job.get('total_epochs')}" if job.get("current_epoch") else ""
    return f"job {job.get('id')}{name}: {job.get('state')}{epoch}"


def _progress(data: Mapping[str, Any]) -> str:
    left = data.get("eta_seconds")
    return f"epoch {data.get('epoch')} of {data.get('total')} ({data.get('phase')})" + (
        f", {left:.0f} s left" if isinstance(left, (int, float)) else ""
    )


def _metrics(data: Mapping[str, Any]) -> str:
    newest = {
        name: next((value for value in reversed(column) if value is not None), None)
        for name, column in (data.get("values") or {}).items()
    }
    shown = ", ".join(
        f"{name} {value:.5g}" if isinstance(value, (int, float)) else f"{name} {value}"
        for name, value in newest.items()
    )
    epoch = (data.get("epochs") or [None])[-1]
    return f"{data.get('phase')}" + (f", epoch {epoch}" if epoch is not None else "") + f": {shown}"


def _checkpoint(data: Mapping[str, Any]) -> str:
    return f"checkpoint {data.get('path')}" + (" (best)" if data.get("is_best") else "")


_LINES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "snapshot": _snapshot,
    "job_status": lambda data: f"status: {data.get('status')} ({data.get('state')})",
    "progress": _progress,
    "metrics": _metrics,
    "checkpoint": _checkpoint,
    "log": lambda data: f"{data.get('level')}: {data.get('message')}",
    "error": lambda data: f"{data.get('code')}: {data.get('message')}",
}
