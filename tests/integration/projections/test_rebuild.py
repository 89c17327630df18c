"""Read models are folded from their log again beside the live ones: compared, switched, switched back, verified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from events.envelope import Event, Record
from events.types.checkpoints import CheckpointSaved
from events.types.vocabulary import Fact
from producers.database import Pool, open_pool, transaction
from producers.kafka.publisher import KafkaPublisher
from projections.mlflow_mirror.recorded import Recorded, recorded
from projections.registry import of_process, projection_named
from projections.replays.rebuild import flip_back, rebuild
from projections.replays.verify import verify
from projections.runtime.apply import apply_batch
from projections.runtime.build import Builder
from projections.runtime.expired import RecordsExpired
from projections.runtime.replay import read_topic
from projections.runtime.source import Source, log_records
from projections.runtime.versions import WrongVersion, switch
from tests.builders import (
    event,
    job_completed,
    job_created,
    job_started,
    log_written,
    metrics_reported,
    record,
    session_opened,
    wire,
)
from tests.given import all_rows
from tests.services import World
from tests.waiting import eventually
from training_sdk.wire import JOBS, LOGS, METRICS, WireEvent, partition_of

CORE = of_process("core")
JOB_IDS = (21, 22, 23)


def run_of(job_id: int) -> list[WireEvent]:
    """A run with some of everything, one event of which was sent twice, and one record that is no event."""
    facts: list[tuple[str, Fact]] = [(topic, session_opened()) for topic in (JOBS, METRICS, LOGS)]
    facts += [(JOBS, job_created()), (JOBS, job_started())]
    for number in range(6):
        values: dict[str, list[float | None]] = {"loss": [0.5 + number] * 400, "lr": [None, *[float("nan")] * 399]}
        facts.append((METRICS, metrics_reported(values, first_step=400 * number)))
        facts.append((METRICS, metrics_reported({"mAP50": [0.1]}, phase="val", first_step=None, epoch=number)))
        facts.append((LOGS, log_written(f"line {number}", "and another")))
    facts += [(JOBS, CheckpointSaved(epoch=1, checkpoint_path=f"s3://b/{job_id}")), (JOBS, job_completed())]
    seqs: dict[str, int] = {}
    messages = []
    for topic, fact in facts:
        seqs[topic] = seqs.get(topic, 0) + 1
        made: Event[Fact] = event(fact, job_id=job_id, session=f"{job_id:032x}", seq=seqs[topic], topic=topic)
        messages.append(wire(made))
    bad = replace(messages[-1], seq=seqs[JOBS] + 1, data=b"no JSON")
    return [*messages, messages[5], bad]


@pytest_asyncio.fixture
async def pool(migrated_world: World) -> AsyncIterator[Pool]:
    """Read models of the core process, up to the end of a log with three runs."""
    opened = await open_pool(migrated_world.database_url, size_max=8)
    publisher = KafkaPublisher(migrated_world.kafka_bootstrap_servers, migrated_world.topic_prefix)
    await publisher.publish([message for job_id in JOB_IDS for message in run_of(job_id)])
    await publisher.close()
    await follow(opened, migrated_world)
    yield opened
    await opened.close()


async def follow(pool: Pool, world: World) -> None:
    for projection in CORE:
        async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, projection.topic):
            await apply_batch(pool, projection, batch)


def builder(pool: Pool, world: World, name: str, source: Source | None = None) -> Builder:
    records = log_records(world.kafka_bootstrap_servers, world.topic_prefix)
    return Builder(pool, projection_named(name), records if source is None else replace(records, read=source))


async def states(pool: Pool, name: str) -> dict[int, str]:
    async with transaction(pool, readonly=True) as tx:
        rows = await tx.fetch("SELECT build, state FROM write.read_models WHERE projection = $1", name)
    return {row["build"]: row["state"] for row in rows}


async def change(pool: Pool, statement: str) -> None:
    async with transaction(pool) as tx:
        assert await tx.execute(statement) not in ("UPDATE 0", "DELETE 0", "INSERT 0 0"), statement


async def test_every_read_model_is_equal_to_its_log_and_a_rebuild_changes_nothing(
    pool: Pool, migrated_world: World
) -> None:
    before = await all_rows(pool)
    for projection in CORE:
        found = await verify(builder(pool, migrated_world, projection.name), quiet=True)
        assert found.equal and not found.shown and not found.not_comparable, found.document()
        assert await states(pool, projection.name) == {1: "live"}
        done = await rebuild(builder(pool, migrated_world, projection.name), quiet=True)
        assert done.flipped and done.comparison is not None and done.comparison.equal
        assert await states(pool, projection.name) == {1: "retired", 2: "live"}
    assert repr(await all_rows(pool)) == repr(before)
    indexes = "SELECT tablename, indexname FROM pg_indexes WHERE schemaname = $1 ORDER BY indexname"
    async with transaction(pool, readonly=True) as tx:
        for name in (f"logs_v{projection_named('logs').version}", f"metrics_v{projection_named('metrics').version}"):
            assert await tx.fetch(indexes, f"{name}_1") == await tx.fetch(indexes, f"{name}_2") != []


TAIL = "tail_chunk, tail_points"
LOSS = "job_id = 23 AND name = 'train/loss'"
EXTRA_LINES = """
    INSERT INTO training_logs
    SELECT id + 500, job_id, level, message, timestamp, source, metadata, created_at, attempt, rank
    FROM training_logs WHERE job_id = 23"""
CORRUPTIONS = (
    # read model, what somebody does by hand, table and column that are named, rows that differ
    ("jobs", "UPDATE training_jobs SET name = 'other' WHERE id = 22", "training_jobs", "name", 1),
    ("jobs", "DELETE FROM job_events WHERE job_id = 22 AND type LIKE '%started%'", "job_events", None, 1),
    ("jobs", "DELETE FROM jobs_dead_letters WHERE key = '22'::bytea", "dead_letters", None, 1),
    ("checkpoints", "DELETE FROM training_checkpoints WHERE job_id = 21", "training_checkpoints", None, 1),
    ("logs", "UPDATE training_logs SET message = '' WHERE message = 'line 3'", "training_logs", "message", 3),
    ("logs", EXTRA_LINES, "training_logs", None, 12),
    ("logs", "UPDATE logs_session_marks SET high = high - 1 WHERE job_id = 22", "session_marks", "high", 1),
    (
        "metrics",
        f'UPDATE metric_chunks SET "values"[7] = 9 WHERE {LOSS} AND chunk = 1',
        "training_metrics",
        "value",
        1,
    ),
    ("metrics", f"DELETE FROM metric_chunks WHERE {LOSS} AND chunk = 1", "training_metrics", None, 1_000),
    ("metrics", f"UPDATE metric_chunks SET value_max = 7 WHERE {LOSS} AND chunk = 0", "metric_chunks", "value_max", 1),
    ("metrics", f"UPDATE metric_series SET last_value = 3 WHERE {LOSS}", "metric_series", "last_value", 1),
    ("metrics", f"UPDATE metric_series SET tail_points = 3 WHERE {LOSS}", "metric_series", TAIL, 1),
    ("metrics", "UPDATE metric_epochs SET value = 0.9 WHERE job_id = 23 AND epoch = 2", "metric_epochs", "value", 1),
)


async def test_what_was_changed_by_hand_is_found_named_and_healed(pool: Pool, migrated_world: World) -> None:
    before = await all_rows(pool)
    for name, statement, table, column, count in CORRUPTIONS:
        await change(pool, statement)
        found = await verify(builder(pool, migrated_world, name), quiet=True)
        assert (table, found.rows.get(table)) == (table, count), (statement, found.document())
        assert column in {one.column for one in found.shown if one.table == table}, (statement, found.document())
        done = await rebuild(builder(pool, migrated_world, name), quiet=True)
        assert done.flipped and done.comparison is not None
        assert done.comparison.document() == found.document()
    for name in {name for name, *_ in CORRUPTIONS}:
        assert (await verify(builder(pool, migrated_world, name), quiet=True)).equal
    assert repr(await all_rows(pool)) == repr(before)


async def test_where_something_differs_only_if_equal_switches_nothing(pool: Pool, migrated_world: World) -> None:
    await change(pool, "DELETE FROM training_checkpoints WHERE job_id = 21")
    done = await rebuild(builder(pool, migrated_world, "checkpoints"), only_if_equal=True, quiet=True)
    assert not done.flipped and done.comparison is not None and done.comparison.rows == {"training_checkpoints": 1}
    assert await states(pool, "checkpoints") == {1: "live", 2: "building"}
    # What was built is there already.
    done = await rebuild(builder(pool, migrated_world, "checkpoints"), quiet=True)
    assert done.flipped and await states(pool, "checkpoints") == {1: "retired", 2: "live"}


class Cut(Exception):
    pass


def cut_after(world: World, batches: int) -> Source:
    """A source whose reader dies."""

    async def source(topic: str, start: Mapping[int, int], until: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        given = log_records(world.kafka_bootstrap_servers, world.topic_prefix).read(topic, start, until)
        count = 0
        async for batch in given:
            for one in batch:
                yield [one]
                count += 1
                if count >= batches:
                    raise Cut

    return source


async def test_a_rebuild_that_was_cut_goes_on_and_of_two_at_once_one_builds(
    pool: Pool, migrated_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await all_rows(pool)
    monkeypatch.setattr("projections.runtime.source.PORTION_RECORDS_MAX", 1)
    for batches in (3, 5):
        with pytest.raises(Cut):
            await rebuild(builder(pool, migrated_world, "metrics", cut_after(migrated_world, batches)), quiet=True)
        assert await states(pool, "metrics") == {1: "live", 2: "building"}
        assert repr(await all_rows(pool)) == repr(before)
    async with transaction(pool, readonly=True) as tx:
        version = projection_named("metrics").version
        applied = f"SELECT sum(next_offset) FROM metrics_v{version}_2.projection_offsets"
        assert 0 < await tx.fetchval(applied) <= 8
    both = [rebuild(builder(pool, migrated_world, "metrics"), quiet=True) for _ in range(2)]
    done = await asyncio.gather(*both)
    assert sorted(one.comparison is None for one in done) == [False, True]
    assert all(one.flipped and one.live.build == 2 for one in done)
    assert await states(pool, "metrics") == {1: "retired", 2: "live"}
    assert repr(await all_rows(pool)) == repr(before)
    async with transaction(pool, readonly=True) as tx:
        rows = await tx.fetch("SELECT state, result FROM write.builds WHERE projection = 'metrics' ORDER BY id")
    assert [row["state"] for row in rows] == ["failed", "failed", "done"]
    assert rows[2]["result"]["equal"] is True


async def test_flip_back_brings_the_retired_version_up_to_date_and_can_be_flipped_again(
    pool: Pool, migrated_world: World
) -> None:
    with pytest.raises(WrongVersion, match="no version to flip back to"):
        await flip_back(builder(pool, migrated_world, "logs"), quiet=True)
    await rebuild(builder(pool, migrated_world, "logs"), quiet=True)
    publisher = KafkaPublisher(migrated_world.kafka_bootstrap_servers, migrated_world.topic_prefix)
    later = event(log_written("later"), job_id=21, session=f"{21:032x}", seq=8, topic=LOGS)
    await publisher.publish([wire(later)])
    await publisher.close()
    await follow(pool, migrated_world)
    before = await all_rows(pool)
    for live in (1, 2, 1):
        done = await flip_back(builder(pool, migrated_world, "logs"), quiet=True)
        assert done.live.build == live
        assert repr(await all_rows(pool)) == repr(before)
    assert (await verify(builder(pool, migrated_world, "logs"), quiet=True)).equal


async def test_other_code_is_refused(pool: Pool, migrated_world: World) -> None:
    newer = replace(projection_named("logs"), version=projection_named("logs").version + 1)
    for what in (rebuild, verify, flip_back):
        with pytest.raises(WrongVersion, match="run: python -m projections migrate"):
            await what(replace(builder(pool, migrated_world, "logs"), projection=newer), quiet=True)


async def expire(world: World, topic: str, partition: int, before: int) -> None:
    """As retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka_bootstrap_servers)
    await admin.start()
    try:
        place = TopicPartition(world.topic_prefix + topic, partition)
        assert await admin.delete_records({place: RecordsToDelete(before_offset=before)}) == {place: before}
    finally:
        await admin.close()


