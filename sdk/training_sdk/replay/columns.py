"""What the archive's files are called and which columns they have: the contract of its writer and its readers.

A file holds the records of one event type that were appended on one day (UTC) to one partition, in the order of their
offsets. ``event=`` and ``day=`` in its path are what DuckDB, Polars and pyarrow call hive partitioning: a query that
asks for a type or a day opens no other file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

import pyarrow as pa

UNREADABLE: Final = "unreadable"
"""Stands for the event type of records that are no event of ours."""

ROW_GROUP_ROWS_MAX: Final = 10_000
ROW_GROUP_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of values in a row group. Readers hold one group at a time, so this bounds their memory."""

COMPRESSION: Final = "zstd"

PART: Final = b"epochlog.part"
"""Key of what each file says about its part: the names of all its files, with the rows each was written with."""

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
HEADERS: Final = pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))

ARCHIVE_SCHEMA: Final = pa.schema(
    [
        # The record as it stood in the log, byte for byte.
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("append_time", TIMESTAMP, nullable=False),
        pa.field("key", pa.binary()),
        pa.field("headers", HEADERS, nullable=False),
        pa.field("value", pa.binary()),
        # What its headers say, for queries; all null where it is no event.
        pa.field("event_id", pa.string()),
        pa.field("type", pa.string()),
        pa.field("version", pa.int32()),
        pa.field("job_id", pa.int64()),
        pa.field("session", pa.string()),
        pa.field("seq", pa.int64()),
        pa.field("attempt", pa.int32()),
        pa.field("rank", pa.int32()),
        pa.field("time", TIMESTAMP),
    ]
)
"""``topic`` is the logical name; ``type`` has no version; ``job_id`` is null on topics whose key is no job id."""

_NAME: Final = re.compile(
    r"(?P<topic>[^/=]+)/event=(?P<event>[^/=]+)/day=(?P<day>\d{4}-\d{2}-\d{2})"
    r"/(?P<partition>\d{2,})-(?P<first>\d{20})-(?P<next>\d{20})\.parquet"
)


@dataclass(frozen=True, slots=True, order=True)
class ArchiveObject:
    """One file of the archive. ``first_offset`` and ``next_offset`` are the range of the part that it belongs to.

    All files of a part, one a type and day, have the same range, so the files of any one type need not have a row for
    every offset of it.
    """

    topic: str
    event: str
    """The type with its version (``training.log.written.v1``), or UNREADABLE."""
    day: date
    partition: int
    first_offset: int
    next_offset: int

    @property
    def key(self) -> str:
        """Its name in the bucket."""
        return (
            f"{self.topic}/event={self.event}/day={self.day.isoformat()}"
            f"/{self.partition:02d}-{self.first_offset:020d}-{self.next_offset:020d}.parquet"
        )


def parse_key(key: str) -> ArchiveObject:
    """What an object's name says. Raises ValueError for a name that is none of the archive's."""
    found = _NAME.fullmatch(key)
    if found is None:
        raise ValueError(
            f"object {key[:200]!r} is none of the archive's; "
            "wanted <topic>/event=<type>/day=<YYYY-MM-DD>/<partition>-<first offset>-<next offset>.parquet"
        )
    return ArchiveObject(
        topic=found["topic"],
        event=found["event"],
        day=date.fromisoformat(found["day"]),
        partition=int(found["partition"]),
        first_offset=int(found["first"]),
        next_offset=int(found["next"]),
    )
