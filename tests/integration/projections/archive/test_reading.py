"""History outlives the topics: a fold goes on, or begins anew, from the archive and then from the log."""

from __future__ import annotations

import pytest

from events.envelope import Record
from producers.database import Pool, open_pool
from projections.archive.forget import forget_job
from projections.archive.reading import Archive, ArchiveBroken, history_records, read_history
from projections.archive.store import Store
from projections.registry import projection_named
from projections.replays.rebuild import rebuild
from projections.replays.verify import verify
from projections.runtime.apply import apply_batch
from projections.runtime.build import Builder
from projections.runtime.expired import RecordsExpired, step_over_expired
from projections.runtime.offset_reads import read_offsets
from tests.given import all_rows
from tests.integration.projections.archive.archiving import (
    archive_all,
    expire,
    in_bucket,
    in_order,
    log_records,
    publish,
    settings_of,
    some_events,
)
from tests.running import Running
from tests.services import World, free_port
from tests.waiting import eventually
from training_sdk.wire import JOBS, LOGS, METRICS, partition_of

PARTITION = partition_of(b"25")
FOLDED = ((METRICS, "metrics"), (LOGS, "logs"), (JOBS, "jobs"))


async def history(world: World, pool: Pool, topic: str, **limits: dict[int, int]) -> list[Record]:
    archive = Archive.of(pool, settings_of(world))
    batches = read_history(archive, world.kafka_bootstrap_servers, world.topic_prefix, topic, **limits)
    return in_order([record async for batch in batches for record in batch])


async def test_archive_and_log_are_one_history_wherever_it_is_cut(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish(world, [*some_events(25), *some_events(26)])
    await archive_all(world, pool)
    await publish(world, some_events(27))
    before = await log_records(world, METRICS)
    # In the middle of a part, and all that is archived of another partition.
    await expire(world, METRICS, {PARTITION: 7, partition_of(b"26"): 13})
    assert len(await log_records(world, METRICS)) == len(before) - 20
    assert await history(world, pool, METRICS) == before
    some = await history(world, pool, METRICS, start={PARTITION: 3}, until={PARTITION: 11})
    assert [record.offset for record in some if record.partition == PARTITION] == [*range(3, 11)]
    archived_only = await history(world, pool, METRICS, start={PARTITION: 3}, until={PARTITION: 6})
    assert [record.offset for record in archived_only if record.partition == PARTITION] == [3, 4, 5]


async def test_what_neither_has_is_said(pool: Pool, migrated_world: World, caplog: pytest.LogCaptureFixture) -> None:
    world = migrated_world
    await publish(world, some_events(25))
    await expire(world, LOGS, {PARTITION: 4})
    await archive_all(world, pool)
    await expire(world, LOGS, {PARTITION: 9})
    assert [record.offset for record in await history(world, pool, LOGS)] == [*range(4, 13)]
    assert f"{LOGS}/{PARTITION}: offsets 0 to 4 are in log and archive no more" in caplog.text


async def test_a_broken_file_is_never_taken_for_history(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish(world, some_events(25))
    await archive_all(world, pool)
    await expire(world, LOGS)
    world.store().remove_object(world.archive_bucket, next(key for key in in_bucket(world) if key.startswith(LOGS)))
    with pytest.raises(ArchiveBroken, match="archive repair"):
        await history(world, pool, LOGS)


async def test_a_worker_that_was_away_for_longer_than_the_topic_keeps_goes_on_from_the_archive(
    pool: Pool, migrated_world: World
) -> None:
    world = migrated_world
    await publish(world, some_events(25))
    for topic, name in FOLDED:
        await apply_batch(pool, projection_named(name), (await log_records(world, topic))[:4])
    await archive_all(world, pool)
    await publish(world, some_events(27))
    ends = {topic: len(await log_records(world, topic)) for topic in (METRICS, LOGS, JOBS)}
    await expire(world, METRICS, {PARTITION: 11})
    await expire(world, LOGS, {PARTITION: 13})
    running = Running(world, free_port())

    async def applied() -> bool:
        for topic, name in FOLDED:
            if sum((await read_offsets(pool, projection_named(name))).values()) < ends[topic]:
                return False
        return True

    try:
        running.start_core()
        await eventually(applied, timeout_s=60, what="everything is applied")
    finally:
        running.stop()
    rows = await all_rows(pool)
    assert sorted(row["message"] for row in rows["training_logs"]) == sorted(
        f"line {n} of job {job_id}" for n in range(12) for job_id in (25, 27)
    )
    assert "no more" not in running.log("core")


def builder(world: World, pool: Pool, name: str) -> Builder:
    settings = settings_of(world)
    return Builder(pool, projection_named(name), history_records(Archive.of(pool, settings), settings))


async def test_a_rebuild_begins_with_the_archive_and_ends_in_the_same_rows(migrated_world: World) -> None:
    world = migrated_world
    pool = await open_pool(world.database_url, size_max=8)
    try:
        await publish(world, [*some_events(25), *some_events(26)])
        await archive_all(world, pool)
        await publish(world, some_events(27))
        for topic, name in FOLDED:
            await apply_batch(pool, projection_named(name), await log_records(world, topic))
        before = await all_rows(pool)
        await expire(world, JOBS)
        await expire(world, METRICS, {PARTITION: 8})
        with pytest.raises(RecordsExpired):
            # Those of job 27 are not archived yet.
            await rebuild(builder(world, pool, "jobs"), quiet=True)
        await expire(world, LOGS, {PARTITION: 13})
        for name in ("metrics", "logs"):
            assert (await verify(builder(world, pool, name), quiet=True)).equal
            done = await rebuild(builder(world, pool, name), quiet=True)
            assert done.flipped and done.comparison is not None
            assert done.comparison.equal and done.comparison.not_comparable == []
        assert repr(await all_rows(pool)) == repr(before)
    finally:
        await pool.close()


async def test_a_rebuild_knows_what_was_forgotten_from_what_is_missing(migrated_world: World) -> None:
    """Offsets of a purged job are no hole in the archive."""
    world = migrated_world
    pool = await open_pool(world.database_url, size_max=8)
    try:
        await publish(world, [*some_events(25), *some_events(26)])
        await archive_all(world, pool)
        await forget_job(pool, Store(settings_of(world)), LOGS, 26)
        logs = [record for record in await log_records(world, LOGS) if record.key == b"25"]
        ends = {record.partition: record.offset + 1 for record in await log_records(world, LOGS)}
        await apply_batch(pool, projection_named("logs"), logs)
        await step_over_expired(pool, projection_named("logs"), ends)
        before = await all_rows(pool)
        await expire(world, LOGS)
        done = await rebuild(builder(world, pool, "logs"), quiet=True)
        assert done.flipped and done.comparison is not None and done.comparison.equal
        assert repr(await all_rows(pool)) == repr(before)
    finally:
        await pool.close()