async def test_rows_of_expired_records_stay_and_what_adds_records_up_is_refused(
    pool: Pool, migrated_world: World
) -> None:
    world, partition = migrated_world, partition_of(b"22")
    before = await all_rows(pool)
    await expire(world, LOGS, partition, 4)
    await expire(world, METRICS, partition, 4)
    await change(pool, "UPDATE training_logs SET message = 'other' WHERE job_id = 22 AND message = 'line 5'")
    found = await verify(builder(pool, world, "logs"), quiet=True)
    assert found.rows == {"training_logs": 1}
    (said,) = found.not_comparable
    assert said.startswith(f"training.logs/{partition} before offset 4: ")
    for _ in range(2):
        done = await rebuild(builder(pool, world, "logs"), quiet=True)
        assert done.flipped and repr(await all_rows(pool)) == repr(before)
    async with transaction(pool, readonly=True) as tx:
        assert await tx.fetchval("SELECT high FROM logs_session_marks WHERE job_id = 22") == 7
        assert await tx.fetchval("SELECT gaps FROM logs_session_marks WHERE job_id = 22") == []
    with pytest.raises(RecordsExpired, match="cannot be folded from what is left"):
        await rebuild(builder(pool, world, "metrics"), quiet=True)


async def test_a_batch_that_waited_for_the_switch_goes_into_the_new_version(pool: Pool, migrated_world: World) -> None:
    await change(pool, "DELETE FROM training_checkpoints WHERE job_id = 21")
    kept = await rebuild(builder(pool, migrated_world, "checkpoints"), only_if_equal=True, quiet=True)
    assert kept.other is not None
    projection, saved = projection_named("checkpoints"), CheckpointSaved(epoch=9, checkpoint_path="s3://b/later")
    later = record(event(saved, job_id=21, session=f"{21:032x}", seq=90, topic=JOBS), offset=1_000)
    async with pool.acquire() as connection:
        async with switch(connection, kept.live, kept.other):
            applying = asyncio.create_task(apply_batch(pool, projection, [later]))

            async def waits() -> bool:
                query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
                return bool(await connection.fetchval(query))

            await eventually(waits, what="the batch waits")
        assert (await applying).events == 1
    async with transaction(pool, readonly=True) as tx:
        found = await tx.fetch("SELECT epoch FROM training_checkpoints WHERE job_id = 21 ORDER BY epoch")
    assert [row["epoch"] for row in found] == [1, 9]
    assert await states(pool, "checkpoints") == {1: "retired", 2: "live"}


