"""The real worker on the real broker: what somebody puts on a topic by hand stops nothing."""

from __future__ import annotations

from pathlib import Path

from aiokafka import AIOKafkaProducer

from producers.database import open_pool, transaction
from producers.kafka.publisher import KafkaPublisher
from tests.builders import event, metrics_reported, wire
from tests.running import Running
from tests.services import World, free_port
from tests.waiting import eventually
from training_sdk.wire import METRICS, partition_of

GOOD = 30


async def test_records_put_by_hand_land_in_dead_letters_and_stop_nothing(migrated_world: World, tmp_path: Path) -> None:
    running = Running(migrated_world, free_port())
    pool = await open_pool(migrated_world.database_url, size_max=2)
    publisher = KafkaPublisher(migrated_world.kafka_bootstrap_servers, migrated_world.topic_prefix)
    partition = partition_of(b"25")
    topic = migrated_world.topic_prefix + METRICS
    good = [wire(event(metrics_reported({"loss": [float(n)]}, first_step=n), seq=n)) for n in range(1, GOOD + 1)]
    by_hand: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (b"25", b"hello", []),
        (None, b"hello", []),
        (b"25", None, good[0].headers()),
        (b"25", b"\xff\xfe", good[0].headers()),
        (b"25", b"{}", good[0].headers()),
        (b"nobody", good[0].data, good[0].headers()),
    ]
    try:
        running.start_core()
        async with AIOKafkaProducer(bootstrap_servers=migrated_world.kafka_bootstrap_servers) as producer:
            for number, message in enumerate(good):
                await publisher.publish([message])
                if number < len(by_hand):
                    key, value, headers = by_hand[number]
                    await producer.send_and_wait(topic, value=value, key=key, headers=headers, partition=partition)

        async def applied() -> bool:
            async with transaction(pool, readonly=True) as tx:
                return bool(await tx.fetchval("SELECT sum(points) FROM metric_series") == GOOD)

        await eventually(applied, timeout_s=40, what="every good point")
        async with transaction(pool, readonly=True) as tx:
            letters = await tx.fetch("SELECT value, reason FROM metrics_dead_letters ORDER BY log_offset")
        assert [letter["value"] for letter in letters] == [value for _, value, _ in by_hand]
        assert all(letter["reason"] for letter in letters)
        assert running.processes["core"].poll() is None
    finally:
        running.stop()
        await publisher.close()
        await pool.close()
