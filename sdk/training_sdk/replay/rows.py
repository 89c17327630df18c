"""Events as rows: one an event, one a metric point, one a log line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import pyarrow as pa

from training_sdk import documents
from training_sdk.replay.columns import HEADERS, TIMESTAMP
from training_sdk.replay.event import EPOCH, Event

BATCH_ROWS_MAX: Final = 50_000
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of JSON, in a batch of events."""

EVENT_SCHEMA: Final = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("append_time", TIMESTAMP, nullable=False),
        pa.field("key", pa.binary()),
        pa.field("event_id", pa.string()),
        pa.field("type", pa.string()),
        pa.field("version", pa.int32()),
        pa.field("job_id", pa.int64()),
        pa.field("session", pa.string()),
        pa.field("seq", pa.int64()),
        pa.field("attempt", pa.int32()),
        pa.field("rank", pa.int32()),
        pa.field("time", TIMESTAMP),
        pa.field("source", pa.string()),
        pa.field("data", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("headers", HEADERS),
        pa.field("value", pa.binary()),
    ]
)
"""``data`` is JSON of the newest version; ``version`` is the one that was written. ``problem``, ``headers`` and
``value`` (the original bytes) are those of records that are no event, whose other columns are null."""

POINT_SCHEMA: Final = pa.schema(
    [
        pa.field("job_id", pa.int64(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("step", pa.int64()),
        pa.field("epoch", pa.int64()),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("time", TIMESTAMP, nullable=False),
        pa.field("append_time", TIMESTAMP, nullable=False),
        pa.field("session", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ]
)

LINE_SCHEMA: Final = pa.schema(
    [
        pa.field("job_id", pa.int64(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("time", TIMESTAMP, nullable=False),
        pa.field("level", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("metadata", pa.string()),
        pa.field("append_time", TIMESTAMP, nullable=False),
        pa.field("session", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("line", pa.int32(), nullable=False),
    ]
)
"""``metadata`` is JSON; ``line`` counts the lines of an event from 0."""

Rows = Sequence[Sequence[Any]]
"""Columns, in the order of a schema."""

_NON_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def event_rows(event: Event) -> Rows:
    record = event.record
    bad = event.problem is not None
    return [
        [record.topic],
        [record.partition],
        [record.offset],
        [record.append_time],
        [record.key],
        [event.id],
        [event.type],
        [event.version],
        [event.job_id],
        [event.session],
        [event.seq],
        [event.attempt],
        [event.rank],
        [event.time],
        [event.source],
        [None if event.data is None else orjson.dumps(event.data).decode()],
        [event.problem],
        [[{"name": name, "value": value} for name, value in record.headers] if bad else None],
        [record.value if bad else None],
    ]


def point_rows(event: Event, names: Collection[str] | None = None) -> Rows:
    """The points of a metrics event, metric by metric. Raises ValueError when its columns make no sense.

    ``names`` are metrics, with or without their phase: ``loss``, ``train/loss``.
    """
    data = event.data or {}
    phase, values = data.get("phase"), data.get("values")
    times = [_unix(moment) for moment in _list(data, "times")]
    steps, epochs = (_whole(_list(data, name), name, len(times)) for name in ("steps", "epochs"))
    if not isinstance(phase, str) or not isinstance(values, dict):
        raise ValueError("phase or values is missing")
    columns: list[list[Any]] = [[], [], [], [], []]
    for name, column in values.items():
        if names is not None and name not in names and f"{phase}/{name}" not in names:
            continue
        if not isinstance(column, list) or len(column) != len(times):
            raise ValueError(f"column {name!r:.80} has not the {len(times)} rows that times has")
        rows = [row for row, value in enumerate(column) if value is not None]
        columns[0] += [name] * len(rows)
        columns[1] += [steps[row] for row in rows]
        columns[2] += [epochs[row] for row in rows]
        columns[3] += [_number(column[row]) for row in rows]
        columns[4] += [times[row] for row in rows]
    points = len(columns[0])
    return [
        *([value] * points for value in (event.job_id, event.attempt, event.rank, phase)),
        *columns,
        *([value] * points for value in (event.append_time, event.session, event.partition, event.offset)),
    ]


def line_rows(event: Event) -> Rows:
    """The lines of a log event. Raises ValueError when they make no sense."""
    lines = _list(event.data or {}, "lines")
    texts: list[list[str]] = [[], [], []]
    times, metadata = [], []
    for line in lines:
        if not isinstance(line, dict):
            raise ValueError("a line is no JSON object")
        times.append(documents.read_time(_text(line, "timestamp")))
        for column, name in zip(texts, ("level", "source", "message"), strict=True):
            column.append("trainer" if name == "source" and name not in line else _text(line, name))
        given = line.get("metadata")
        metadata.append(None if given is None else orjson.dumps(given).decode())
    count = len(lines)
    return [
        *([value] * count for value in (event.job_id, event.attempt, event.rank)),
        times,
        *texts,
        metadata,
        *([value] * count for value in (event.append_time, event.session, event.partition, event.offset)),
        list(range(count)),
    ]


def batches(events: Iterable[Event], schema: pa.Schema, rows_of: Callable[[Event], Rows]) -> Iterator[pa.RecordBatch]:
    """The rows of the events in batches that hold at most BATCH_ROWS_MAX rows more than one event's.

    Raises ValueError where ``rows_of`` does.
    """
    columns: list[list[Any]] = [[] for _ in schema]
    size_bytes = 0
    for event in events:
        for column, more in zip(columns, rows_of(event), strict=True):
            column.extend(more)
        size_bytes += len(event.record.value or b"")
        if len(columns[0]) >= BATCH_ROWS_MAX or size_bytes >= BATCH_BYTES_MAX:
            yield _batch(columns, schema)
            columns, size_bytes = [[] for _ in schema], 0
    if columns[0]:
        yield _batch(columns, schema)


def _batch(columns: list[list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _list(data: dict[str, Any], name: str) -> list[Any]:
    found = data.get(name)
    if not isinstance(found, list):
        raise ValueError(f"{name} is no list")
    return found


def _text(line: dict[str, Any], name: str) -> str:
    found = line.get(name)
    if not isinstance(found, str):
        raise ValueError(f"{name} of a line is no text")
    return found


def _whole(column: list[Any], name: str, rows: int) -> list[int | None]:
    if len(column) != rows:
        raise ValueError(f"column {name!r} has {len(column)} rows, times has {rows}")
    if not set(map(type, column)) <= {int, type(None)}:
        raise ValueError(f"column {name!r} holds what is no whole number")
    return column


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"value {value!r:.60} is no number")
    return float(value)


def _unix(seconds: Any) -> datetime:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError(f"time {seconds!r:.60} is no number of seconds")
    try:
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"time {seconds!r:.60} is out of range") from error
