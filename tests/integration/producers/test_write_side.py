"""The one door, the outbox and its relay, on real Postgres."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from events.codec import decode
from events.envelope import Position
from events.types.datasets import DatasetRegistered
from producers import outbox
from producers.accept import accept
from producers.callbacks import Body, ReportCompletion, ReportMetrics, ReportStarted
from producers.commands import CreateJob, PauseJob, RegisterDataset, ResumeJob
from producers.database import Pool, connect, open_pool, transaction
from producers.errors import Invalid, NotFound
from producers.job_state import load_jobs
from producers.kafka.memory import MemoryPublisher
from producers.kafka.publisher import KafkaPublisher, PublishFailed
from producers.migrate import Migration, MigrationRefused, migrate, migrations
from producers.relay import Relay
from tests.running import DATASET, JOB
from tests.services import World
from tests.waiting import eventually
from training_sdk.wire import METRICS, WireEvent


@pytest_asyncio.fixture
async def pool(migrated_world: World) -> AsyncIterator[Pool]:
    opened = await open_pool(migrated_world.database_url, size_max=10)
    yield opened
    await opened.close()


def now() -> datetime:
    return datetime.now(UTC)


async def a_job(pool: Pool) -> int:
    description = DatasetRegistered.model_validate(DATASET)
    dataset = await accept(pool, None, RegisterDataset(description=description), None, now())
    command = CreateJob.model_validate({**JOB, "dataset_id": dataset.id})
    return (await accept(pool, None, command, None, now())).id


def measure(step: int) -> ReportMetrics:
    return ReportMetrics(epoch=1, step=step, metrics={"loss": 1 / step})


async def test_a_job_is_there_at_once_though_nothing_was_ever_projected(pool: Pool) -> None:
    job_id = await a_job(pool)
    await accept(pool, job_id, ReportStarted(pid=1, hostname="pod"), None, now())
    async with transaction(pool) as tx:
        jobs = await load_jobs(tx, [job_id, job_id + 1])
    assert [(job.id, str(job.state), job.pid) for job in jobs.values()] == [(job_id, "running", 1)]
    with pytest.raises(NotFound):
        await accept(pool, job_id + 1, ReportStarted(pid=1), None, now())


async def test_fifty_same_requests_at_once_are_one(pool: Pool) -> None:
    job_id = await a_job(pool)
    receipts = await asyncio.gather(*(accept(pool, job_id, measure(1), None, now()) for _ in range(50)))
    assert sum(not receipt.repeated for receipt in receipts) == 1
    assert len({receipt.outbox_ids for receipt in receipts}) == 1
    assert all(receipt.answer == {"status": "ok", "job_id": job_id} for receipt in receipts)


async def test_what_a_run_by_hand_says_again_after_it_was_resumed_is_no_repeat(pool: Pool) -> None:
    job_id = await a_job(pool)
    told: list[Body] = [ReportStarted(pid=1, hostname="pod"), PauseJob(), ReportCompletion(status="stopped")]
    for state, body in zip(("running", "pausing", "paused", "queued") * 3, (*told, ResumeJob()) * 3, strict=True):
        assert not (await accept(pool, job_id, body, None, now())).repeated, body
        assert isinstance(body, PauseJob | ResumeJob) or (await accept(pool, job_id, body, None, now())).repeated
        async with transaction(pool) as tx:
            assert str((await load_jobs(tx, [job_id]))[job_id].state) == state


async def test_a_refused_request_leaves_nothing_behind(pool: Pool) -> None:
    job_id = await a_job(pool)
    before = await pool.fetchval("SELECT count(*) FROM write.outbox")
    with pytest.raises(Invalid):
        await accept(pool, job_id, ReportMetrics(epoch=10_000, metrics={"loss": 1.0}), None, now())
    with pytest.raises(Invalid, match="Idempotency-Key"):
        await accept(pool, job_id, measure(1), "x" * 300, now())
    assert await pool.fetchval("SELECT count(*) FROM write.outbox") == before


class Flaky(MemoryPublisher):
    """Appends, and then sometimes does not say so: as a broker that dies before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 3

    async def publish(self, events: Sequence[WireEvent]) -> list[Position]:
        positions = await super().publish(events)
        if self.failures:
            self.failures -= 1
            raise PublishFailed("no answer")
        return positions


