"""What the service's own archiver wrote, read back by the SDK."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import polars as pl
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from producers.database import Pool, open_pool
from projections.archive.forget import forget_job
from projections.archive.store import Store
from tests.integration.projections.archive.archiving import (
    archive_all,
    expire,
    in_bucket,
    publish,
    settings_of,
    some_events,
)
from tests.services import World
from training_sdk.replay import LogUnreadable, archive, logs, metrics, read_events
from training_sdk.wire import LOGS, METRICS, partition_of

NEIGHBOUR = next(job for job in range(26, 200) if partition_of(str(job).encode()) == partition_of(b"25"))


@pytest_asyncio.fixture
async def pool(migrated_world: World) -> AsyncIterator[Pool]:
    opened = await open_pool(migrated_world.database_url, size_max=4)
    yield opened
    await opened.close()


async def test_what_was_archived_is_read_as_it_is_read_from_kafka(
    pool: Pool, migrated_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, settings = migrated_world, migrated_world.environment()
    await publish(world, [*some_events(25, 30), *some_events(NEIGHBOUR)])
    await append_odd_records(world)
    await archive_all(world, pool, part_records=7)
    monkeypatch.setattr(archive, "WHOLE_BYTES_MAX", 0)  # by ranges, as of large files
    kafka, archived = (read_events(source=source, errors="keep", settings=settings) for source in ("kafka", "archive"))
    everything = kafka.to_polars().sort("topic", "partition", "offset")
    assert everything["problem"].null_count() == everything.height - 3
    assert archived.to_polars().sort("topic", "partition", "offset").equals(everything)
    assert archived.scan().collect().sort("topic", "partition", "offset").equals(everything)
    for condition in (pl.col("type").is_null(), pl.col("problem").is_null(), pl.col("attempt").fill_null(9) == 9):
        found = archived.scan().filter(condition).collect().sort("topic", "partition", "offset")
        assert found.equals(everything.filter(condition)), condition
    few = pl.col("job_id") == 25, pl.col("topic") == METRICS
    found = archived.scan().filter(*few).select("offset", "seq").collect().sort("offset")
    assert found.equals(everything.filter(*few).select("offset", "seq"))

    await publish(world, some_events(99))
    lines = logs(settings=settings, errors="keep")
    with pytest.warns(UserWarning, match="3 records hold no such rows"):
        whole = lines.to_polars().sort("partition", "offset", "line")
    await expire(world, LOGS, {partition_of(b"25"): 20})
    with pytest.warns(UserWarning, match="3 records hold no such rows"):
        assert lines.to_polars().sort("partition", "offset", "line").equals(whole)


async def append_odd_records(world: World) -> None:
    """Headers of an event whose data are none, no headers, no value."""
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka_bootstrap_servers)
    await producer.start()
    try:
        session = "odd".ljust(32, "0")
        names = {"specversion": "1.0", "id": f"{session}:{LOGS}:1", "source": "x", "type": "training.log.written.v1"}
        names |= {"time": "2026-01-02T12:00:00Z", "subject": "25", "session": session, "seq": "1"}
        headers = [(f"ce_{name}", text.encode()) for name, text in {**names, "attempt": "1", "rank": "0"}.items()]
        for value, given in ((b"no JSON", headers), (b"\xff", [("a", None)]), (None, [])):
            place = world.topic_prefix + LOGS
            await producer.send_and_wait(place, value, b"25", partition_of(b"25"), headers=given)
    finally:
        await producer.stop()


async def test_a_part_in_the_making_is_left_out_and_a_forgotten_job_is_gone(pool: Pool, migrated_world: World) -> None:
    world, settings = migrated_world, migrated_world.environment()
    await publish(world, [*some_events(25), *some_events(NEIGHBOUR)])
    await archive_all(world, pool, part_records=100)
    points = metrics(source="archive", settings=settings)
    assert points.to_polars().height == 24
    store, files = world.store(), in_bucket(world)
    opened = next(key for key in files if key.startswith(f"{METRICS}/event=training.session.opened"))
    await asyncio.to_thread(store.remove_object, world.archive_bucket, opened)
    assert points.to_polars().height < 24
    await asyncio.to_thread(
        store.put_object, world.archive_bucket, opened, io.BytesIO(files[opened]), len(files[opened])
    )
    assert points.to_polars().height == 24
    assert await forget_job(pool, Store(settings_of(world)), METRICS, 25)
    assert set(points.to_polars()["job_id"]) == {NEIGHBOUR}
    assert points.to_polars().height == 12


async def test_a_file_that_is_rewritten_while_it_is_read_is_said(
    pool: Pool, migrated_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = migrated_world
    await publish(world, [*some_events(25), *some_events(NEIGHBOUR)])
    await archive_all(world, pool, part_records=100)
    monkeypatch.setattr(archive, "WHOLE_BYTES_MAX", 0)
    replay = read_events(METRICS, source="archive", settings=world.environment())
    with replay.open() as sources:
        (plan,) = replay.plans(sources)
        assert await forget_job(pool, Store(settings_of(world)), METRICS, 25)
        with pytest.raises(LogUnreadable, match="was rewritten while it was read; read again"):
            list(sources.read(plan, replay.selection))
