"""Another version of a read model is built beside the live one; readers and workers switch in one moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from events.envelope import Record
from events.types.checkpoints import CheckpointSaved
from producers.database import Pool, open_pool, transaction
from producers.kafka.publisher import KafkaPublisher
from projections.registry import MLFLOW, PROJECTIONS, Projection, projection_named
from projections.replays.rebuild import flip_back
from projections.runtime import build
from projections.runtime.apply import Applied, apply_batch
from projections.runtime.build import Builder, bring_up_to_date
from projections.runtime.offset_reads import offsets_in
from projections.runtime.replay import read_topic
from projections.runtime.source import log_records
from projections.runtime.versions import WrongVersion
from tests.builders import event, wire
from tests.running import Running, create_job, register_dataset
from tests.services import World, free_port
from tests.waiting import eventually
from training_sdk.wire import JOBS

LIVE = projection_named("checkpoints")
NEWER = replace(LIVE, version=LIVE.version + 1)
SAVED = 30


@pytest_asyncio.fixture
async def pool(migrated_world: World) -> AsyncIterator[Pool]:
    """The log holds SAVED checkpoints of three jobs, the live version has the first ten of each partition."""
    opened = await open_pool(migrated_world.database_url, size_max=8)
    publisher = KafkaPublisher(migrated_world.kafka_bootstrap_servers, migrated_world.topic_prefix)
    facts = [CheckpointSaved(epoch=number, checkpoint_path=f"s3://b/{number}") for number in range(SAVED)]
    for job_id in (1, 2, 3):
        mine = [event(fact, job_id=job_id, session=f"{job_id:032x}", seq=n) for n, fact in enumerate(facts, start=1)]
        await publisher.publish([wire(one) for one in mine])
    await follow(opened, migrated_world, LIVE, until=dict.fromkeys(range(12), 10))
    yield opened
    await publisher.close()
    await opened.close()


async def follow(pool: Pool, world: World, projection: Projection, until: dict[int, int] | None = None) -> None:
    async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, JOBS, None, until):
        await apply_batch(pool, projection, batch)


async def build_it(pool: Pool, world: World, projection: Projection = NEWER) -> Any:
    return await bring_up_to_date(pool, projection, world.kafka_bootstrap_servers, world.topic_prefix)


async def seen(pool: Pool) -> int:
    async with transaction(pool, readonly=True) as tx:
        return int(await tx.fetchval("SELECT count(*) FROM training_checkpoints"))


async def schemas(pool: Pool) -> list[tuple[int, str]]:
    async with transaction(pool, readonly=True) as tx:
        found = await tx.fetch("SELECT version, state FROM write.read_models WHERE projection = $1", LIVE.name)
    return sorted((row["version"], row["state"]) for row in found)


async def test_readers_see_everything_all_the_time_and_the_log_goes_on_where_it_was(
    pool: Pool, migrated_world: World
) -> None:
    before, counts = await seen(pool), set()
    building = asyncio.create_task(build_it(pool, migrated_world))
    while not building.done():
        counts.add(await seen(pool))
    version = await building
    assert before > 0 and counts == {before} and await seen(pool) == before
    assert await schemas(pool) == [(LIVE.version, "retired"), (NEWER.version, "live")]
    # It stands exactly where the older one stood, though the log goes on, and the rest comes once.
    assert set((await offsets_in(pool, version.schema_name, JOBS)).values()) == {10}
    await follow(pool, migrated_world, NEWER)
    assert await seen(pool) == 3 * SAVED
    assert await build_it(pool, migrated_world) is None


async def test_the_older_worker_writes_nothing_after_the_switch(pool: Pool, migrated_world: World) -> None:
    await build_it(pool, migrated_world)
    with pytest.raises(WrongVersion, match="install the newer code"):
        await follow(pool, migrated_world, LIVE)
    with pytest.raises(WrongVersion, match="install the newer code"):
        await build_it(pool, migrated_world, LIVE)


async def test_a_batch_of_the_older_worker_and_the_switch_wait_for_each_other(
    pool: Pool, migrated_world: World
) -> None:
    async with transaction(pool) as tx:
        # As a batch that is at work.
        await tx.fetch("SELECT 1 FROM write.read_models WHERE projection = $1 FOR SHARE", LIVE.name)
        building = asyncio.create_task(build_it(pool, migrated_world))

        async def waits() -> bool:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            return bool(await tx.fetchval(query))

        await eventually(waits, what="the switch waits")
        assert await schemas(pool) == [(LIVE.version, "live"), (NEWER.version, "building")]
    await building
    assert await schemas(pool) == [(LIVE.version, "retired"), (NEWER.version, "live")]


async def test_an_upgrade_is_taken_back_by_the_older_code_and_made_again(pool: Pool, migrated_world: World) -> None:
    await build_it(pool, migrated_world)
    await follow(pool, migrated_world, NEWER)
    older = Builder(pool, LIVE, log_records(migrated_world.kafka_bootstrap_servers, migrated_world.topic_prefix))
    await flip_back(older, quiet=True)
    assert await schemas(pool) == [(LIVE.version, "live"), (NEWER.version, "retired")]
    assert await seen(pool) == 3 * SAVED
    with pytest.raises(WrongVersion, match="run: python -m projections migrate"):
        await follow(pool, migrated_world, NEWER)
    await build_it(pool, migrated_world)
    assert await schemas(pool) == [(LIVE.version, "retired"), (NEWER.version, "live")]
    assert await seen(pool) == 3 * SAVED


async def test_a_build_that_was_cut_goes_on_and_two_at_once_build_one(
    pool: Pool, migrated_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await seen(pool)

    async def cut(pool: Pool, projection: Projection, records: Sequence[Record], **more: Any) -> Applied:
        await apply_batch(pool, projection, records[:3], **more)
        raise ConnectionError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(build, "apply_batch", cut)
        with pytest.raises(ConnectionError, match="cut"):
            await build_it(pool, migrated_world)
    assert await seen(pool) == before
    assert await schemas(pool) == [(LIVE.version, "live"), (NEWER.version, "building")]
    built = await asyncio.gather(build_it(pool, migrated_world), build_it(pool, migrated_world))
    assert [version is None for version in built].count(True) == 1
    assert await seen(pool) == before
    # The next version forgets the one before the last.
    await build_it(pool, migrated_world, replace(LIVE, version=NEWER.version + 1))
    assert await schemas(pool) == [(NEWER.version, "retired"), (NEWER.version + 1, "live")]
    assert await seen(pool) == before


async def test_migrate_builds_new_versions_under_a_running_api_and_a_worker_does_where_nobody_did(
    migrated_world: World, tmp_path: Path
) -> None:
    running = Running(migrated_world, free_port())
    pool = await open_pool(migrated_world.database_url, size_max=2)

    async def as_if_older(by: int) -> None:
        """What is live now was built by older code."""
        async with transaction(pool) as tx:
            for row in await tx.fetch("SELECT schema_name FROM write.read_models WHERE state = 'live'"):
                older = f"{row['schema_name']}_older_by_{by}"
                await tx.execute(f'ALTER SCHEMA "{row["schema_name"]}" RENAME TO "{older}"')
                change = "UPDATE write.read_models SET schema_name = $1, version = version - $2 WHERE schema_name = $3"
                await tx.execute(change, older, by, row["schema_name"])

    try:
        running.start_api()
        running.start_core()
        await asyncio.to_thread(running.wait_ready)
        async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as client:
            dataset_id = await register_dataset(migrated_world)
            for number in range(5):
                await create_job(client, dataset_id, name=f"job {number}")

            async def listed() -> int:
                return int((await client.get("training/jobs")).json()["total"])

            async def waiting() -> int:
                async with transaction(pool, readonly=True) as tx:
                    return int(await tx.fetchval("SELECT count(*) FROM training_jobs WHERE created_at IS NOT NULL"))

            await eventually(lambda: applied(waiting, 5), what="the jobs are applied")
            running.kill("core")
            await as_if_older(1)
            migrating = asyncio.create_task(asyncio.to_thread(migrated_world.run, "-m", "projections", "migrate"))
            totals = set()
            while not migrating.done():
                totals.add(await listed())
            printed = await migrating
            built_by_migrate = [one for one in PROJECTIONS if one.process != MLFLOW]
            assert printed.count("built anew") == len(built_by_migrate), printed
            assert totals == {5} and await listed() == 5
            await as_if_older(2)
            running.start_core()
            await asyncio.to_thread(running.wait_ready)
            await create_job(client, dataset_id, name="another")
            await eventually(lambda: applied(waiting, 6), what="the new version goes on")
            assert await listed() == 6
    finally:
        running.stop()
        await pool.close()


async def applied(count: Any, wanted: int) -> bool:
    return bool(await count() == wanted)
