"""Events for tests: every builder gives a valid one, and takes what the test cares about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from events.codec import data_bytes, wire_name
from events.envelope import Event, Record
from events.registry import event_type_of
from events.types.jobs import JobCompleted, JobCreated, JobStarted, ProcessExited, TrainingResults
from events.types.logs import LogLine, LogWritten
from events.types.metrics import MetricsReported
from events.types.sessions import SessionClosed, SessionOpened
from events.types.vocabulary import Fact, LogLevel, utc_text
from training_sdk.wire import WireEvent, partition_of

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
SESSION = "0f" * 16


def event(
    data: Fact,
    *,
    job_id: int = 25,
    seq: int | None = 1,
    attempt: int = 1,
    rank: int = 0,
    session: str = SESSION,
    topic: str | None = None,
    time: datetime = NOON,
) -> Event[Fact]:
    return Event(
        topic=topic or event_type_of(type(data)).topics[0],
        key=str(job_id),
        type=wire_name(data),
        time=time,
        source=f"/jobs/{job_id}/attempts/{attempt}/ranks/{rank}",
        attempt=attempt,
        rank=rank,
        session=session,
        seq=seq,
        data=data,
    )


def wire(of: Event[Fact]) -> WireEvent:
    assert of.seq is not None
    return WireEvent(
        topic=of.topic,
        key=of.key,
        type=of.type,
        time=utc_text(of.time),
        source=of.source,
        attempt=of.attempt,
        rank=of.rank,
        session=of.session,
        seq=of.seq,
        data=data_bytes(of.data),
    )


def record(of: Event[Fact], *, offset: int, timestamp_ms: int | None = None) -> Record:
    """The event as it stands in the log at ``offset`` of its key's partition."""
    message = wire(of)
    moment = int((of.time + timedelta(milliseconds=5)).timestamp() * 1000) if timestamp_ms is None else timestamp_ms
    return Record(
        topic=of.topic,
        partition=partition_of(of.key.encode()),
        offset=offset,
        timestamp_ms=moment,
        key=of.key.encode(),
        headers=message.headers(),
        value=message.data,
    )


def job_created(**fields: Any) -> JobCreated:
    given: dict[str, Any] = {
        "name": "Vehicle Detection v1",
        "model_name": "yolo11n",
        "framework": "ultralytics",
        "task_type": "detection",
        "dataset_id": 42,
        "config": {"imgsz": 640, "epochs": 100, "batch": 16},
    }
    return JobCreated.model_validate({**given, **fields})


def job_started(**fields: Any) -> JobStarted:
    given: dict[str, Any] = {"pid": 12345, "hostname": "trainer-pod-xyz", "total_epochs": 100}
    return JobStarted.model_validate({**given, **fields})


def job_completed(**results: Any) -> JobCompleted:
    given: dict[str, Any] = {"total_epochs": 100, "best_epoch": 87, "training_time_seconds": 9000}
    return JobCompleted(training_results=TrainingResults.model_validate({**given, **results}))


def process_exited(**fields: Any) -> ProcessExited:
    return ProcessExited.model_validate({"pid": 12345, **fields})


def session_opened(sender: str = "sdk", **fields: Any) -> SessionOpened:
    return SessionOpened.model_validate({"sender": sender, **fields})


def session_closed(last_seq: dict[str, int], session: str = SESSION, closed_by: str = "sdk") -> SessionClosed:
    return SessionClosed(session=session, last_seq=last_seq, closed_by=closed_by)


def metrics_reported(
    values: dict[str, list[float | None]],
    *,
    phase: str = "train",
    first_step: int | None = 0,
    epoch: int = 1,
    first_time: float = NOON.timestamp(),
) -> MetricsReported:
    """One row a value; steps count up from ``first_step``, or are None for reports of a whole epoch."""
    rows = len(next(iter(values.values())))
    return MetricsReported(
        phase=phase,
        steps=[None if first_step is None else first_step + row for row in range(rows)],
        epochs=[epoch] * rows,
        times=[first_time + row * 0.1 for row in range(rows)],
        values=values,
    )


def log_written(*messages: str, level: LogLevel = LogLevel.INFO, time: datetime = NOON) -> LogWritten:
    lines = [
        LogLine(level=level, message=message, timestamp=time + timedelta(milliseconds=index))
        for index, message in enumerate(messages)
    ]
    return LogWritten(lines=lines)
