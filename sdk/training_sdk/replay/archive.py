"""The log in the archive: Parquet files in the object store, chosen by their names, read by row groups."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from training_sdk.replay.columns import PART, UNREADABLE, ArchiveObject, parse_key
from training_sdk.replay.event import EPOCH, Record
from training_sdk.replay.kafka import Chunk, LogUnreadable
from training_sdk.replay.selection import Selection

WHOLE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A file up to here is fetched with one request, a larger one by the ranges that are needed."""
CHUNK_RECORDS_MAX: Final = 200
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of what is unpacked at once from a row group (which is held packed, and is at most 32 MiB when unpacked)."""
_RECORD_COLUMNS: Final = ("topic", "partition", "offset", "append_time", "key", "headers", "value", "job_id")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One file of the archive, and what the store says of it."""

    name: ArchiveObject
    size_bytes: int
    etag: str | None


class Archive:
    """The bucket that the service's archive writes."""

    def __init__(self, store: Minio, bucket: str) -> None:
        self._store = store
        self.bucket = bucket

    def exists(self) -> bool:
        """Raises LogUnreadable."""
        with _readable(self.bucket):
            return self._store.bucket_exists(self.bucket)

    def objects(self, topic: str) -> list[StoredObject]:
        """Every file of a topic, by partition and offsets; other objects in the bucket are passed over.

        Raises LogUnreadable.
        """
        found = []
        with _readable(self.bucket):
            for item in self._store.list_objects(self.bucket, prefix=f"{topic}/", recursive=True):
                try:
                    name = parse_key(item.object_name or "")
                except ValueError:
                    continue
                found.append(StoredObject(name, item.size or 0, item.etag))
        return sorted(found, key=lambda stored: _place(stored.name))

    def finished(self, objects: Sequence[StoredObject]) -> list[StoredObject]:
        """These files without a partition's last part while it is being written: some of its files are not there yet.

        ``objects`` are all files of their partitions, in order. Raises LogUnreadable.
        """
        left: list[StoredObject] = []
        for _, of_partition in groupby(objects, key=lambda stored: stored.name.partition):
            parts = [list(part) for _, part in groupby(of_partition, key=lambda stored: _part(stored.name))]
            *before, last = parts
            left += [stored for part in before for stored in part]
            if self._names_of_part(last[0]) <= {stored.name.key for stored in last}:
                left += last
        return left

    def _names_of_part(self, stored: StoredObject) -> set[str]:
        with _readable(stored.name.key):
            says = pq.read_metadata(self._open(stored)).metadata or {}
            return set(orjson.loads(says.get(PART, b"{}")))

    def read(self, objects: Sequence[StoredObject], selection: Selection, below: Mapping[int, int]) -> Iterator[Chunk]:
        """The records of these files, each partition's in log order, up to, not including, the offsets ``below``.

        A record that the selection does not want may be among them. Raises LogUnreadable.
        """
        for (partition, first, after), part in groupby(objects, key=lambda stored: _part(stored.name)):
            stop = min(after, below.get(partition, after))
            passed = first
            for records in _cut(heapq.merge(*(self._records(item, selection) for item in part), key=_offset)):
                records = [record for record in records if record.offset < stop]
                if records:
                    yield Chunk(records, records[-1].offset + 1 - passed)
                    passed = records[-1].offset + 1
            yield Chunk([], max(0, stop - passed))

    def _records(self, stored: StoredObject, selection: Selection) -> Iterator[Record]:
        with _readable(stored.name.key):
            file = pq.ParquetFile(self._open(stored), pre_buffer=True)
            for group in range(file.metadata.num_row_groups):
                if not _may_hold(file.metadata.row_group(group), selection):
                    continue
                rows = _rows_at_once(file.metadata.row_group(group))
                for batch in file.iter_batches(rows, row_groups=[group], columns=list(_RECORD_COLUMNS)):
                    yield from _records_of(_of_jobs(batch, selection))

    def _open(self, stored: StoredObject) -> io.RawIOBase | io.BytesIO:
        if stored.size_bytes <= WHOLE_BYTES_MAX:
            return io.BytesIO(self._get(stored))
        return _RangeFile(self, stored)

    def _get(self, stored: StoredObject, offset: int = 0, length: int = 0) -> bytes:
        # A file is rewritten when a job is deleted for good: parts of the old and the new one make no file.
        headers: dict[str, str | list[str] | tuple[str]] = {"If-Match": f'"{stored.etag}"'} if stored.etag else {}
        response = self._store.get_object(
            self.bucket, stored.name.key, offset=offset, length=length, request_headers=headers
        )
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()


