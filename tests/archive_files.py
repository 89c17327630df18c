"""Objects of an archive as its writer makes them, for tests of its readers."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from minio import Minio

from events.codec import MalformedEvent, decode
from events.envelope import Record
from training_sdk.replay.columns import ARCHIVE_SCHEMA, COMPRESSION, UNREADABLE, ArchiveObject
from training_sdk.wire import JOB_TOPICS


def write_part(
    store: Minio, bucket: str, records: Sequence[Record], first: int, after: int, group_rows: int = 10_000
) -> list[ArchiveObject]:
    """The files of one part: records of one partition with offsets from ``first`` to before ``after``."""
    rows: dict[ArchiveObject, list[dict[str, Any]]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.offset):
        row = _row(record)
        event = UNREADABLE if row["type"] is None else f"{row['type']}.v{row['version']}"
        day: date = row["append_time"].date()
        rows[ArchiveObject(record.topic, event, day, record.partition, first, after)].append(row)
    for name, found in rows.items():
        file = io.BytesIO()
        table = pa.Table.from_pylist(found, ARCHIVE_SCHEMA)
        pq.write_table(table, file, compression=COMPRESSION, row_group_size=group_rows)
        length = file.tell()
        file.seek(0)
        store.put_object(bucket, name.key, file, length)
    return list(rows)


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "append_time": datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
        "key": record.key,
        "headers": [{"name": name, "value": value} for name, value in record.headers],
        "value": record.value,
        "type": None,
    }
    try:
        event = decode(record)
    except MalformedEvent:
        return row
    name, _, version = event.type.rpartition(".v")
    return {
        **row,
        "event_id": f"{event.session}:{event.topic}:{event.seq}",
        "type": name,
        "version": int(version),
        "job_id": int(event.key) if event.topic in JOB_TOPICS else None,
        "session": event.session,
        "seq": event.seq,
        "attempt": event.attempt,
        "rank": event.rank,
        "time": event.time,
    }
