"""A purged job leaves the archive too, and everything still balances."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import pytest

from events.types.deletion import JobPurged
from producers.database import Pool
from projections.archive import forget
from projections.archive.forget import forget_job
from projections.archive.parquet import event_of
from projections.archive.store import Store
from tests.builders import event
from tests.integration.projections.archive.archiving import (
    TOPICS,
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


async def test_the_archiver_obeys_a_purge_that_it_meets_and_keeps_its_facts(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish(world, [*some_events(25), *some_events(NEIGHBOUR)])
    await archive_all(world, pool)
    # Facts of the purge stand on every topic, in the middle of what others write; some of the job comes after it.
    purged = JobPurged(requested_by="operator", reason="asked to")
    facts = [event(purged, job_id=25, session="a" * 32, seq=1, topic=topic) for topic in TOPICS]
    late = [replace(found, session="f" * 32) for found in some_events(25, lines=3)]
    await publish(world, [*some_events(NEIGHBOUR, lines=2), *facts, *late])
    await archive_all(world, pool, part_records=4)
    for topic in TOPICS:
        found = await records_in_bucket(world, topic)
        mine = [record for record in found if record.key == b"25"]
        assert [event_of(record) for record in mine] == ["training.job.purged.v1"]
        others = [record for record in await log_records(world, topic) if record.key != b"25"]
        assert [record for record in found if record.key != b"25"] == others
    assert (await checked(world, pool)).differences == []
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT topic, job_id, done_at FROM write.archive_forgotten ORDER BY topic")
    assert [(row["topic"], row["job_id"]) for row in rows] == [(topic, 25) for topic in sorted(TOPICS)]
    assert all(row["done_at"] is not None for row in rows)


async def test_what_cannot_be_read_keeps_the_purge_open_until_it_is_repaired(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish(world, some_events(25))
    await archive_all(world, pool, part_records=100)
    key = next(key for key in in_bucket(world) if "metrics.reported" in key)
    world.store().put_object(world.archive_bucket, key, io.BytesIO(b"broken"), 6)
    assert not await forget_job(pool, Store(settings_of(world)), METRICS, 25)
    assert (await checked(world, pool, repair=True)).differences == []
    assert await forget_job(pool, Store(settings_of(world)), METRICS, 25)
    assert await records_in_bucket(world, METRICS) == []
