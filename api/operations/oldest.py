"""When the log took the first record that a read model has not applied: how long somebody has been waiting for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from events.envelope import Position

PEEK_TIMEOUT_S: Final = 3.0
START_TIMEOUT_S: Final = 5.0
FETCH_BYTES_MAX: Final = 65_536
logger = logging.getLogger(__name__)


class OldestRecords:
    """Looks at single records. What stands at an offset never changes, so each is looked at once."""

    def __init__(self, bootstrap_servers: str, topic_prefix: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic_prefix = topic_prefix
        self._append_times: dict[Position, float] = {}
        self._looking = asyncio.Lock()

    async def append_times(self, places: Iterable[Position]) -> dict[Position, float]:
        """By place, when the log took the first record there or after it, in seconds since 1970.

        A place is missing where the log could not say in time, or has no record.
        """
        wanted = set(places)
        async with self._looking:
            known = {place: time for place, time in self._append_times.items() if place in wanted}
            if missing := wanted - known.keys():
                try:
                    known |= await self._look(missing)
                except (KafkaError, OSError, TimeoutError) as error:
                    logger.warning("age of the oldest unapplied record: %r", error)
            self._append_times = known
        return dict(known)

    async def _look(self, places: set[Position]) -> dict[Position, float]:
        """Several places of one partition take a round each. Raises KafkaError, OSError or TimeoutError."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            # What expired is no longer waited for: the first record there is counts.
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
        )
        found: dict[Position, float] = {}
        try:
            await asyncio.wait_for(consumer.start(), START_TIMEOUT_S)
            deadline = asyncio.get_running_loop().time() + PEEK_TIMEOUT_S
            left = await self._with_records(consumer, places)
            while left and asyncio.get_running_loop().time() < deadline:
                one_each = {(place.topic, place.partition): place for place in reversed(left)}
                await self._round(consumer, list(one_each.values()), found, deadline)
                left = [place for place in left if place not in one_each.values()]
        finally:
            await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=5)
        return found

    async def _with_records(self, consumer: AIOKafkaConsumer, places: set[Position]) -> list[Position]:
        """Without those that nothing stands at or after, or all of it expired: no fetch would ever answer."""
        where = {place: TopicPartition(self._topic_prefix + place.topic, place.partition) for place in places}
        partitions = sorted(set(where.values()))
        first = await asyncio.wait_for(consumer.beginning_offsets(partitions), START_TIMEOUT_S)
        ends = await asyncio.wait_for(consumer.end_offsets(partitions), START_TIMEOUT_S)
        return [place for place in sorted(places) if max(place.offset, first[where[place]]) < ends[where[place]]]

    async def _round(
        self, consumer: AIOKafkaConsumer, places: list[Position], found: dict[Position, float], deadline: float
    ) -> None:
        waiting = {TopicPartition(self._topic_prefix + place.topic, place.partition): place for place in places}
        consumer.assign(list(waiting))
        for where, place in waiting.items():
            consumer.seek(where, place.offset)
        while waiting and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
            fetched = await asyncio.wait_for(consumer.getmany(timeout_ms=max(1, int(left_s * 1000))), left_s + 1)
            for where, messages in fetched.items():
                if messages and where in waiting:
                    found[waiting.pop(where)] = messages[0].timestamp / 1000
                # A record that is larger than a fetch comes when it is the first one asked for.
                consumer.pause(where)
