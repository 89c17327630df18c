"""What retention deleted comes in no batch: read models stand behind it all the same, or they would lag for ever."""

from __future__ import annotations

from dataclasses import replace

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from producers.database import Pool, transaction
from producers.kafka.publisher import KafkaPublisher
from projections.registry import projection_named
from projections.runtime.apply import apply_batch
from projections.runtime.build import bring_up_to_date
from projections.runtime.expired import step_over_expired
from projections.runtime.offset_reads import offsets_in, read_offsets
from projections.runtime.replay import read_topic
from tests.builders import event, metrics_reported, wire
from tests.running import Running
from tests.services import World, free_port
from tests.waiting import eventually
from training_sdk.wire import METRICS, partition_of

LIVE = projection_named("metrics")
PARTITION = partition_of(b"25")
EXPIRED = 7


async def publish(world: World, first: int, last: int) -> None:
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    try:
        facts = [(seq, metrics_reported({"loss": [0.5]}, first_step=seq)) for seq in range(first, last + 1)]
        await publisher.publish([wire(event(fact, seq=seq)) for seq, fact in facts])
    finally:
        await publisher.close()


async def expire(world: World) -> None:
    """All records of the partition, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka_bootstrap_servers)
    await admin.start()
    try:
        place = TopicPartition(world.topic_prefix + METRICS, PARTITION)
        deleted = await admin.delete_records({place: RecordsToDelete(before_offset=EXPIRED)})
        assert deleted == {place: EXPIRED}
    finally:
        await admin.close()


async def test_a_new_version_stands_where_the_live_one_stood_though_the_log_is_empty(
    pool: Pool, migrated_world: World
) -> None:
    world, newer = migrated_world, replace(LIVE, version=LIVE.version + 1)
    await publish(world, 1, EXPIRED)
    async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, METRICS):
        await apply_batch(pool, LIVE, batch)
    await expire(world)
    version = await bring_up_to_date(pool, newer, world.kafka_bootstrap_servers, world.topic_prefix)
    assert version is not None
    assert await offsets_in(pool, version.schema_name, METRICS) == {PARTITION: EXPIRED}


async def test_a_worker_of_a_new_database_stands_behind_what_expired_and_goes_on(
    pool: Pool, migrated_world: World
) -> None:
    await publish(migrated_world, 1, EXPIRED)
    await expire(migrated_world)
    running = Running(migrated_world, free_port())

    async def stands() -> int:
        return (await read_offsets(pool, LIVE)).get(PARTITION, 0)

    async def stands_behind_them() -> bool:
        return await stands() == EXPIRED

    async def applied_the_rest() -> bool:
        return await stands() == EXPIRED + 2

    try:
        running.start_core()
        await eventually(stands_behind_them, timeout_s=40, what="the worker stands behind what expired")
        await publish(migrated_world, EXPIRED + 1, EXPIRED + 2)
        await eventually(applied_the_rest, timeout_s=40, what="the worker goes on")
    finally:
        running.stop()
    async with transaction(pool, readonly=True) as tx:
        assert await tx.fetchval("SELECT sum(points) FROM metric_series") == 2


async def test_what_was_applied_stays_applied(pool: Pool) -> None:
    await step_over_expired(pool, LIVE, {0: 0, 1: 5, 2: 9})
    await step_over_expired(pool, LIVE, {1: 3, 2: 12})
    assert await read_offsets(pool, LIVE) == {1: 5, 2: 12}
