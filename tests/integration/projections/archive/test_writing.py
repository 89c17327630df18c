"""Every record of the log lies in S3 exactly once, whatever dies when, and a check finds whatever is wrong with it."""

from __future__ import annotations

import asyncio
import io
import random
import signal
from pathlib import Path

import duckdb
import pytest
from aiokafka import AIOKafkaProducer

from producers.database import Pool
from projections.archive import ledger
from projections.archive.adopt import adopt_unknown
from projections.archive.reading import Archive
from projections.archive.store import Store
from tests.integration.projections.archive.archiving import (
    TOPICS,
    DiesAt,
    Killed,
    an_archiver,
    archive_all,
    checked,
    expire,
    in_bucket,
    log_records,
    publish,
    records_in_bucket,
    settings_of,
    shuffled,
    some_events,
)
from tests.services import World
from tests.waiting import eventually
from training_sdk.replay.columns import UNREADABLE, parse_key
from training_sdk.wire import JOBS, LOGS, METRICS, partition_of

# Two jobs of one partition and one of another.
SAME_PARTITION = [job for job in range(25, 200) if partition_of(str(job).encode()) == partition_of(b"25")][:2]
JOBS_OF_TESTS = (*SAME_PARTITION, 26)


async def publish_some(world: World, seed: int = 0) -> None:
    source = random.Random(seed)
    await publish(world, shuffled(source, *(some_events(job) for job in JOBS_OF_TESTS)))


async def assert_exactly_once(world: World, pool: Pool) -> None:
    for topic in TOPICS:
        assert await records_in_bucket(world, topic) == await log_records(world, topic), topic
    report = await checked(world, pool)
    assert report.differences == []
    assert report.records == report.compared == sum([len(await log_records(world, topic)) for topic in TOPICS])


async def test_everything_is_archived_once_and_duckdb_reads_it_in_place(
    pool: Pool, migrated_world: World, tmp_path: Path
) -> None:
    await publish_some(migrated_world)
    await archive_all(migrated_world, pool)
    await assert_exactly_once(migrated_world, pool)
    before = in_bucket(migrated_world)
    await archive_all(migrated_world, pool)
    assert in_bucket(migrated_world) == before

    for key, content in before.items():
        path = tmp_path / "archive" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with duckdb.connect() as connection:
        rows = connection.sql(
            f"""
            SELECT job_id, count(*), min(day)::text, any_value(event)
            FROM read_parquet('{tmp_path}/archive/training.metrics/*/*/*.parquet', hive_partitioning = true)
            WHERE event = 'training.metrics.reported.v1'
            GROUP BY job_id ORDER BY job_id
            """
        ).fetchall()
        (days,) = {parse_key(key).day.isoformat() for key in before}
        assert rows == [(job, 12, days, "training.metrics.reported.v1") for job in sorted(JOBS_OF_TESTS)]
        loss = connection.sql(
            f"""
            SELECT json_extract(decode(value), '$.values.loss[0]')::double
            FROM read_parquet('{tmp_path}/archive/training.metrics/*/*/*.parquet', hive_partitioning = true)
            WHERE event = 'training.metrics.reported.v1' AND job_id = 26 ORDER BY "offset" LIMIT 1
            """
        ).fetchall()
        assert loss == [(1.0,)]


async def test_what_anybody_puts_into_a_topic_is_archived_as_it_is(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka_bootstrap_servers)
    await producer.start()
    try:
        odd = [
            (None, b"no key", []),
            (b"25", None, []),
            (b"\xff\x00", b"", [("", b"")]),
            (b"25", b"no JSON", [("ce_type", None), ("ce_type", b"\xfe"), ("ce_type", b"twice")]),
            (b"25", b"x" * 900_000, [("ce_type", b"training.metrics.reported.v1")]),
        ]
        for key, value, headers in odd:
            await producer.send_and_wait(
                world.topic_prefix + METRICS, value=value, key=key, headers=headers, partition=1
            )
    finally:
        await producer.stop()
    await archive_all(world, pool)
    found = await records_in_bucket(world, METRICS)
    assert [(record.key, record.value, record.headers) for record in found] == odd
    assert {parse_key(key).event for key in in_bucket(world)} == {UNREADABLE}
    assert (await checked(world, pool)).differences == []


# A part has a step before and after its range is noted, each of its files is written, and it is marked done.
STEPS = (1, 2, 3, 4, 5, 6, 8)


