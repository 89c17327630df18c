"""A purged job and the archive: no file holds anything of it, a check still balances, a rebuild ends without it."""

from __future__ import annotations

from dataclasses import replace

from events.envelope import Event, Record
from events.types.deletion import JobPurged
from events.types.system import SystemSampled
from events.types.vocabulary import Fact
from producers.database import Pool, open_pool, transaction
from projections.archive.check import check
from projections.archive.log_reader import LogReader
from projections.archive.reading import Archive, history_records
from projections.registry import CORE, EARLY_STOP, of_process, projection_named
from projections.replays.rebuild import rebuild
from projections.replays.verify import verify
from projections.runtime.apply import apply_batch
from projections.runtime.build import Builder
from projections.runtime.source import log_records as in_log
from tests.builders import event, job_created, job_started, log_written, metrics_reported, session_opened
from tests.given import all_rows
from tests.integration.projections.archive.archiving import (
    archive_all,
    expire,
    log_records,
    publish,
    records_in_bucket,
    settings_of,
)
from tests.services import World
from training_sdk.wire import JOB_TOPICS, JOBS, LOGS, METRICS, SYSTEM

MARKER = "xq7doomedxq7"
READ_MODELS = [model for model in (*of_process(CORE), *of_process(EARLY_STOP)) if model.topic in JOB_TOPICS]


def a_run(job_id: int, word: str, session: str) -> list[Event[Fact]]:
    facts: dict[str, list[Fact]] = {
        JOBS: [job_created(name=word), job_started(hostname=word)],
        METRICS: [metrics_reported({word: [0.5, 0.25]})],
        LOGS: [log_written(word)],
        SYSTEM: [SystemSampled.model_validate({"cpu_percent": 1.0, "hostname": word})],
    }
    return [
        event(fact, job_id=job_id, session=session * 16, seq=seq, topic=topic)
        for topic in JOB_TOPICS
        for seq, fact in enumerate([session_opened(), *facts[topic]], start=1)
    ]


async def apply_log(pool: Pool, world: World) -> None:
    for model in READ_MODELS:
        await apply_batch(pool, model, await log_records(world, model.topic))


async def problems(world: World, pool: Pool) -> list[str]:
    settings = settings_of(world)
    log = LogReader(settings)
    await log.start()
    try:
        return (await check(Archive.of(pool, settings), log, JOB_TOPICS)).differences
    finally:
        await log.stop()


async def archived(world: World) -> list[Record]:
    return [record for topic in JOB_TOPICS for record in await records_in_bucket(world, topic)]


async def test_an_archived_job_is_purged_and_a_rebuild_from_the_archive_ends_without_it(migrated_world: World) -> None:
    world = migrated_world
    pool = await open_pool(world.database_url, size_max=8)
    try:
        await publish(world, [*a_run(25, MARKER, "0f"), *a_run(26, "kept", "0e")])
        await apply_log(pool, world)
        await archive_all(world, pool)
        assert MARKER in repr(await archived(world)) and MARKER in repr(await all_rows(pool))
        purge = JobPurged(requested_by="ann")
        await publish(world, [event(purge, job_id=25, session="ab" * 16, topic=topic) for topic in JOB_TOPICS])
        await apply_log(pool, world)
        await archive_all(world, pool)
        # A spool that is found later.
        await publish(world, [replace(late, session="cd" * 16) for late in a_run(25, MARKER, "cd")])
        await apply_log(pool, world)
        await archive_all(world, pool)
        found = await archived(world)
        assert MARKER not in repr(found) and "kept" in repr(found)
        assert [record.key for record in found].count(b"25") == len(JOB_TOPICS)
        assert await problems(world, pool) == []
        before = await all_rows(pool)
        assert MARKER not in repr(before) and "kept" in repr(before)

        for topic in JOB_TOPICS:
            await expire(world, topic)
        assert await problems(world, pool) == []
        for model in READ_MODELS:
            settings = settings_of(world)
            builder = Builder(pool, model, history_records(Archive.of(pool, settings), settings))
            assert (await verify(builder, quiet=True)).equal, model.name
            done = await rebuild(builder, quiet=True)
            assert done.flipped and done.comparison is not None and done.comparison.equal, model.name
        assert repr(await all_rows(pool)) == repr(before)
        async with transaction(pool, readonly=True) as tx:
            for model in READ_MODELS:
                view = f"{model.name.replace('-', '_')}_purged_jobs"
                assert await tx.fetch(f"SELECT job_id, requested_by FROM {view}") == [(25, "ann")], model.name
    finally:
        await pool.close()


async def test_a_version_that_is_kept_to_switch_back_to_forgets_the_job_or_goes(migrated_world: World) -> None:
    world = migrated_world
    pool = await open_pool(world.database_url, size_max=8)
    try:
        await publish(world, [*a_run(25, MARKER, "0f"), *a_run(26, "kept", "0e")])
        await apply_log(pool, world)
        records = in_log(world.kafka_bootstrap_servers, world.topic_prefix)
        for name in ("jobs", "logs"):
            assert (await rebuild(Builder(pool, projection_named(name), records), quiet=True)).flipped
        async with pool.acquire() as connection:
            kept = "SELECT schema_name FROM write.read_models WHERE state = 'retired' AND projection = $1"
            jobs, logs = [await connection.fetchval(kept, name) for name in ("jobs", "logs")]
            of_older_code = "UPDATE write.read_models SET version = version - 1 WHERE schema_name = $1"
            await connection.execute(of_older_code, jobs)
            messages = f'SELECT message FROM "{logs}".training_logs'
            assert {row["message"] for row in await connection.fetch(messages)} == {MARKER, "kept"}
        purge = JobPurged(requested_by="ann")
        await publish(world, [event(purge, job_id=25, session="ab" * 16, topic=topic) for topic in JOB_TOPICS])
        await apply_log(pool, world)
        async with pool.acquire() as connection:
            assert {row["message"] for row in await connection.fetch(messages)} == {"kept"}
            assert await connection.fetchval(f'SELECT count(*) FROM "{logs}".purged_jobs') == 1
            assert await connection.fetchval("SELECT to_regnamespace($1)", jobs) is None
            assert await connection.fetchval(kept, "jobs") is None
        assert MARKER not in repr(await all_rows(pool))
    finally:
        await pool.close()