async def test_what_is_sent_again_has_the_same_number_and_the_order_per_job_holds(
    pool: Pool, migrated_world: World
) -> None:
    job_id = await a_job(pool)
    for step in range(1, 31):
        await accept(pool, job_id, measure(step), None, now())
    publisher = Flaky()
    relay = Relay(pool, migrated_world.database_url, publisher)
    running = asyncio.create_task(relay.run())

    async def all_sent() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM write.outbox WHERE sent_at IS NULL") == 0)

    await eventually(all_sent, what="the outbox is empty")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for (topic, _), records in publisher.records.items():
        seen: dict[str, list[int]] = {}
        for record in records:
            found = decode(record)
            assert found.seq is not None
            seen.setdefault(found.session, []).append(found.seq)
        for seqs in seen.values():
            first_seen = list(dict.fromkeys(seqs))
            assert first_seen == list(range(1, len(first_seen) + 1)), topic
            if len(seqs) > len(first_seen):
                assert publisher.failures == 0
    metrics = [record for (topic, _), log in publisher.records.items() if topic == "training.metrics" for record in log]
    assert len(metrics) > 31  # sent more than once, told apart by nothing but the numbers


async def test_of_two_relays_one_sends_and_the_other_takes_over(pool: Pool, migrated_world: World) -> None:
    job_id = await a_job(pool)
    one, two = MemoryPublisher(), MemoryPublisher()
    relays = [Relay(pool, migrated_world.database_url, publisher) for publisher in (one, two)]
    tasks = [asyncio.create_task(relay.run()) for relay in relays]

    async def unsent() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM write.outbox WHERE sent_at IS NULL") == 0)

    await eventually(unsent, what="the first batch is sent")
    leader, follower = (0, 1) if one.records else (1, 0)
    assert not (one, two)[follower].records
    tasks[leader].cancel()
    await asyncio.gather(tasks[leader], return_exceptions=True)
    await accept(pool, job_id, measure(1), None, now())
    await eventually(unsent, what="the second batch is sent")
    assert (one, two)[follower].records
    tasks[follower].cancel()
    await asyncio.gather(tasks[follower], return_exceptions=True)


async def test_a_crash_between_sending_and_noting_it_keeps_the_numbers(pool: Pool) -> None:
    job_id = await a_job(pool)
    await accept(pool, job_id, measure(1), None, now())
    first = await outbox.take_unsent(pool)
    again = await outbox.take_unsent(pool)  # the process that took them is gone
    assert [(found.id, found.event.seq) for found in first] == [(found.id, found.event.seq) for found in again]
    opened = [found.event for found in first if found.event.seq == 1]
    assert {message.type for message in opened} == {"training.session.opened.v2"}
    # Each attempt of a job is a session of its own, on each topic: created belongs to none yet.
    assert len({(message.session, message.topic) for message in opened}) == len(opened) == 3


async def test_the_creation_of_a_run_by_hand_says_what_early_stopping_is_to_watch(pool: Pool) -> None:
    wanted = {"metric": "mAP50", "patience": 2}
    description = DatasetRegistered.model_validate(DATASET)
    dataset = await accept(pool, None, RegisterDataset(description=description), None, now())
    for launch in (False, True):
        config = {"imgsz": 64, "epochs": 50, "early_stopping": wanted}
        command = CreateJob.model_validate({**JOB, "dataset_id": dataset.id, "config": config, "launch": launch})
        job_id = (await accept(pool, None, command, None, now())).id
        sent = [found.event for found in await outbox.take_unsent(pool)]
        opened = [one for one in sent if one.key == str(job_id) and one.topic == METRICS]
        assert [(one.attempt, json.loads(one.data)["early_stopping"]) for one in opened] == [(1, wanted)] * (not launch)


async def test_migrations_run_once_and_a_changed_one_is_refused(world: World, tmp_path: Path) -> None:
    connection = await connect(world.database_url)
    try:
        assert [step.version for step in await migrate(connection)] == [step.version for step in migrations()]
        assert await migrate(connection) == []
        (first, *_) = migrations()
        changed = Migration(first.version, first.name, first.sql + "\n-- changed")
        with pytest.raises(MigrationRefused, match="was changed after it was applied"):
            await migrate(connection, [changed])
        with pytest.raises(MigrationRefused, match="newer epochlog"):
            await migrate(connection, [])
    finally:
        await connection.close()
    (tmp_path / "1_short.sql").touch()
    with pytest.raises(MigrationRefused, match="NNNN_what"):
        migrations(tmp_path)


async def test_ids_start_above_the_logs_highest_in_a_new_database(migrated_world: World) -> None:
    world = migrated_world
    pool = await open_pool(world.database_url)
    job_id = await a_job(pool)
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    await Relay(pool, world.database_url, publisher).step()
    await publisher.close()
    await pool.execute("DROP SCHEMA write CASCADE")
    for row in await pool.fetch("SELECT nspname FROM pg_namespace WHERE nspname ~ '_v[0-9]+_[0-9]+$'"):
        await pool.execute(f'DROP SCHEMA "{row["nspname"]}" CASCADE')
    await pool.close()
    await asyncio.to_thread(world.run, "-m", "projections", "migrate")
    pool = await open_pool(world.database_url)
    assert await a_job(pool) == job_id + 1
    await pool.close()
