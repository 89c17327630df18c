"""Events as rows: one an event, one a metric point, one a log line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from training_sdk import documents
from training_sdk.replay.columns import HEADERS, TIMESTAMP
from training_sdk.replay.event import Event

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


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one event: columns in the order of a schema, and about how many bytes of text they hold."""

    columns: Sequence[Sequence[Any]]
    size_bytes: int


_NON_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def event_rows(event: Event) -> Rows:
    record = event.record
    bad = event.problem is not None
    columns: list[Sequence[Any]] = [
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
    return Rows(columns, len(record.value or b""))


def point_batch(event: Event, names: Collection[str] | None = None) -> pa.RecordBatch:
    """The points of a metrics event, metric by metric. Raises ValueError when its columns make no sense.

    ``names`` are metrics, with or without their phase: ``loss``, ``train/loss``.
    """
    data = event.data or {}
    phase, values = data.get("phase"), data.get("values")
    if not isinstance(phase, str) or not isinstance(values, dict):
        raise ValueError("phase or values is missing")
    times = _moments(_list(data, "times"))
    steps, epochs = (_whole(_list(data, name), name, len(times)) for name in ("steps", "epochs"))
    columns: list[list[pa.Array]] = [[], [], [], [], []]
    for name, column in values.items():
        if names is not None and name not in names and f"{phase}/{name}" not in names:
            continue
        measured = _numbers(column, name, len(times))
        of_metric = [steps, epochs, measured, times]
        if measured.null_count:
            of_metric = [array.filter(measured.is_valid()) for array in of_metric]
        for joined, array in zip(columns, [pa.repeat(pa.scalar(name), len(of_metric[0])), *of_metric], strict=True):
            joined.append(array)
    whole = [
        pa.concat_arrays(arrays) if arrays else pa.array([], field.type)
        for arrays, field in zip(columns, list(POINT_SCHEMA)[4:9], strict=True)
    ]
    before = (event.job_id, event.attempt, event.rank, phase)
    after = (event.append_time, event.session, event.partition, event.offset)
    return pa.record_batch(
        [*_repeated(before, 0, len(whole[0])), *whole, *_repeated(after, 9, len(whole[0]))], schema=POINT_SCHEMA
    )


def _repeated(values: Sequence[Any], first: int, rows: int) -> list[pa.Array]:
    """A column each, of one value, for the fields of POINT_SCHEMA from ``first`` on."""
    return [
        pa.repeat(pa.scalar(value, POINT_SCHEMA.field(number).type), rows)
        for number, value in enumerate(values, start=first)
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
    columns: list[Sequence[Any]] = [
        *([value] * count for value in (event.job_id, event.attempt, event.rank)),
        times,
        *texts,
        metadata,
        *([value] * count for value in (event.append_time, event.session, event.partition, event.offset)),
        list(range(count)),
    ]
    return Rows(columns, len(event.record.value or b""))


def batches(rows: Iterable[Rows], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows in batches of about BATCH_ROWS_MAX rows, or BATCH_BYTES_MAX of text: one event's may come on top."""
    columns: list[list[Any]] = [[] for _ in schema]
    size_bytes = 0
    for more in rows:
        for column, values in zip(columns, more.columns, strict=True):
            column.extend(values)
        size_bytes += more.size_bytes
        if len(columns[0]) >= BATCH_ROWS_MAX or size_bytes >= BATCH_BYTES_MAX:
            yield _batch(columns, schema)
            columns, size_bytes = [[] for _ in schema], 0
    if columns[0]:
        yield _batch(columns, schema)


def _batch(columns: list[list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def joined(small: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of about BATCH_ROWS_MAX rows from those of single events."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in small:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= BATCH_ROWS_MAX:
            yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()
            waiting, rows = [], 0
    if rows:
        yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()


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


def _whole(column: list[Any], name: str, rows: int) -> pa.Array:
    if len(column) != rows:
        raise ValueError(f"column {name!r} has {len(column)} rows, times has {rows}")
    if not set(map(type, column)) <= {int, type(None)}:
        raise ValueError(f"column {name!r} holds what is no whole number")
    return pa.array(column, pa.int64())


def _numbers(column: Any, name: str, rows: int) -> pa.Array:
    if not isinstance(column, list) or len(column) != rows:
        raise ValueError(f"column {name!r:.80} has not the {rows} rows that times has")
    if not set(map(type, column)) <= {float, type(None)}:
        column = [None if value is None else _number(value) for value in column]
    return pa.array(column, pa.float64(), from_pandas=False)


def _number(value: Any) -> float:
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"value {value!r:.60} is no number")
    return float(value)


def _moments(seconds: list[Any]) -> pa.Array:
    if not set(map(type, seconds)) <= {int, float}:
        raise ValueError("times holds what is no number of seconds")
    micros = pc.round(pc.multiply(pa.array(seconds, pa.float64()), 1e6))
    return micros.cast(pa.int64()).cast(TIMESTAMP)
