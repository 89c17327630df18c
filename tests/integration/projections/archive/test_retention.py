"""Kafka may forget what the archive has, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from producers.database import Pool, connect
from producers.migrate import raise_ids
from projections.archive import ledger
from projections.archive.log_reader import LogReader
from projections.archive.reading import Archive
from projections.archive.retention import keep_for, not_safe
from projections.archive.store import Store
from tests.integration.projections.archive.archiving import archive_all, checked, publish, settings_of, some_events
from tests.services import World
from training_sdk.wire import JOBS, METRICS, partition_of

PARTITION = partition_of(b"25")
# All that is in the log now is older than a week.
LATER = datetime.now(UTC) + timedelta(days=30)


async def problems(world: World, pool: Pool, now: datetime = LATER) -> list[str]:
    settings = settings_of(world)
    log = LogReader(settings)
    await log.start()
    try:
        return await not_safe(Archive(pool, Store(settings)), log, [JOBS, METRICS], 7, now)
    finally:
        await log.stop()


async def test_records_are_dropped_only_when_they_are_archived_and_checked(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish(world, some_events(25))
    dead = ["no archiver gave a sign of life; start: python -m projections run archive"]
    assert await problems(world, pool) == [
        *dead,
        f"{JOBS}/{PARTITION} is archived up to offset 0, it has to be up to 3",
        f"{METRICS}/{PARTITION} is archived up to offset 0, it has to be up to 13",
    ]
    # Nothing that is there now is old enough to be dropped.
    assert await problems(world, pool, datetime.now(UTC)) == dead
    await archive_all(world, pool)
    assert [line.split(";")[0] for line in await problems(world, pool)][1:] == [
        f"{JOBS}/{PARTITION} is checked up to offset 0, it has to be up to 3",
        f"{METRICS}/{PARTITION} is checked up to offset 0, it has to be up to 13",
    ]
    await checked(world, pool)
    assert await problems(world, pool) == dead
    async with pool.acquire() as connection:
        await connection.execute("INSERT INTO write.workers VALUES ('projections-archive', 'here', 1, now())")
    assert await problems(world, pool) == []


async def own_settings(world: World, topic: str) -> dict[str, str]:
    """What was set on the topic itself."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka_bootstrap_servers)
    await admin.start()
    try:
        wanted = ConfigResource(ConfigResourceType.TOPIC, world.topic_prefix + topic)
        (answer,) = await admin.describe_configs([wanted])
    finally:
        await admin.close()
    return {entry[0]: entry[1] for entry in answer.resources[0][4] if entry[3] == 1}


async def test_a_topics_other_settings_stay_as_they_are(migrated_world: World) -> None:
    world, settings = migrated_world, settings_of(migrated_world)
    before = await own_settings(world, JOBS)
    assert before["message.timestamp.type"] == "LogAppendTime"
    await keep_for(settings, [JOBS], 30)
    assert await own_settings(world, JOBS) == {**before, "retention.ms": str(30 * 24 * 3600 * 1000)}
    assert (await own_settings(world, METRICS))["retention.ms"] == "-1"
    await keep_for(settings, [JOBS], None)
    assert await own_settings(world, JOBS) == before


async def test_ids_of_jobs_that_only_the_archive_knows_are_not_given_again(pool: Pool, migrated_world: World) -> None:
    await publish(migrated_world, some_events(4711, lines=1))
    await archive_all(migrated_world, pool)
    connection = await connect(migrated_world.database_url)
    try:
        highest = await ledger.queries.highest_job(connection)
        await raise_ids(connection, job_id=highest, dataset_id=0)
        assert await connection.fetchval("SELECT nextval('write.job_ids')") == 4712
    finally:
        await connection.close()
