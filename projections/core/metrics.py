"""Metrics as chunks of points, with the latest point of each series beside them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from events.envelope import Event
from events.types.metrics import MetricsReported
from events.types.sessions import EventsDropped, SessionOpened
from producers.database import Connection
from producers.queries import load_queries
from projections.core.binary_copy import (
    copy_stream,
    float8_array_field,
    float8_field,
    int4_field,
    int8_array_field,
    int8_field,
    text_field,
)
from projections.core.chunks import Points, Tail, cut, finite_range
from projections.core.epochs import epoch_values
from projections.core.names import series_name
from projections.core.trail import note

TABLES: Final = Path(__file__).with_suffix(".sql")
TRAIL: Final = "metric_trail"
queries: Final = load_queries(TABLES)

CHUNK_COLUMNS: Final = (
    *("job_id", "name", "attempt", "chunk", "points", "steps", "epochs", "times", "values", "log_offsets"),
    *("append_times", "value_min", "value_max"),
)

Series = tuple[int, str, int]
"""Job id, name, attempt."""


async def open_attempt(tx: Connection, events: Sequence[Event[SessionOpened]]) -> None:
    rows = []
    for event in events:
        assert event.position is not None
        rows.append(
            {
                "job_id": event.job_id,
                "attempt": event.attempt,
                "resume_step": event.data.resume_step,
                "resume_epoch": event.data.resume_epoch,
                "opened_offset": event.position.offset,
            }
        )
    await queries.open_attempt(tx, rows)
    await queries.forget_superseded(tx, rows)
    await note(tx, TRAIL, events)


async def note_gap(tx: Connection, events: Sequence[Event[EventsDropped]]) -> None:
    rows = []
    for event in events:
        assert event.position is not None
        rows.append(
            {
                "job_id": event.job_id,
                "attempt": event.attempt,
                "partition": event.position.partition,
                "log_offset": event.position.offset,
                "dropped": event.data.count,
                "reason": event.data.reason,
            }
        )
    await queries.note_gap(tx, rows)
    await note(tx, TRAIL, events)


async def append_points(tx: Connection, events: Sequence[Event[MetricsReported]]) -> None:
    points = by_series(events)
    keys = sorted(points)
    found = await queries.tails(
        tx,
        job_ids=[job_id for job_id, _, _ in keys],
        names=[name for _, name, _ in keys],
        attempts=[attempt for _, _, attempt in keys],
    )
    tails = {(row["job_id"], row["name"], row["attempt"]): Tail(row["tail_chunk"], row["tail_points"]) for row in found}
    longer: list[dict[str, Any]] = []
    new: list[Sequence[bytes]] = []
    latest: list[dict[str, Any]] = []
    for key in keys:
        identity = {"job_id": key[0], "name": key[1], "attempt": key[2]}
        tail = tails.get(key, Tail())
        for tail, part in cut(points[key], tail):  # noqa: B020  # the last tail is what the series row remembers
            if tail.points == len(part):
                new.append(_copied_row(key, tail, part))
            else:
                longer.append({**identity, "chunk": tail.chunk, **_chunk_row(part)})
        latest.append({**identity, **_series_row(points[key], tail)})
    if longer:
        await queries.lengthen_chunks(tx, longer)
    if new:
        source = io.BytesIO(copy_stream(new))
        await tx.copy_to_table("metric_chunks", source=source, columns=CHUNK_COLUMNS, format="binary")
    await queries.save_series(tx, latest)
    if epochs := epoch_values(events):
        await queries.save_epochs(tx, epochs)
    await note(tx, TRAIL, events)


def by_series(events: Sequence[Event[MetricsReported]]) -> dict[Series, Points]:
    """Columns of events to columns of series; rows in which a series has no value are left out."""
    points: dict[Series, Points] = {}
    for event in events:
        assert event.position is not None
        assert event.append_time is not None
        data, offset, appended = event.data, event.position.offset, event.append_time.timestamp()
        steps = [math.nan if step is None else float(step) for step in data.steps]
        epochs = [math.nan if epoch is None else float(epoch) for epoch in data.epochs]
        for key, column in data.values.items():
            series = points.setdefault((event.job_id, series_name(data.phase, key), event.attempt), Points())
            rows = [row for row, value in enumerate(column) if value is not None]
            if len(rows) == len(column):
                series.steps += steps
                series.epochs += epochs
                series.times += data.times
                series.values += column  # type: ignore[arg-type]  # none is None: just counted
            else:
                series.steps += [steps[row] for row in rows]
                series.epochs += [epochs[row] for row in rows]
                series.times += [data.times[row] for row in rows]
                series.values += [value for value in column if value is not None]
            series.log_offsets += [offset] * len(rows)
            series.append_times += [appended] * len(rows)
    return {key: series for key, series in points.items() if len(series)}


def _copied_row(series: Series, tail: Tail, part: Points) -> Sequence[bytes]:
    """A new chunk, in the order of CHUNK_COLUMNS."""
    job_id, name, attempt = series
    low, high = finite_range(part.values)
    return (
        int8_field(job_id),
        text_field(name),
        int4_field(attempt),
        int8_field(tail.chunk),
        int4_field(len(part)),
        float8_array_field(part.steps),
        float8_array_field(part.epochs),
        float8_array_field(part.times),
        float8_array_field(part.values),
        int8_array_field(part.log_offsets),
        float8_array_field(part.append_times),
        float8_field(low),
        float8_field(high),
    )


def _chunk_row(part: Points) -> dict[str, Any]:
    low, high = finite_range(part.values)
    return {
        "points": len(part),
        "steps": part.steps,
        "epochs": part.epochs,
        "times": part.times,
        "values": part.values,
        "log_offsets": part.log_offsets,
        "append_times": part.append_times,
        "value_min": low,
        "value_max": high,
    }


def _series_row(points: Points, tail: Tail) -> dict[str, Any]:
    low, high = finite_range(points.values)
    return {
        "points": len(points),
        "tail_chunk": tail.chunk,
        "tail_points": tail.points,
        "last_step": points.steps[-1],
        "last_epoch": points.epochs[-1],
        "last_time": points.times[-1],
        "last_value": points.values[-1],
        "value_min": low,
        "value_max": high,
    }