class _RangeFile(io.RawIOBase):
    """An object of the store as a file that is read in pieces."""

    def __init__(self, archive: Archive, stored: StoredObject) -> None:
        self._archive = archive
        self._stored = stored
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._stored.size_bytes}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._stored.size_bytes - self._position)
        if length <= 0:
            return 0
        piece = self._archive._get(self._stored, self._position, length)
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """What the store or the file's format says becomes LogUnreadable with the name of what was read."""
    try:
        yield
    except (MinioException, urllib3.exceptions.HTTPError, pa.ArrowException, ValueError) as error:
        if isinstance(error, S3Error) and error.code in ("PreconditionFailed", "NoSuchKey"):
            raise LogUnreadable(f"{name} was rewritten while it was read; read again") from error
        raise LogUnreadable(
            f"the archive cannot be read: {name}: {error}; source='kafka' reads what Kafka has without it"
        ) from error


def wanted(objects: Iterable[StoredObject], selection: Selection, topic: str) -> list[StoredObject]:
    """The files that may hold what is wanted, by what their names say."""
    partitions = set(selection.partitions(topic))
    found = []
    for stored in objects:
        name = stored.name
        if name.partition not in partitions or not selection.wants_day(name.day):
            continue
        start, stop = selection.range_of(topic, name.partition)
        if name.next_offset <= start or (stop is not None and name.first_offset >= stop):
            continue
        # What the service could not read may well be an event to whoever asks for none but the newest rules.
        if name.event == UNREADABLE or selection.wants_type(name.event):
            found.append(stored)
    return found


def _place(name: ArchiveObject) -> tuple[int, int, int, str, str]:
    return (*_part(name), name.event, name.day.isoformat())


def _part(name: ArchiveObject) -> tuple[int, int, int]:
    return name.partition, name.first_offset, name.next_offset


def _offset(record: Record) -> int:
    return record.offset


def _cut(records: Iterable[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK_RECORDS_MAX:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _rows_at_once(group: Any) -> int:
    row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
    return int(max(1, min(CHUNK_RECORDS_MAX, BATCH_BYTES_MAX // row_bytes)))


def _may_hold(group: Any, selection: Selection) -> bool:
    """Whether a row group may hold what is wanted, by the least and greatest values that its columns note."""
    ranges = {}
    for number in range(group.num_columns):
        column = group.column(number)
        if column.is_stats_set and column.statistics.has_min_max:
            ranges[column.path_in_schema] = (column.statistics.min, column.statistics.max, column.statistics.null_count)
    low, high, _ = ranges.get("append_time", (None, None, 0))
    if low is not None and (
        (selection.since is not None and high < selection.since)
        or (selection.until is not None and low >= selection.until)
    ):
        return False
    low, high, nulls = ranges.get("job_id", (None, None, 0))
    if low is None or selection.job_ids is None or nulls:
        return True
    return any(low <= job_id <= high for job_id in selection.job_ids)


def _of_jobs(batch: pa.RecordBatch, selection: Selection) -> pa.RecordBatch:
    """The rows of the wanted jobs, and those that name no job: their keys are looked at later."""
    if selection.job_ids is None:
        return batch
    column = batch.column("job_id")
    mine = pc.is_in(column, value_set=pa.array(sorted(selection.job_ids), pa.int64()))
    return batch.filter(pc.or_(mine, pc.is_null(column)))


def _records_of(batch: pa.RecordBatch) -> Iterator[Record]:
    columns = [batch.column(name) for name in _RECORD_COLUMNS[:-1]]
    columns[3] = columns[3].cast(pa.int64())
    for topic, partition, offset, appended, key, headers, value in zip(
        *(column.to_pylist() for column in columns), strict=True
    ):
        yield Record(
            topic=topic,
            partition=partition,
            offset=offset,
            append_time=_from_microseconds(appended),
            key=key,
            headers=tuple((header["name"], header["value"]) for header in headers),
            value=value,
        )


def _from_microseconds(count: int) -> datetime:
    return EPOCH + timedelta(microseconds=count)


def holes(objects: Iterable[StoredObject], start: int, stop: int | None, selection: Selection) -> list[tuple[int, int]]:
    """Ranges of offsets of one partition that no file covers, though the selection may want records in them.

    ``objects`` are all files of the partition, in order; without ``stop`` the archive ends where its last file does.
    A hole is not wanted when the files around it show that its records are too old or too new.
    """
    found: list[tuple[int, int]] = []
    reached, last_day = start, None
    for (_, first, after), part in groupby(objects, key=lambda stored: _part(stored.name)):
        days = [stored.name.day for stored in part]
        first = first if stop is None else min(first, stop)
        too_old = selection.since is not None and min(days) < selection.since.date()
        if first > reached and not too_old and not _too_new(last_day, selection):
            found.append((reached, first))
        reached, last_day = max(reached, after), max(days)
    if stop is not None and reached < stop and not _too_new(last_day, selection):
        found.append((reached, stop))
    return found


def _too_new(day: date | None, selection: Selection) -> bool:
    return day is not None and selection.until is not None and datetime.combine(day, time.min, UTC) >= selection.until
