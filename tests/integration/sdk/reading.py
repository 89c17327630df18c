"""Everything a job wrote, read back from the topics."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.codec import decode
from events.envelope import Event, Record
from events.types.metrics import MetricsReported
from events.types.vocabulary import Fact
from tests.services import World
from training_sdk.wire import JOB_TOPICS, partition_of


async def events_of(world: World, job_id: int = 25) -> list[Event[Fact]]:
    """Topic after topic, in log order; a record sent twice is there twice."""
    found: list[Event[Fact]] = []
    consumer = AIOKafkaConsumer(bootstrap_servers=world.kafka_bootstrap_servers)
    await consumer.start()
    try:
        for topic in JOB_TOPICS:
            place = TopicPartition(world.topic_prefix + topic, partition_of(str(job_id).encode()))
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            offset = 0
            while offset < end:
                for raw in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                    offset = raw.offset + 1
                    found.append(decode(record(topic, raw)))
    finally:
        await consumer.stop()
    return [event for event in found if event.job_id == job_id]


def record(topic: str, raw: Any) -> Record:
    return Record(
        topic=topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp_ms=raw.timestamp,
        key=raw.key,
        headers=raw.headers,
        value=raw.value,
    )


def once(events: list[Event[Fact]]) -> list[Event[Fact]]:
    """Each (session, topic, seq) once, as every reader counts it."""
    return list({(event.session, event.topic, event.seq): event for event in events}.values())


def steps_of(events: list[Event[Fact]]) -> list[int | None]:
    return [step for event in events if isinstance(event.data, MetricsReported) for step in event.data.steps]


def unbroken(events: list[Event[Fact]]) -> bool:
    """Whether every session counts from 1 without a gap, in log order, on each topic."""
    seqs: dict[tuple[str, str], list[int]] = {}
    for event in once(events):
        seqs.setdefault((event.session, event.topic), []).append(event.seq or 0)
    return all(numbers == list(range(1, len(numbers) + 1)) for numbers in seqs.values())
