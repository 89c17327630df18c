"""How far the log goes right now, for whoever must know whether a read model is behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.topics import PARTITIONS

TIMEOUT_S: Final = 10.0


class LogEnds:
    """Asks the broker with one client, which is made anew after a failure."""

    def __init__(self, bootstrap_servers: str, topic_prefix: str = "") -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic_prefix = topic_prefix
        self._consumer: AIOKafkaConsumer | None = None

    async def read(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        """(topic, partition) to the offset of the next record. Raises KafkaError, OSError or TimeoutError."""
        places = [TopicPartition(self._topic_prefix + topic, n) for topic in topics for n in range(PARTITIONS)]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._consumer is None:
                    self._consumer = AIOKafkaConsumer(
                        bootstrap_servers=self._bootstrap_servers, group_id=None, enable_auto_commit=False
                    )
                    await self._consumer.start()
                ends = await self._consumer.end_offsets(places)
        except BaseException:
            await self.close()
            raise
        return {(place.topic.removeprefix(self._topic_prefix), place.partition): end for place, end in ends.items()}

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=5)
