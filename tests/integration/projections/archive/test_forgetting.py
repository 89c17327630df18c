"""A purged job leaves the archive too, and everything still balances."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from producers.database import Pool
from projections.archive import forget
from projections.archive.forget import forget_job
from projections.archive.store import Store
from tests.integration.projections.archive.archiving import (
    DiesAt,
    Killed,
    archive_all,
    checked,
    in_bucket,
    log_records,
    publish,
    records_in_bucket,
    settings_of,
    some_events,
)
from tests.services import World
from training_sdk.wire import LOGS, METRICS, partition_of

NEIGHBOUR = next(job for job in range(26, 200) if partition_of(str(job).encode()) == partition_of(b"25"))


async def jobs_in_bucket(world: World, topic: str) -> list[bytes | None]:
    return [record.key for record in await records_in_bucket(world, topic)]


async def test_a_job_leaves_every_file_and_the_archive_still_balances(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish(world, [*some_events(25), *some_events(NEIGHBOUR)])
    await archive_all(world, pool)
    names, logs = set(in_bucket(world)), await records_in_bucket(world, LOGS)
    store = Store(settings_of(world))
    assert await forget_job(pool, store, METRICS, 25)
    assert set(in_bucket(world)) == names
    assert set(await jobs_in_bucket(world, METRICS)) == {str(NEIGHBOUR).encode()}
    assert await records_in_bucket(world, LOGS) == logs, "only the topic that was named"
    before = in_bucket(world)
    assert await forget_job(pool, store, METRICS, 25)
    assert in_bucket(world) == before
    assert (await checked(world, pool)).differences == []
    # What comes later, from a spool that was found, is left out as well; repair does not bring it back.
    await publish(world, [replace(found, session="f" * 32) for found in some_events(25)])
    await archive_all(world, pool)
    assert set(await jobs_in_bucket(world, METRICS)) == {str(NEIGHBOUR).encode()}
    for key in in_bucket(world):
        if key.startswith(METRICS):
            world.store().remove_object(world.archive_bucket, key)
    assert (await checked(world, pool, repair=True)).differences == []
    assert set(await jobs_in_bucket(world, METRICS)) == {str(NEIGHBOUR).encode()}


async def test_killed_while_it_forgets_the_archiver_ends_it(
    pool: Pool, migrated_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = migrated_world
    # Before and after a file is looked at, and before and after it is written: each time a job that it held.
    victims = [job for job in range(26, 300) if partition_of(str(job).encode()) == partition_of(b"25")][:4]
    await publish(world, [found for job in (25, *victims) for found in some_events(job, lines=3)])
    await archive_all(world, pool, part_records=7)
    for step, victim in enumerate(victims, start=1):
        dies = DiesAt(step)
        with monkeypatch.context() as patched:
            patched.setattr(Store, "write", dies.around(Store.write))
            patched.setattr(forget, "_rewrite", dies.around(forget._rewrite))
            with pytest.raises(Killed):
                await forget_job(pool, Store(settings_of(world)), METRICS, victim)
        await archive_all(world, pool)
        assert str(victim).encode() not in await jobs_in_bucket(world, METRICS)
    assert set(await jobs_in_bucket(world, METRICS)) == {b"25"}
    assert (await checked(world, pool)).differences == []


async def test_forgetting_and_archiving_at_once_leave_nothing(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish(world, [*some_events(25), *some_events(NEIGHBOUR)])
    await asyncio.gather(archive_all(world, pool), forget_job(pool, Store(settings_of(world)), METRICS, 25))
    await archive_all(world, pool)
    assert set(await jobs_in_bucket(world, METRICS)) == {str(NEIGHBOUR).encode()}
    report = await checked(world, pool)
    assert report.differences == []
    assert (
        report.compared
        > report.records
        == sum([len(await records_in_bucket(world, topic)) for topic in ("training.jobs", METRICS, LOGS)])
    )
    assert len(await log_records(world, METRICS)) > len(await records_in_bucket(world, METRICS))
