"""Records as the archive's files and back, byte for byte. Pure."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from events.codec import MalformedEvent, parse_time
from events.envelope import Record
from events.registry import BY_WIRE_NAME
from projections.archive.ranges import Ranges
from training_sdk import wire
from training_sdk.replay.columns import (
    ARCHIVE_SCHEMA,
    COMPRESSION,
    PART,
    ROW_GROUP_BYTES_MAX,
    ROW_GROUP_ROWS_MAX,
    UNREADABLE,
)

FORGOTTEN: Final = b"epochlog.forgotten"
"""Key of the ranges of offsets of which the file held a record that was forgotten."""

INT32_MAX: Final = 2**31 - 1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What a file holds, and what it says about itself."""

    records: list[Record]
    part: Mapping[str, int]
    forgotten: Ranges


class NotAFile(ValueError):
    """Bytes that are no file of the archive."""


def day_of(record: Record) -> date:
    """Of its append time, in UTC."""
    return _append_time(record).date()


def event_of(record: Record) -> str:
    """The type that the record is filed under: UNREADABLE where its headers or its type are not ours."""
    event = _wire_event(record)
    return UNREADABLE if event is None else event.type


def job_of(record: Record) -> int | None:
    """The job that its key names, also where the rest cannot be read."""
    key = record.key
    if record.topic not in wire.JOB_TOPICS or key is None or not key.isdigit() or len(key) > 18:
        return None
    return int(key)


def to_parquet(records: Sequence[Record], part: Mapping[str, int], forgotten: Ranges) -> bytes:
    """A file of the archive; the same bytes for the same input."""
    says = {PART: orjson.dumps(dict(part)), FORGOTTEN: orjson.dumps(forgotten)}
    schema = ARCHIVE_SCHEMA.with_metadata(says)
    output = io.BytesIO()
    with pq.ParquetWriter(output, schema, compression=COMPRESSION) as writer:
        # Group by group: as Python's objects, rows take many times their bytes.
        for first, following in _row_groups([len(record.value or b"") for record in records]):
            rows = [_row(record) for record in records[first:following]]
            columns = {name: [row[name] for row in rows] for name in ARCHIVE_SCHEMA.names}
            writer.write_table(pa.Table.from_pydict(columns, schema=schema), row_group_size=ROW_GROUP_ROWS_MAX)
    return output.getvalue()


def from_parquet(content: bytes) -> File:
    """Raises NotAFile."""
    try:
        table = pq.read_table(pa.BufferReader(content))
        says = table.schema.metadata or {}
        if table.schema.remove_metadata() != ARCHIVE_SCHEMA:
            raise NotAFile("its columns are not those of the archive")
        part, forgotten = orjson.loads(says[PART]), orjson.loads(says[FORGOTTEN])
        return File(records=list(_records(table)), part=part, forgotten=forgotten)
    except (pa.ArrowException, OSError, KeyError, orjson.JSONDecodeError) as error:
        raise NotAFile(f"it cannot be read: {error!r}") from error


def _row_groups(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where to cut rows of these sizes, so that no group is too large for a reader."""
    first = size = 0
    for number, value in enumerate(sizes):
        full = number - first >= ROW_GROUP_ROWS_MAX or size + value > ROW_GROUP_BYTES_MAX
        if full and number > first:
            yield first, number
            first, size = number, 0
        size += value
    if first < len(sizes):
        yield first, len(sizes)


def _append_time(record: Record) -> datetime:
    return EPOCH + timedelta(milliseconds=record.timestamp_ms)


def _wire_event(record: Record) -> wire.WireEvent | None:
    try:
        event = wire.wire_event(record.topic, record.key, record.headers, record.value)
    except wire.MalformedHeaders:
        return None
    known = BY_WIRE_NAME.get(event.type)
    return event if known is not None and record.topic in known.topics else None


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(ARCHIVE_SCHEMA.names)
    row |= {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "append_time": _append_time(record),
        "key": record.key,
        "headers": [{"name": name, "value": value} for name, value in record.headers],
        "value": record.value,
    }
    event = _wire_event(record)
    if event is not None:
        name, _, version = event.type.rpartition(".v")
        row |= {
            "event_id": event.id,
            "type": name,
            "version": int(version),
            "job_id": job_of(record),
            "session": event.session,
            "seq": event.seq,
            "attempt": event.attempt if event.attempt <= INT32_MAX else None,
            "rank": event.rank if event.rank <= INT32_MAX else None,
            "time": _time(event.time),
        }
    return row


def _time(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except (MalformedEvent, OverflowError):
        return None


def _records(table: pa.Table) -> Iterator[Record]:
    wanted = ("topic", "partition", "offset", "append_time", "key", "headers", "value")
    columns = [table[name].cast(pa.int64()) if name == "append_time" else table[name] for name in wanted]
    for batch in pa.Table.from_arrays(columns, names=list(wanted)).to_batches():
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            topic, partition, offset, appended_us, key, headers, value = row
            yield Record(
                topic=topic,
                partition=partition,
                offset=offset,
                timestamp_ms=appended_us // 1000,
                key=key,
                headers=[(header["name"], header["value"]) for header in headers],
                value=value,
            )
