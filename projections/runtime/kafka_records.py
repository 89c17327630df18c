"""Consumer records of aiokafka as ours: logical topic name, headers as they are."""

from __future__ import annotations

from typing import Any

from events.envelope import Record


def record_of(message: Any, topic_prefix: str) -> Record:
    """``message`` is an aiokafka ConsumerRecord."""
    return Record(
        topic=message.topic.removeprefix(topic_prefix),
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=message.timestamp,
        key=message.key,
        headers=message.headers,
        value=message.value,
    )