async def test_mlflow_is_told_nothing_again(pool: Pool, migrated_world: World) -> None:
    """Only the run of a job whose row was lost is looked for."""
    world, runs = migrated_world, {job_id: (f"run-{job_id}", "7") for job_id in JOB_IDS}
    for name in ("mlflow-runs", "mlflow-metrics"):
        projection = projection_named(name)
        async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, projection.topic):
            await apply_batch(pool, projection, batch, outside=Recorded(dict(runs), None))
    looked_for = []

    class Mirror:
        async def run_of(self, job_id: int, created: Any = None) -> tuple[str, str]:
            looked_for.append(job_id)
            return runs[job_id]

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"MLflow was told something: {name}")

    async def told_nobody(name: str, mlflow: Any) -> Builder:
        return replace(builder(pool, world, name), outside=await recorded(pool, mlflow))

    for name in ("mlflow-runs", "mlflow-metrics"):
        done = await rebuild(await told_nobody(name, Mirror), quiet=True)
        assert done.comparison is not None and done.comparison.equal, done.document()
    assert looked_for == []
    await change(pool, "DELETE FROM mlflow_runs WHERE job_id = 22")
    found = await verify(await told_nobody("mlflow-runs", None), quiet=True)
    assert found.rows == {"mlflow_runs": 1}
    await rebuild(await told_nobody("mlflow-runs", Mirror), quiet=True)
    assert looked_for == [22]
    assert (await verify(await told_nobody("mlflow-runs", None), quiet=True)).equal
