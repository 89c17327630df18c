"""Follow a job over the WebSocket until it ends: fold the frames, measure how old they are, reconnect."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

TERMINAL: Final = frozenset({"completed", "stopped", "failed"})
SILENCE_MAX_S: Final = 20.0
"""Without a frame for this long the job is asked for over HTTP: a lost socket must not look like a slow epoch."""
RECONNECT_FIRST_S: Final = 0.2
RECONNECT_MAX_S: Final = 5.0
UNREACHABLE_MAX_S: Final = 120.0
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
NOTES_MAX: Final = 200


class FollowFailed(RuntimeError):
    """The job could not be followed to its end; the message says why and which log to read."""


@dataclass(slots=True)
class Followed:
    """What the frames said so far. ``latencies_s``: receipt minus the event's own time, of events seen live."""

    status: str = "pending"
    state: str | None = None
    epoch: int = 0
    total_epochs: int = 0
    phase: str = ""
    eta_s: float | None = None
    loss: float | None = None
    map50: float | None = None
    best_map50: float | None = None
    error: str | None = None
    cursor: str | None = None
    live_since: float = 0.0
    frames: dict[str, int] = field(default_factory=dict)
    points: int = 0
    checkpoints: int = 0
    gaps: int = 0
    reconnects: int = 0
    latencies_s: list[float] = field(default_factory=list)
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=NOTES_MAX))
    """For people; whoever shows them takes them out."""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


def fold(followed: Followed, frame: Mapping[str, Any], received_at: float) -> None:
    """Take one frame in. ``received_at`` is Unix seconds; the same machine's clock stamped the event."""
    kind = str(frame.get("type"))
    data: Mapping[str, Any] = frame.get("data") or {}
    followed.frames[kind] = followed.frames.get(kind, 0) + 1
    if cursor := frame.get("cursor"):
        followed.cursor = str(cursor)
    happened = event_time(frame)
    # What was sent before we listened arrives late because we asked late.
    if kind != "snapshot" and happened is not None and happened >= followed.live_since:
        followed.latencies_s.append(received_at - happened)
    match kind:
        case "snapshot":
            _take_job(followed, data.get("job") or data)
        case "job_status":
            _take_job(followed, data)
        case "progress":
            followed.epoch = int(data.get("epoch") or followed.epoch)
            followed.total_epochs = int(data.get("total") or followed.total_epochs)
            followed.phase = str(data.get("phase") or "")
            followed.eta_s = _number(data.get("eta_seconds"))
        case "metrics":
            _take_metrics(followed, data)
        case "checkpoint":
            followed.checkpoints += 1
        case "log":
            if data.get("level") in ("WARNING", "ERROR"):
                followed.notes.append(f"{data['level']}: {data.get('message')}")
        case "error":
            followed.error = f"{data.get('code')}: {data.get('message')}"
            followed.notes.append(followed.error)
        case "gap":
            followed.gaps += 1


def event_time(frame: Mapping[str, Any]) -> float | None:
    """The event's own time in Unix seconds, as the envelope says; None for frames of no event."""
    text = frame.get("time")
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None


def _take_job(followed: Followed, job: Mapping[str, Any]) -> None:
    followed.status = str(job.get("status") or followed.status)
    followed.state = job.get("state") or followed.state
    followed.epoch = int(job.get("current_epoch") or followed.epoch)


def _take_metrics(followed: Followed, data: Mapping[str, Any]) -> None:
    """The event in columns, as protocol 2 sends it: of each column the newest value, of mAP50 also the best."""
    columns: Mapping[str, list[Any]] = data.get("values") or {}
    metrics = {
        name: next((value for value in reversed(column) if value is not None), None) for name, column in columns.items()
    }
    followed.points += sum(value is not None for column in columns.values() for value in column)
    if data.get("phase") != "train":
        metrics.pop("loss", None)
    if (loss := _number(metrics.get("loss"))) is not None:
        followed.loss = loss
    if (map50 := _number(metrics.get("mAP50"))) is not None:
        followed.map50 = map50
        followed.best_map50 = max(map50, followed.best_map50 or 0.0)


def _number(value: Any) -> float | None:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return number if number is not None and math.isfinite(number) else None


def socket_url(backend_url: str, job_id: int, cursor: str | None) -> str:
    parts = urlsplit(backend_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    after = f"&after={quote(cursor, safe='')}" if cursor else ""
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/ws/training?job_id={job_id}&protocol=2{after}"


async def follow(
    backend_url: str,
    api: httpx.AsyncClient,
    job_id: int,
    show: Callable[[Followed], None],
    *,
    timeout_s: float,
) -> Followed:
    """Follow the job to its terminal status; ``show`` is called after every frame.

    A broken connection is taken up again after the last cursor. Raises FollowFailed when the job has not ended after
    ``timeout_s`` or the API stays out of reach for UNREACHABLE_MAX_S.
    """
    followed = Followed()
    try:
        async with asyncio.timeout(timeout_s):
            await _until_ended(followed, backend_url, api, job_id, show)
    except TimeoutError:
        message = f"job {job_id} is still {followed.status} ({followed.state}) at epoch {followed.epoch}"
        raise FollowFailed(f"{message} after {timeout_s:.0f} s") from None
    return followed


async def _until_ended(
    followed: Followed, backend_url: str, api: httpx.AsyncClient, job_id: int, show: Callable[[Followed], None]
) -> None:
    pause_s, heard_at = RECONNECT_FIRST_S, time.monotonic()
    while not followed.ended:
        try:
            url = socket_url(backend_url, job_id, followed.cursor)
            async with connect(url, max_size=FRAME_BYTES_MAX, open_timeout=10) as socket:
                followed.live_since = time.time()
                pause_s = RECONNECT_FIRST_S
                while not followed.ended:
                    try:
                        text = await asyncio.wait_for(socket.recv(), SILENCE_MAX_S)
                    except TimeoutError:
                        await _ask(followed, api, job_id)
                        show(followed)
                        continue
                    fold(followed, orjson.loads(text), time.time())
                    heard_at = time.monotonic()
                    show(followed)
        except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError) as error:
            if time.monotonic() - heard_at > UNREACHABLE_MAX_S:
                raise FollowFailed(
                    f"the API's WebSocket is out of reach for {UNREACHABLE_MAX_S:.0f} s: {error}"
                ) from error
            followed.reconnects += 1
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RECONNECT_MAX_S)


async def _ask(followed: Followed, api: httpx.AsyncClient, job_id: int) -> None:
    """The job's status over HTTP; an API that is away right now is the socket's business."""
    try:
        answer = await api.get(f"training/jobs/{job_id}")
        answer.raise_for_status()
    except httpx.HTTPError as error:
        followed.notes.append(f"GET training/jobs/{job_id}: {error}")
        return
    _take_job(followed, answer.json())
