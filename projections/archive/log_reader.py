"""Ranges of the log, as many records at a time as fit into a part. Kafka is the buffer: nothing waits in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from events.envelope import Record
from events.topics import PARTITIONS
from projections.archive.ledger import Place
from projections.runtime.kafka_records import record_of
from projections.runtime.replay import BATCH_RECORDS_MAX, POLL_TIMEOUT_MS, SILENCE_MAX_S, LogSilent
from projections.settings import Settings

FETCH_BYTES_MAX: Final = 4 * 1024**2


class Gone(LookupError):
    """The log does not have these records any more."""


def payload_bytes(record: Record) -> int:
    """What a record brings along: key, headers, value."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


class LogReader:
    """One consumer without a group. Raises aiokafka.errors.KafkaError and LogSilent when the broker does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.topic_prefix
        self._records_max = settings.archive_part_records
        self._bytes_max = settings.archive_part_bytes
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            # What retention took away must be noticed, not stepped over.
            auto_offset_reset="none",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
        )

    async def start(self) -> None:
        await self._consumer.start()

    async def stop(self) -> None:
        await self._consumer.stop()

    async def ends(self, topics: Sequence[str]) -> dict[Place, int]:
        """The offset of the record to come, by place."""
        places = [self._topic_partition((topic, number)) for topic in topics for number in range(PARTITIONS)]
        ends = await self._consumer.end_offsets(places)
        return {(place.topic.removeprefix(self._prefix), place.partition): end for place, end in ends.items()}

    async def first_since(self, topics: Sequence[str], moment: datetime) -> dict[Place, int]:
        """The first offset that was appended at ``moment`` or later, by place; the end where none was."""
        found = dict(await self.ends(topics))
        wanted = {self._topic_partition(place): int(moment.timestamp() * 1000) for place in found}
        for source, answer in (await self._consumer.offsets_for_times(wanted)).items():
            if answer is not None:
                found[source.topic.removeprefix(self._prefix), source.partition] = answer.offset
        return found

    async def earliest(self, place: Place) -> int:
        """The first offset that the log still has."""
        wanted = self._topic_partition(place)
        first: int = (await self._consumer.beginning_offsets([wanted]))[wanted]
        return first

    async def read(self, place: Place, first: int, until: int) -> tuple[list[Record], int]:
        """The records from ``first`` on that make a part, and where the next part begins. Raises Gone."""
        return await self._read(place, first, until, self._records_max, self._bytes_max)

    async def read_all(self, place: Place, first: int, until: int) -> list[Record]:
        """All records of a range that was a part before. Raises Gone."""
        records, _ = await self._read(place, first, until, until - first, None)
        return records

    async def _read(
        self, place: Place, first: int, until: int, records_max: int, bytes_max: int | None
    ) -> tuple[list[Record], int]:
        source = self._topic_partition(place)
        if self._consumer.assignment() != {source}:
            self._consumer.assign([source])
        self._consumer.seek(source, first)
        records: list[Record] = []
        position, size = first, 0
        now = asyncio.get_running_loop().time
        moved_at = now()
        while position < until and len(records) < records_max and (bytes_max is None or size < bytes_max):
            wanted = min(BATCH_RECORDS_MAX, records_max - len(records))
            try:
                fetched = await self._consumer.getmany(source, timeout_ms=POLL_TIMEOUT_MS, max_records=wanted)
            except OffsetOutOfRangeError as error:
                topic, partition = place
                raise Gone(f"{topic}/{partition} has no offset {position} any more") from error
            batch = [record_of(message, self._prefix) for message in fetched.get(source, ()) if message.offset < until]
            records += batch
            size += sum(map(payload_bytes, batch))
            # The consumer's own position: offsets that hold no record (marks of transactions) are passed, too.
            reached = await self._consumer.position(source)
            if reached > position:
                position, moved_at = reached, now()
            elif now() - moved_at > SILENCE_MAX_S:
                raise LogSilent(f"no record of {place[0]} for {SILENCE_MAX_S:.0f} s, though the log goes on")
        return records, min(position, until)

    def _topic_partition(self, place: Place) -> TopicPartition:
        return TopicPartition(self._prefix + place[0], place[1])
