"""Let topics that are kept for ever forget what is older than some days: only what lies in the archive, checked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from events.topics import FOR_EVER, PARTITIONS, TOPICS
from projections.archive import ledger
from projections.archive.log_reader import LogReader
from projections.archive.reading import Archive
from projections.settings import Settings

KEPT_FOR_EVER: Final = tuple(topic.name for topic in TOPICS if topic.retention is FOR_EVER)
DAYS_MIN: Final = 7
"""So long the archiver may be down before anything is lost."""
_SET_ON_TOPIC: Final = 1
"""Kafka's number for a setting of the topic's own (DYNAMIC_TOPIC_CONFIG)."""


async def not_safe(archive: Archive, log: LogReader, topics: Sequence[str], days: int, now: datetime) -> list[str]:
    """Why records older than ``days`` may not be dropped, a line each; none when they may.

    Raises what Postgres and Kafka raise when they fail.
    """
    older = await log.first_since(topics, now - timedelta(days=days))
    async with archive.pool.acquire(timeout=30) as connection:
        reached = await ledger.next_offsets(connection)
        checks = {
            (row["topic"], row["partition"]): row["next_offset"] for row in await ledger.queries.checks(connection)
        }
        alive = await ledger.queries.archiver_lives(connection)
    problems = [] if alive else ["no archiver gave a sign of life; start: python -m projections run archive"]
    for place in ((topic, number) for topic in topics for number in range(PARTITIONS)):
        first, name = older[place], f"{place[0]}/{place[1]}"
        if reached.get(place, 0) < first:
            problems.append(f"{name} is archived up to offset {reached.get(place, 0)}, it has to be up to {first}")
        elif checks.get(place, 0) < first:
            problems.append(
                f"{name} is checked up to offset {checks.get(place, 0)}, it has to be up to {first}; "
                f"run: python -m projections archive verify --topic {place[0]}"
            )
    return problems


async def keep_for(settings: Settings, topics: Sequence[str], days: int | None) -> None:
    """Set how long Kafka keeps these topics; None is for ever. Raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers, request_timeout_ms=20_000)
    await admin.start()
    try:
        names = [settings.topic_prefix + topic for topic in topics]
        found = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
        retention_ms = -1 if days is None else int(timedelta(days=days).total_seconds() * 1000)
        wanted = []
        for code, message, _, name, entries, *_ in (resource for answer in found for resource in answer.resources):
            if code:
                raise for_code(code)(message)
            # What is not named here goes back to the broker's default.
            kept = {entry[0]: entry[1] for entry in entries if entry[3] == _SET_ON_TOPIC}
            configs = {**kept, "retention.ms": str(retention_ms)}
            wanted.append(ConfigResource(ConfigResourceType.TOPIC, name, configs=configs))
        for answer in await admin.alter_configs(wanted):
            for code, message, *_ in answer.resources:
                if code:
                    raise for_code(code)(message)
    finally:
        await admin.close()
