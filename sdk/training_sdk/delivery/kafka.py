"""Straight to Kafka."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from training_sdk.delivery.transport import TransportError
from training_sdk.wire import PARTITIONS, WireEvent, partition_of

START_TIMEOUT_S: Final = 10.0
SEND_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 2.0

logger = logging.getLogger("training_sdk")


class KafkaTransport:
    """One idempotent producer with acks=all, replaced after any failure.

    A failed future poisons an aiokafka producer: its sequence numbers went on without the lost batch and the broker
    refuses everything after it. So the producer is thrown away and the caller sends again from the spool, in order.
    """

    def __init__(self, bootstrap_servers: str, topic_prefix: str = "") -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic_prefix = topic_prefix
        self._producer: AIOKafkaProducer | None = None
        # aiokafka writes an error for each attempt; in somebody's training script our one warning is enough.
        if logging.getLogger("aiokafka").level == logging.NOTSET:
            logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def send(self, events: Sequence[WireEvent]) -> None:
        try:
            producer = await self._ready()
            await asyncio.wait_for(self._send_all(producer, events), SEND_TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError, RuntimeError) as error:
            await self._abandon()
            raise TransportError(f"Kafka at {self._bootstrap_servers}: {error!r}") from error

    async def _send_all(self, producer: AIOKafkaProducer, events: Sequence[WireEvent]) -> None:
        acknowledgements: list[asyncio.Future[object]] = []
        try:
            for event in events:
                key = event.key.encode()
                acknowledgements.append(
                    await producer.send(
                        self._topic_prefix + event.topic,
                        value=event.data,
                        key=key,
                        partition=partition_of(key, PARTITIONS),
                        headers=event.headers(),
                    )
                )
        finally:
            outcomes = await asyncio.gather(*acknowledgements, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _ready(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                client_id="training-sdk",
                acks="all",
                enable_idempotence=True,
                linger_ms=0,  # the sender gathers calls itself
                max_batch_size=256 * 1024,
                request_timeout_ms=20_000,
                max_request_size=1_048_576,
            )
            self._producer = producer
            await asyncio.wait_for(producer.start(), START_TIMEOUT_S)
        return self._producer

    async def _abandon(self) -> None:
        """Throw the producer away. ``stop()`` would wait for its batches, which never expire without a broker."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        producer._closed = True  # no public way to leave without flushing
        sender = producer._sender
        try:
            # Connections first: the sending task, once cancelled, still waits for the answers that are on the way.
            await asyncio.wait_for(producer.client.close(), STOP_TIMEOUT_S)
            if sender is not None and sender.sender_task is not None:
                sender.sender_task.cancel()
                await asyncio.wait([sender.sender_task], timeout=STOP_TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            logger.debug("leaving a Kafka connection behind: %r", error)

    async def close(self) -> None:
        if self._producer is not None:
            try:
                await asyncio.wait_for(self._producer.stop(), STOP_TIMEOUT_S)
                self._producer = None
            except (KafkaError, OSError, TimeoutError) as error:
                logger.debug("Kafka producer did not stop in time: %r", error)
                await self._abandon()
