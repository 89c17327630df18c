"""Is the archive what the log was? Its parts join without a gap, each file is what was written, and where the log still
has the records they are equal byte for byte."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from events.envelope import Record
from events.topics import PARTITIONS
from producers.database import Connection
from projections.archive import ledger
from projections.archive.files import is_purge
from projections.archive.ledger import Kept, Part, held
from projections.archive.log_reader import LogReader
from projections.archive.parquet import File, NotAFile, day_of, event_of, from_parquet, job_of
from projections.archive.reading import Archive
from projections.archive.store import sha256_of
from projections.archive.writer import write_again
from training_sdk.replay.columns import parse_key

LOCK_TIMEOUT_S: Final = 120.0
DIFFERENCES_SHOWN_MAX: Final = 20
"""Of the records of one part; more are counted."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Report:
    """What a check looked at and found. ``compared``: records that the log still had, too."""

    parts: int = 0
    records: int = 0
    compared: int = 0
    differences: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


async def check(archive: Archive, log: LogReader, topics: Sequence[str], *, repair: bool = False) -> Report:
    """Look at everything archived of these topics. ``repair`` writes broken parts anew, where the log has them.

    What was repaired stands in ``repaired`` and not in ``differences``. Up to where a partition is whole is noted
    in the ledger. Raises Busy, Unavailable and what Postgres and Kafka raise when they fail.
    """
    report = Report()
    for topic in topics:
        in_bucket = await archive.store.keys(f"{topic}/")
        for partition in range(PARTITIONS):
            await _check_place(archive, log, (topic, partition), report, repair)
        async with archive.pool.acquire(timeout=30) as connection:
            known = {row["key"] for row in await ledger.queries.keys_of_topic(connection, topic=topic)}
        report.differences += [
            f"s3://{archive.store.bucket}/{key}: no part in the ledger has this file"
            for key in in_bucket
            if key not in known
        ]
    return report


async def _check_place(archive: Archive, log: LogReader, place: ledger.Place, report: Report, repair: bool) -> None:
    async with archive.pool.acquire(timeout=30) as connection:
        parts = await ledger.parts(connection, place)
    whole_up_to: int | None = None
    whole = True
    for before, part in zip([None, *parts], parts, strict=False):
        found = _joins(before, part)
        if part.state == "lost":
            found.append(f"{part}: was gone from the log before it was archived")
        if part.state == "done":
            # Held, so that nobody writes a file anew between the ledger's word and a look at it.
            async with held(archive.pool, place, timeout_s=LOCK_TIMEOUT_S) as connection:
                broken = await _check_part(archive, log, connection, part, report)
                if broken and repair and await log.earliest(place) <= part.first_offset:
                    await write_again(connection, archive.store, log, part)
                    report.repaired += broken
                    broken = await _check_part(archive, log, connection, part, Report())
                found += broken
        report.parts += 1
        report.differences += found
        whole = whole and not found and part.state == "done"
        if whole:
            whole_up_to = part.next_offset
    if whole_up_to is not None:
        topic, partition = place
        async with archive.pool.acquire(timeout=30) as connection:
            await ledger.queries.note_check(connection, topic=topic, partition=partition, next_offset=whole_up_to)


def _joins(before: Part | None, part: Part) -> list[str]:
    if before is None or before.next_offset == part.first_offset:
        return []
    what = "a gap" if before.next_offset < part.first_offset else "an overlap"
    return [f"{part}: {what} after the part before it, which ends at {before.next_offset}"]


async def _check_part(
    archive: Archive, log: LogReader, connection: Connection, part: Part, report: Report
) -> list[str]:
    """What is wrong with a part, each a line for people."""
    found: list[str] = []
    records: list[Record] = []
    forgotten: set[int] = set()
    objects = await ledger.objects(connection, part)
    asked = {row["job_id"] for row in await ledger.queries.asked_to_forget(connection, topic=part.topic)}
    for kept in objects:
        file, problem = await _read(archive, kept)
        if file is not None:
            problem = problem or _file_problem(file, kept, {other.key for other in objects}, asked)
            records += file.records
            forgotten |= {offset for first, following in file.forgotten for offset in range(first, following)}
        if problem:
            found.append(f"s3://{archive.store.bucket}/{kept.key}: {problem}")
    if found:
        return found
    report.records += len(records)
    found += [f"{part}: {problem}" for problem in _balance(part, records, forgotten)]
    earliest = await log.earliest(part.place)
    first = max(earliest, part.first_offset)
    if first < part.next_offset:
        original = await log.read_all(part.place, first, part.next_offset)
        report.compared += len(original)
        differing = list(_differing(original, [record for record in records if record.offset >= first], forgotten))
        found += [f"{part}: {problem}" for problem in differing[:DIFFERENCES_SHOWN_MAX]]
        if len(differing) > DIFFERENCES_SHOWN_MAX:
            found.append(f"{part}: and {len(differing) - DIFFERENCES_SHOWN_MAX} more records that differ")
    return found


async def _read(archive: Archive, kept: Kept) -> tuple[File | None, str | None]:
    content = await archive.store.read(kept.key)
    if content is None:
        return None, "it is missing"
    if len(content) != kept.bytes or sha256_of(content) != kept.sha256:
        return None, f"its {len(content)} bytes are not the {kept.bytes} that were written"
    try:
        return from_parquet(content), None
    except NotAFile as error:
        return None, str(error)


def _file_problem(file: File, kept: Kept, keys: Collection[str], asked: Collection[int]) -> str | None:
    name = parse_key(kept.key)
    if len(file.records) != kept.rows or file.forgotten != kept.forgotten or set(file.part) != set(keys):
        return "what it says about itself is not what the ledger says"
    for record in file.records:
        place = (record.topic, record.partition, event_of(record), day_of(record))
        if place != (name.topic, name.partition, name.event, name.day):
            return f"the record of offset {record.offset} belongs into another file"
        if job_of(record) in asked and not is_purge(record):
            return f"the record of offset {record.offset} is of job {job_of(record)}, which was to be forgotten"
    return None


def _balance(part: Part, records: Sequence[Record], forgotten: Collection[int]) -> Iterator[str]:
    offsets = {record.offset for record in records}
    if len(offsets) != len(records):
        yield f"{len(records) - len(offsets)} offsets are there twice"
    if outside := sorted(offset for offset in offsets if not part.first_offset <= offset < part.next_offset):
        yield f"offset {outside[0]} is outside of it"
    if len(offsets | set(forgotten)) != part.records:
        yield f"{len(offsets)} records and {len(forgotten)} forgotten are not the {part.records} there were"


def _differing(original: Sequence[Record], archived: Sequence[Record], forgotten: Collection[int]) -> Iterator[str]:
    by_offset = {record.offset: record for record in archived}
    for record in original:
        found = by_offset.pop(record.offset, None)
        if found is None:
            if record.offset not in forgotten:
                yield f"offset {record.offset} is in the log and not in the archive"
        elif _bytes_of(found) != _bytes_of(record):
            yield f"offset {record.offset} is not what stands in the log"
    for offset in sorted(by_offset):
        yield f"offset {offset} is in the archive and not in the log"


def _bytes_of(record: Record) -> tuple[bytes | None, list[tuple[str, bytes]], bytes | None, int]:
    return record.key, list(record.headers), record.value, record.timestamp_ms
