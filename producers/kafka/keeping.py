"""How long Kafka keeps records, by the topics' own settings: retention deletes segments, nobody one record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

TIMEOUT_S: Final = 10.0
CHECK_INTERVAL: Final = timedelta(minutes=5)
"""Kafka's default for log.retention.check.interval.ms."""
_SETTINGS: Final = ("cleanup.policy", "retention.ms", "segment.ms", "file.delete.delay.ms")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Settings of one topic. ``retention`` None: records are kept for ever."""

    retention: timedelta | None
    segment: timedelta = timedelta(days=7)
    file_delete_delay: timedelta = timedelta(minutes=1)

    def erased_from(self, appended_at: datetime) -> datetime | None:
        """From when on a record is erased that was appended then, whatever came after it; None for never.

        Whole segments are deleted, once their newest record is older than the retention: the record's own segment takes
        newer ones for ``segment`` at most.
        """
        if self.retention is None:
            return None
        return appended_at + self.segment + self.retention + CHECK_INTERVAL + self.file_delete_delay


async def read_keeping(bootstrap_servers: str, topic_prefix: str, topics: Sequence[str]) -> dict[str, Keeping]:
    """Raises KafkaError, OSError or TimeoutError."""
    async with asyncio.timeout(TIMEOUT_S):
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=int(TIMEOUT_S * 1000))
        try:
            await admin.start()
            wanted = [ConfigResource(ConfigResourceType.TOPIC, topic_prefix + topic) for topic in topics]
            answers = await admin.describe_configs(wanted)
        finally:
            await admin.close()
    found = {}
    for code, message, _, name, entries, *_ in (resource for answer in answers for resource in answer.resources):
        if code:
            raise for_code(code)(message)
        found[name.removeprefix(topic_prefix)] = _keeping({entry[0]: entry[1] for entry in entries})
    return found


def _keeping(settings: dict[str, str]) -> Keeping:
    policy, retention_ms, segment_ms, delay_ms = (settings[name] for name in _SETTINGS)
    deletes = "delete" in policy.split(",") and int(retention_ms) >= 0
    return Keeping(
        timedelta(milliseconds=int(retention_ms)) if deletes else None,
        timedelta(milliseconds=int(segment_ms)),
        timedelta(milliseconds=int(delay_ms)),
    )
