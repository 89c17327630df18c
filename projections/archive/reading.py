"""The archive as a source of records, and the log with the archive before it: a replay of what topics dropped."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from events.envelope import Record
from producers.database import Pool
from projections.archive import ledger
from projections.archive.ledger import Kept, Part
from projections.archive.store import Store, sha256_of
from projections.runtime.replay import BATCH_RECORDS_MAX, beginning_offsets, read_topic
from projections.runtime.source import Records, RecordsMissing
from projections.settings import Settings

logger = logging.getLogger(__name__)


class ArchiveBroken(RecordsMissing):
    """A file of the archive is missing, or is not what was written."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where the archive is: its ledger and its bucket."""

    pool: Pool
    store: Store

    @classmethod
    def of(cls, pool: Pool, settings: Settings) -> Archive:
        return cls(pool, Store(settings))


async def read_archived(
    archive: Archive, topic: str, start: Mapping[int, int], until: Mapping[int, int]
) -> AsyncIterator[list[Record]]:
    """The archived records of a topic in batches, by partition from ``start`` (0) up to ``until`` (exclusive).

    Partitions that ``until`` does not name are left out. Records come in the order of their offsets, a partition after
    the other; what is not archived is missing. Holds one part in memory. Raises ArchiveBroken and Unavailable.
    """
    for partition, end in sorted(until.items()):
        first = start.get(partition, 0)
        if first >= end:
            continue
        async with archive.pool.acquire(timeout=30) as connection:
            parts = await ledger.parts(connection, (topic, partition), first)
        for part in parts:
            if part.state == "done" and part.first_offset < end:
                wanted = (record for record in await _records(archive, part) if first <= record.offset < end)
                while batch := list(itertools.islice(wanted, BATCH_RECORDS_MAX)):
                    yield batch


async def _records(archive: Archive, part: Part) -> list[Record]:
    async with archive.pool.acquire(timeout=30) as connection:
        files = await ledger.objects(connection, part)
    read = [await read_file(archive.store, kept) for kept in files]
    return list(heapq.merge(*read, key=lambda record: record.offset))


async def read_file(store: Store, kept: Kept) -> list[Record]:
    """Raises ArchiveBroken, Unavailable."""
    # Imported here: every worker could read the archive, few ever do, and pyarrow is large.
    from projections.archive.parquet import NotAFile, from_parquet

    content = await store.read(kept.key)
    if content is None:
        raise ArchiveBroken(f"s3://{store.bucket}/{kept.key} is missing; run: python -m projections archive repair")
    if sha256_of(content) != kept.sha256:
        raise ArchiveBroken(
            f"s3://{store.bucket}/{kept.key} is not what was written; run: python -m projections archive repair"
        )
    try:
        return (await asyncio.to_thread(from_parquet, content)).records
    except NotAFile as error:
        raise ArchiveBroken(f"s3://{store.bucket}/{kept.key}: {error}") from error


async def not_archived(archive: Archive, topic: str, partition: int, first: int, end: int) -> list[tuple[int, int]]:
    """The ranges of offsets between ``first`` and ``end`` that the archive does not have."""
    async with archive.pool.acquire(timeout=30) as connection:
        parts = await ledger.parts(connection, (topic, partition), first)
    missing = []
    for part in parts:
        if part.state == "done" and first < end:
            if part.first_offset > first:
                missing.append((first, min(part.first_offset, end)))
            first = max(first, part.next_offset)
    return [*missing, (first, end)] if first < end else missing


async def read_dropped(
    archive: Archive,
    bootstrap_servers: str,
    topic_prefix: str,
    topic: str,
    position: dict[int, int],
    until: Mapping[int, int] | None = None,
) -> AsyncIterator[list[Record]]:
    """What lies between ``position`` and the log's first offsets, from the archive. Moves ``position`` there.

    What the archive does not have either is named in this process's log and stepped over. Raises ArchiveBroken and
    Unavailable.
    """
    # Retention may move on while the archive is read: asked again until nothing is behind it.
    while True:
        earliest = await beginning_offsets(bootstrap_servers, topic_prefix, topic)
        ends = {partition: min(first, (until or {}).get(partition, first)) for partition, first in earliest.items()}
        dropped = {partition: end for partition, end in ends.items() if position.get(partition, 0) < end}
        if not dropped:
            return
        async for batch in read_archived(archive, topic, position, dropped):
            yield batch
        for partition, end in dropped.items():
            for gap in await not_archived(archive, topic, partition, position.get(partition, 0), end):
                logger.error("%s/%d: offsets %d to %d are in log and archive no more", topic, partition, *gap)
            position[partition] = end


async def read_history(
    archive: Archive,
    bootstrap_servers: str,
    topic_prefix: str,
    topic: str,
    start: Mapping[int, int] | None = None,
    until: Mapping[int, int] | None = None,
) -> AsyncIterator[list[Record]]:
    """As replay.read_topic, and what the log dropped comes from the archive first. No gap, no overlap.

    Raises ArchiveBroken, Unavailable, LogSilent.
    """
    position = dict(start or {})
    async for batch in read_dropped(archive, bootstrap_servers, topic_prefix, topic, position, until):
        yield batch
    async for batch in read_topic(bootstrap_servers, topic_prefix, topic, position, until):
        yield batch


def history_records(archive: Archive, settings: Settings) -> Records:
    """What archive and log have together, for a build: it begins where nothing is missing from there on."""
    servers, prefix = settings.kafka_bootstrap_servers, settings.topic_prefix

    async def first(topic: str) -> Mapping[int, int]:
        in_log = await beginning_offsets(servers, prefix, topic)
        return {place: await whole_from(archive, topic, place, end) for place, end in in_log.items() if end > 0}

    async def source(topic: str, start: Mapping[int, int], until: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        async for batch in read_history(archive, servers, prefix, topic, start, until):
            yield batch

    return Records(source, first)


async def whole_from(archive: Archive, topic: str, partition: int, end: int) -> int:
    """The first offset from which on the archive has everything up to ``end``; ``end`` where it does not reach it."""
    gaps = await not_archived(archive, topic, partition, 0, end)
    return gaps[-1][1] if gaps else 0