@pytest.mark.full
async def test_killed_between_any_two_steps_it_goes_on_with_the_same_files(
    pool: Pool, migrated_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, job = migrated_world, JOBS_OF_TESTS[0]
    for round_number, step in enumerate(STEPS):
        await publish(world, some_events(job, lines=round_number + 3))
        dies = DiesAt(step)
        with monkeypatch.context() as patched:
            patched.setattr(ledger, "begin", dies.around(ledger.begin))
            patched.setattr(ledger, "finish", dies.around(ledger.finish))
            patched.setattr(Store, "write", dies.around(Store.write))
            with pytest.raises(Killed):
                await archive_all(world, pool, part_records=6)
        left = in_bucket(world)
        # Other limits now: the range that was written down counts, or names would differ.
        await archive_all(world, pool, part_records=100)
        after = in_bucket(world)
        assert {key: after[key] for key in left} == left
    await assert_exactly_once(world, pool)


async def test_two_archivers_at_once_share_the_work(pool: Pool, migrated_world: World) -> None:
    await publish_some(migrated_world)
    async with an_archiver(migrated_world, pool, part_records=3) as one, an_archiver(migrated_world, pool) as other:
        await asyncio.gather(one.step(), other.step())
        await one.step()
    await assert_exactly_once(migrated_world, pool)


@pytest.mark.full
async def test_the_process_survives_kill_9_and_goes_on(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    quick = {"EPOCHLOG_ARCHIVE_AGE_S": "0.1", "EPOCHLOG_ARCHIVE_PART_RECORDS": "2"}

    async def archived(records: int) -> bool:
        async with pool.acquire() as connection:
            rows = "SELECT coalesce(sum(records), 0) FROM write.archive_parts WHERE state = 'done'"
            return int(await connection.fetchval(rows)) >= records

    async def said_that_it_lives() -> bool:
        async with pool.acquire() as connection:
            return bool(await connection.fetchval("SELECT 1 FROM write.workers WHERE process LIKE '%-archive'"))

    await publish_some(world)
    first = world.start("-m", "projections", "run", "archive", log="first", **quick)
    try:
        await eventually(lambda: archived(5), timeout_s=60, what="the first parts are archived")
    finally:
        first.kill()
        first.wait()
    await publish_some(world, seed=1)
    total = sum([len(await log_records(world, topic)) for topic in TOPICS])
    second = world.start("-m", "projections", "run", "archive", log="second", **quick)
    try:
        await eventually(lambda: archived(total), timeout_s=60, what="everything is archived")
        assert await said_that_it_lives()
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0, (world.folder / "second.log").read_text()
    finally:
        second.kill()
        second.wait()
    await assert_exactly_once(world, pool)
    assert "all whole" in await asyncio.to_thread(world.run, "-m", "projections", "archive", "verify")


def replace_object(world: World, key: str, content: bytes) -> None:
    world.store().put_object(world.archive_bucket, key, io.BytesIO(content), len(content))


async def test_a_check_finds_what_is_wrong_and_repair_mends_it_from_the_log(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish_some(world)
    await archive_all(world, pool)
    before = in_bucket(world)
    keys = [key for key in before if key.startswith(METRICS)]
    world.store().remove_object(world.archive_bucket, keys[0])
    replace_object(world, keys[1], before[keys[1]][:-1])
    replace_object(world, keys[2], before[keys[3]])
    async with pool.acquire() as connection:
        await connection.execute("DELETE FROM write.archive_parts WHERE topic = $1 AND first_offset = 5", LOGS)
    report = await checked(world, pool)
    assert [line for line in report.differences if "missing" in line] == [
        f"s3://{world.archive_bucket}/{keys[0]}: it is missing"
    ]
    assert len([line for line in report.differences if "bytes are not" in line]) == 2
    assert len([line for line in report.differences if "a gap after" in line]) >= 1
    assert len([line for line in report.differences if "no part in the ledger" in line]) >= 1
    mended = await checked(world, pool, repair=True)
    assert len(mended.repaired) == 3
    assert {key: content for key, content in in_bucket(world).items() if key in keys} == {
        key: before[key] for key in keys
    }
    assert [line for line in mended.differences if METRICS in line] == []


async def test_what_is_broken_and_not_in_the_log_any_more_is_said_and_left(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish_some(world)
    await archive_all(world, pool)
    key = next(key for key in in_bucket(world) if key.startswith(LOGS))
    world.store().remove_object(world.archive_bucket, key)
    await expire(world, LOGS)
    report = await checked(world, pool, repair=True)
    assert report.differences == [f"s3://{world.archive_bucket}/{key}: it is missing"]
    assert report.repaired == []


async def test_a_record_that_differs_from_the_log_is_found(pool: Pool, migrated_world: World) -> None:
    """Somebody changed file and ledger alike: only the log itself can tell."""
    world = migrated_world
    await publish_some(world)
    await archive_all(world, pool)
    from dataclasses import asdict, replace

    from projections.archive.files import describe
    from projections.archive.parquet import from_parquet, to_parquet

    key = next(key for key in in_bucket(world) if "log.written" in key)
    file = from_parquet(in_bucket(world)[key])
    records = [replace(file.records[0], value=b"{}"), *file.records[1:]]
    content = to_parquet(records, file.part, [])
    replace_object(world, key, content)
    async with pool.acquire() as connection:
        await ledger.queries.update_object(connection, **asdict(describe(key, records, content, [])))
    report = await checked(world, pool)
    assert len(report.differences) == 1
    assert f"offset {records[0].offset} is not what stands in the log" in report.differences[0]


async def test_a_ledger_that_was_lost_is_read_from_the_bucket(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    await publish_some(world)
    await archive_all(world, pool)
    before = in_bucket(world)
    # One part was being written when everything was lost.
    torn = max(key for key in before if key.startswith(f"{JOBS}/event=training.job.created.v1"))
    world.store().remove_object(world.archive_bucket, torn)
    async with pool.acquire() as connection:
        await connection.execute("TRUNCATE write.archive_parts, write.archive_objects")
    settings = settings_of(world)
    adopted = await adopt_unknown(Archive.of(pool, settings))
    assert adopted
    async with pool.acquire() as connection:
        assert len(await ledger.open_places(connection)) == 1
    await archive_all(world, pool, part_records=3)
    assert in_bucket(world) == before
    await assert_exactly_once(world, pool)
    assert await adopt_unknown(Archive.of(pool, settings)) == []


async def test_what_expired_before_it_was_archived_is_said(pool: Pool, migrated_world: World) -> None:
    world, partition = migrated_world, partition_of(b"26")
    await publish(world, some_events(26))
    await archive_all(world, pool)
    await publish(world, some_events(26, lines=20))
    await expire(world, LOGS, {partition: 20})
    await archive_all(world, pool)
    report = await checked(world, pool)
    assert report.differences == [f"{LOGS}/{partition} from 13 to 20: was gone from the log before it was archived"]
    assert [record.offset for record in await records_in_bucket(world, LOGS)] == [*range(13), *range(20, 34)]
