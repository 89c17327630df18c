"""Read models that are missing, on a log that is there already: built first, shown when they stand where the log does.

Readers of half a log would act on it: a launcher would start again what has ended long ago.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.topics import PARTITIONS
from producers.database import Connection, Pool, search_path
from producers.queries import load_queries
from projections.archive.adopt import adopt_unknown
from projections.archive.reading import Archive, history_records
from projections.early_stop.fold import note_past
from projections.registry import EARLY_STOP, Projection
from projections.runtime.apply import apply_batch
from projections.runtime.build import the_only_builder
from projections.runtime.expired import step_to
from projections.runtime.offset_reads import offsets_in
from projections.runtime.source import Records
from projections.runtime.versions import Version, code_fingerprint, create_version, live_version, make_indexes
from projections.settings import Settings

logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).parent / "runtime" / "versions.sql")


async def build_missing(pool: Pool, projections: Sequence[Projection], settings: Settings) -> list[Version]:
    """Build what does not exist and make it live. Returns what was made.

    May be interrupted and called again, and by several at once: one builds, the others wait. Takes three connections.
    Raises LogSilent, CeilingReached, and what Postgres, Kafka and the archive's store raise when they fail.
    """
    async with pool.acquire() as connection:
        missing = [model for model in projections if await live_version(connection, model) is None]
    servers, prefix = settings.kafka_bootstrap_servers, settings.topic_prefix
    topics = {model.topic for model in missing}
    if not missing:
        return []
    begins, ends = await _extent(servers, prefix, topics)
    archive = Archive.of(pool, settings)
    if any(begins.values()):
        # What has expired lies in the archive, whose ledger is as new as this database.
        await adopt_unknown(archive)
    records = history_records(archive, settings)
    made = []
    for model in missing:
        there = {place.partition: end for place, end in ends.items() if place.topic == prefix + model.topic}
        made.append(await _build(pool, model, records, there))
    return [version for version in made if version is not None]


async def _extent(
    bootstrap_servers: str, topic_prefix: str, topics: Iterable[str]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Where each partition begins and ends, asked on one connection."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic_prefix + topic, number) for topic in topics for number in range(PARTITIONS)]
        return await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    finally:
        await consumer.stop()


async def _build(pool: Pool, projection: Projection, records: Records, ends: Mapping[int, int]) -> Version | None:
    """None where somebody else was faster."""
    topic = projection.topic
    async with the_only_builder(pool, projection) as connection:
        if await live_version(connection, projection) is not None:
            return None
        version = await _begun(connection, projection, ends)
        done = await offsets_in(pool, version.schema_name, topic)
        if any(end > done.get(partition, 0) for partition, end in ends.items()):
            logger.warning("read model %s: %s is built from the log", projection.name, version.schema_name)
            first = await records.first(topic)
            start = {partition: max(first.get(partition, 0), done.get(partition, 0)) for partition in ends}
            async for batch in records.read(topic, start, ends):
                await apply_batch(pool, projection, batch, schema=version.schema_name)
            # What expired came in no batch.
            await step_to(pool, version.schema_name, topic, ends)
        await make_indexes(connection, version)
        async with connection.transaction():
            await queries.lock_registry(connection)
            await queries.set_state(connection, schema_name=version.schema_name, state="live")
        return version


async def _begun(connection: Connection, projection: Projection, ends: Mapping[int, int]) -> Version:
    """The version that this code builds, begun where nobody has begun it."""
    async with connection.transaction():
        await queries.lock_registry(connection)
        row = await queries.building(
            connection, projection=projection.name, version=projection.version, code=code_fingerprint()
        )
        if row is not None:
            return Version(row["schema_name"], row["version"], row["build"])
        version = await create_version(connection, projection, state="building")
        if projection.process == EARLY_STOP:
            # Nobody is told what the rules make of runs that are over.
            await connection.execute(search_path([version.schema_name]))
            await note_past(connection, ends)
        return version
