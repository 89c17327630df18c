"""The fast runner: plain aiokafka, no group, over ten times what a stream processor does. For rebuilds and checks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.envelope import Record
from events.topics import PARTITIONS
from projections.runtime.kafka_records import record_of

POLL_TIMEOUT_MS: Final = 500
BATCH_RECORDS_MAX: Final = 5_000
SILENCE_MAX_S: Final = 30.0


class LogSilent(RuntimeError):
    """The broker has records that it does not hand out."""


async def read_topic(
    bootstrap_servers: str,
    topic_prefix: str,
    topic: str,
    start: Mapping[int, int] | None = None,
    until: Mapping[int, int] | None = None,
) -> AsyncIterator[list[Record]]:
    """A topic's records in batches, from ``start`` (earliest) up to ``until`` (the end as it is now), by partition.

    ``until`` is exclusive. Raises LogSilent when records are missing for SILENCE_MAX_S, OffsetOutOfRangeError when
    some expire while they are read.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        # What expires while it is read is an error here: "latest" would jump over all the rest.
        auto_offset_reset="none",
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic_prefix + topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        position = await consumer.beginning_offsets(partitions)
        for place in partitions:
            position[place] = max(position[place], (start or {}).get(place.partition, 0))
            ends[place] = min(ends[place], (until or {}).get(place.partition, ends[place]))
            consumer.seek(place, position[place])
        silent_since = asyncio.get_running_loop().time()
        while any(position[place] < ends[place] for place in partitions):
            fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=BATCH_RECORDS_MAX)
            now = asyncio.get_running_loop().time()
            if fetched:
                silent_since = now
            elif now - silent_since > SILENCE_MAX_S:
                raise LogSilent(f"no record of {topic} for {SILENCE_MAX_S:.0f} s, though the log goes on")
            batch: list[Record] = []
            for place, messages in fetched.items():
                batch += [record_of(m, topic_prefix) for m in messages if m.offset < ends[place]]
                position[place] = messages[-1].offset + 1
            if batch:
                yield batch
    finally:
        await consumer.stop()


async def end_offsets(bootstrap_servers: str, topic_prefix: str, topic: str) -> dict[int, int]:
    """By partition, the offset that the topic's next record gets."""
    return await _offsets(bootstrap_servers, topic_prefix, topic, "end_offsets")


async def beginning_offsets(bootstrap_servers: str, topic_prefix: str, topic: str) -> dict[int, int]:
    """By partition, the first offset that the log still has."""
    return await _offsets(bootstrap_servers, topic_prefix, topic, "beginning_offsets")


async def _offsets(bootstrap_servers: str, topic_prefix: str, topic: str, which: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic_prefix + topic, number) for number in range(PARTITIONS)]
        found: dict[TopicPartition, int] = await getattr(consumer, which)(places)
    finally:
        await consumer.stop()
    return {place.partition: offset for place, offset in found.items()}


async def highest_key(bootstrap_servers: str, topic_prefix: str, topic: str) -> int:
    """The highest numeric key on a topic, 0 for none: new ids must start above it."""
    highest = 0
    async for batch in read_topic(bootstrap_servers, topic_prefix, topic):
        keys = [int(record.key) for record in batch if record.key is not None and record.key.isdigit()]
        highest = max([highest, *keys])
    return highest
