"""Append events to the log: all acknowledged, or an error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from events.envelope import Position, Record
from training_sdk.wire import WireEvent, partition_of

REQUEST_TIMEOUT_S: Final = 10.0
START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 5.0
BATCH_BYTES_MAX: Final = 262_144
REQUEST_BYTES_MAX: Final = 1_048_576


class PublishFailed(RuntimeError):
    """Not every event was acknowledged. Some may be in the log: send them again under the same seq."""


class Publisher(Protocol):
    async def start(self) -> None:
        """Raises PublishFailed when the log cannot be reached."""

    async def publish(self, events: Sequence[WireEvent]) -> list[Position]:
        """Append in order. Returns each event's position. Raises PublishFailed; the publisher is unusable then."""

    async def append(self, records: Sequence[Record]) -> list[Position]:
        """Records once more, byte for byte, each to the partition it names; offset and time are the broker's.

        Raises as publish does.
        """

    async def close(self) -> None:
        """Safe to call twice."""


class KafkaPublisher:
    """Idempotent, acknowledged by all replicas, partition chosen here.

    After any failure the underlying producer must not be used again (its sequence numbers may have a hole): the next
    ``publish`` starts a new one.
    """

    def __init__(self, bootstrap_servers: str, topic_prefix: str = "") -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic_prefix = topic_prefix
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        await self._ready()

    async def _ready(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap_servers,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    max_batch_size=BATCH_BYTES_MAX,
                    max_request_size=REQUEST_BYTES_MAX,
                    request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
                )
                try:
                    await asyncio.wait_for(producer.start(), START_TIMEOUT_S)
                except (KafkaError, OSError, TimeoutError) as error:
                    await _abandon(producer)
                    raise PublishFailed(f"Kafka at {self._bootstrap_servers} cannot be reached: {error!r}") from error
                self._producer = producer
            return self._producer

    async def publish(self, events: Sequence[WireEvent]) -> list[Position]:
        return await self.append([record_of_event(event) for event in events])

    async def append(self, records: Sequence[Record]) -> list[Position]:
        producer = await self._ready()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S + 5):
                pending = [
                    await producer.send(
                        self._topic_prefix + record.topic,
                        value=record.value,
                        key=record.key,
                        partition=record.partition,
                        headers=list(record.headers),
                    )
                    for record in records
                ]
                done = await asyncio.gather(*pending)
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            if self._producer is producer:
                self._producer = None
            await _abandon(producer)
            raise PublishFailed(f"not acknowledged by Kafka: {error!r}") from error
        return [
            Position(record.topic, metadata.partition, metadata.offset)
            for record, metadata in zip(records, done, strict=True)
        ]

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _abandon(producer)


def record_of_event(event: WireEvent) -> Record:
    """The event as it is to be appended; where and when, the broker says."""
    return Record(
        topic=event.topic,
        partition=partition_of(event.key.encode()),
        offset=-1,
        timestamp_ms=-1,
        key=event.key.encode(),
        headers=event.headers(),
        value=event.data,
    )


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop a producer that may never answer again: with the broker down ``stop`` waits for ever."""
    stopping = asyncio.ensure_future(producer.stop())
    done, _ = await asyncio.wait({stopping}, timeout=STOP_TIMEOUT_S)
    if not done:
        stopping.cancel()
        await asyncio.wait({stopping}, timeout=1)
    elif not stopping.cancelled():
        stopping.exception()  # read, so that it is not reported as forgotten: the producer is given up
