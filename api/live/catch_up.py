"""What a client missed: one job's part of the log from a cursor to its end, read with a consumer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from api.live.cursor import Cursor
from api.live.messages import LIVE_TOPICS, Update, update_of
from api.live.tail import record_of
from events.codec import MalformedEvent, decode
from training_sdk.wire import partition_of

CATCH_UPS_AT_ONCE_MAX: Final = 8
RECORDS_MAX: Final = 200_000
"""Records of the partitions looked through for one client; a cursor further behind is told a gap."""
SILENCE_MAX_S: Final = 10.0
TIMEOUT_S: Final = 20.0

_places_free = asyncio.Semaphore(CATCH_UPS_AT_ONCE_MAX)


class TooFarBehind(Exception):
    """The cursor is older than what is kept, or too far behind."""


async def read_from(bootstrap_servers: str, topic_prefix: str, cursor: Cursor) -> AsyncIterator[Update]:
    """Updates of the cursor's job from its offsets to the ends as they are now. Does not move the cursor.

    Raises TooFarBehind, TimeoutError, aiokafka's KafkaError and OSError.
    """
    key = str(cursor.job_id).encode()
    async with _places_free:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=50
        )
        await asyncio.wait_for(consumer.start(), TIMEOUT_S)
        try:
            places = {TopicPartition(topic_prefix + topic, partition_of(key)): topic for topic in LIVE_TOPICS}
            consumer.assign(list(places))
            beginnings = await asyncio.wait_for(consumer.beginning_offsets(list(places)), TIMEOUT_S)
            ends = await asyncio.wait_for(consumer.end_offsets(list(places)), TIMEOUT_S)
            position = {place: cursor.offsets.get(topic, 0) for place, topic in places.items()}
            if any(position[place] < beginnings[place] and position[place] > 0 for place in places):
                raise TooFarBehind("the log no longer holds what came after this cursor")
            if sum(max(0, ends[place] - position[place]) for place in places) > RECORDS_MAX:
                raise TooFarBehind(f"more than {RECORDS_MAX} records came after this cursor")
            for place in places:
                position[place] = max(position[place], beginnings[place])
                consumer.seek(place, position[place])
            while any(position[place] < ends[place] for place in places):
                fetched = await asyncio.wait_for(
                    consumer.getmany(timeout_ms=int(SILENCE_MAX_S * 1000), max_records=2_000), TIMEOUT_S
                )
                if not fetched:
                    raise TimeoutError("the log has records that the broker does not hand out")
                for place, messages in fetched.items():
                    position[place] = messages[-1].offset + 1
                    for message in messages:
                        if message.key != key or message.offset >= ends[place]:
                            continue
                        try:
                            yield update_of(decode(record_of(message, topic_prefix)))
                        except MalformedEvent:
                            continue  # parked by the read models
        finally:
            await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=5)
