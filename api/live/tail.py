"""Follows the log once for the whole process, without a group, from its end, and hands updates to the hub."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from api.live.hub import Hub
from api.live.messages import LIVE_TOPICS, update_of
from api.log_ends import Ends
from events.codec import MalformedEvent, decode
from events.envelope import Record
from events.topics import PARTITIONS, TOPIC_NAMES

BACK_OFF_FIRST_S: Final = 0.2
BACK_OFF_MAX_S: Final = 5.0
POLL_TIMEOUT_MS: Final = 1_000
ENDS_TIMEOUT_S: Final = 3.0
logger = logging.getLogger(__name__)


def record_of(message: Any, topic_prefix: str) -> Record:
    """An aiokafka ConsumerRecord as ours."""
    return Record(
        topic=message.topic.removeprefix(topic_prefix),
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=message.timestamp,
        key=message.key,
        headers=message.headers,
        value=message.value,
    )


class LogTail:
    """``run`` for ever; after an outage it goes on where it was, so that no update is missed."""

    def __init__(self, bootstrap_servers: str, topic_prefix: str, hub: Hub) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic_prefix = topic_prefix
        self._hub = hub
        self._positions: dict[TopicPartition, int] = {}
        self._consumer: AIOKafkaConsumer | None = None

    @property
    def connected(self) -> bool:
        return self._consumer is not None

    async def run(self) -> None:
        """Until cancelled."""
        back_off_s = BACK_OFF_FIRST_S
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, TimeoutError) as error:
                logger.warning("live tail: %r; trying again in %.1f s", error, back_off_s)
            await asyncio.sleep(back_off_s)
            back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=500,
            request_timeout_ms=10_000,
        )
        try:
            await asyncio.wait_for(consumer.start(), 15)
            places = [
                TopicPartition(self._topic_prefix + topic, number)
                for topic in LIVE_TOPICS
                for number in range(PARTITIONS)
            ]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            for place in places:
                self._positions.setdefault(place, ends[place])
                consumer.seek(place, self._positions[place])
            self._consumer = consumer
            while True:
                fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=2_000)
                for place, messages in fetched.items():
                    for message in messages:
                        self._hand_over(message)
                    self._positions[place] = messages[-1].offset + 1
        finally:
            self._consumer = None
            await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=5)

    def _hand_over(self, message: Any) -> None:
        key = message.key
        if key is None or not key.isdigit() or len(key) > 18 or not self._hub.wants(int(key)):
            return
        try:
            update = update_of(decode(record_of(message, self._topic_prefix)))
        except MalformedEvent:
            return  # the read models park it; a live client is shown what can be read
        self._hub.publish(update)

    async def known_ends(self) -> Ends | None:
        """As end_offsets, None when the log cannot say."""
        try:
            return await self.end_offsets()
        except (KafkaError, OSError, TimeoutError) as error:
            logger.warning("the log cannot say where it ends: %r", error)
            return None

    async def end_offsets(self) -> dict[tuple[str, int], int]:
        """(topic, partition) to the end of the log, of all topics. Raises KafkaError, OSError or TimeoutError."""
        if self._consumer is None:
            raise ConnectionError(f"Kafka at {self._bootstrap_servers} cannot be reached")
        places = [TopicPartition(self._topic_prefix + name, n) for name in TOPIC_NAMES for n in range(PARTITIONS)]
        ends = await asyncio.wait_for(self._consumer.end_offsets(places), ENDS_TIMEOUT_S)
        return {(place.topic.removeprefix(self._topic_prefix), place.partition): end for place, end in ends.items()}
