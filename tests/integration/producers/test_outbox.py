"""The outbox at its limits: what is too large, what is numbered by two at once, what may be forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from events.codec import decode
from events.types.datasets import DatasetRegistered
from producers import outbox
from producers.accept import accept
from producers.callbacks import ReportCompletion, ReportLogs, ReportMetrics
from producers.commands import CreateJob, RegisterDataset
from producers.database import Pool, open_pool, transaction
from producers.errors import Invalid
from producers.job_state import load_dataset, load_jobs
from producers.kafka.memory import MemoryPublisher
from producers.kafka.publisher import KafkaPublisher
from producers.relay import Relay
from projections.runtime.replay import read_topic
from tests.given import apply_all
from tests.running import DATASET, JOB
from tests.services import World
from training_sdk.wire import LOGS, RECORD_BYTES_MAX


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


async def unsent(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM write.outbox WHERE sent_at IS NULL"))


async def send_all(pool: Pool, relay: Relay) -> None:
    while await relay.step():
        pass
    assert await unsent(pool) == 0


async def test_a_fact_that_the_log_cannot_hold_is_refused_and_holds_up_nobody(pool: Pool) -> None:
    job_id = await a_job(pool)
    before = await unsent(pool)
    config = {"epochs": 3, "notes": "x" * RECORD_BYTES_MAX}
    command = CreateJob.model_validate({**JOB, "dataset_id": 1, "config": config})
    with pytest.raises(Invalid, match="at most 1000000 fit into the log"):
        await accept(pool, None, command, None, now())
    assert await unsent(pool) == before
    await accept(pool, job_id, measure(1), None, now())
    assert await unsent(pool) > before


async def test_the_largest_batch_of_lines_that_a_body_can_hold_reaches_kafka_whole(
    pool: Pool, migrated_world: World
) -> None:
    job_id = await a_job(pool)
    messages = [f"{number} " + "x" * 60_000 for number in range(130)]
    body = ReportLogs.model_validate({"logs": [{"message": message} for message in messages]})
    receipt = await accept(pool, job_id, body, None, now())
    assert receipt.answer["received"] == 130
    servers, prefix = migrated_world.kafka_bootstrap_servers, migrated_world.topic_prefix
    publisher = KafkaPublisher(servers, prefix)
    await send_all(pool, Relay(pool, migrated_world.database_url, publisher))
    await publisher.close()
    written = [
        line["message"]
        async for batch in read_topic(servers, prefix, LOGS)
        for record in batch
        for line in decode(record).data.model_dump().get("lines", [])
    ]
    assert written == messages


async def test_a_batch_of_the_relay_has_a_bounded_size(pool: Pool) -> None:
    job_id = await a_job(pool)
    for number in range(12):
        lines = [{"message": f"{number}" + "x" * 60_000} for _ in range(15)]
        await accept(pool, job_id, ReportLogs.model_validate({"logs": lines}), None, now())
    batch = await outbox.take_unsent(pool)
    sizes = [len(found.event.data) for found in batch]
    assert 1 < len(batch) < await unsent(pool)
    assert sum(sizes[:-1]) <= outbox.BATCH_BYTES_MAX
    assert [found.id for found in batch] == sorted(found.id for found in batch)


async def test_two_who_number_at_once_give_the_same_numbers(pool: Pool) -> None:
    job_id = await a_job(pool)
    for step in range(1, 200):
        await accept(pool, job_id, measure(step), None, now())
    taken = await asyncio.gather(*(outbox.take_unsent(pool) for _ in range(6)))
    numbered = [[(found.id, found.event.seq) for found in batch] for batch in taken]
    assert all(numbers == numbered[0] for numbers in numbered)
    last = await pool.fetch("SELECT session, topic, last_seq FROM write.outbox_sessions")
    highest = await pool.fetch("SELECT session, topic, max(seq) AS last_seq FROM write.outbox GROUP BY session, topic")
    assert {tuple(row) for row in last} == {tuple(row) for row in highest}


async def log_of(publisher: MemoryPublisher) -> Sequence[Any]:
    return [record for records in publisher.records.values() for record in records]


async def test_only_what_is_long_applied_is_forgotten(pool: Pool, migrated_world: World) -> None:
    job_id, other = await a_job(pool), await a_job(pool)
    end = ReportCompletion(status="stopped", stopped_at_epoch=3)
    await accept(pool, job_id, end, None, now())
    publisher = MemoryPublisher()
    await send_all(pool, Relay(pool, migrated_world.database_url, publisher))

    async def rows() -> int:
        return int(await pool.fetchval("SELECT count(*) FROM write.outbox"))

    async def seen() -> tuple[str, bool]:
        async with transaction(pool, readonly=True) as tx:
            job = (await load_jobs(tx, [job_id]))[job_id]
            return str(job.state), await load_dataset(tx, 1) is not None

    before = await rows()
    await outbox.prune(pool)
    assert await rows() == before  # sent just now
    await pool.execute("UPDATE write.outbox SET sent_at = sent_at - interval '8 days'")
    await outbox.prune(pool)
    assert await seen() == ("stopped", True)  # old, but no read model has it
    await apply_all(pool, await log_of(publisher))
    await pool.execute("UPDATE write.outbox SET sent_at = now() WHERE job_id = $1 AND type LIKE '%created%'", other)
    await outbox.prune(pool)
    kept = await pool.fetch("SELECT DISTINCT job_id FROM write.outbox")
    assert [row["job_id"] for row in kept] == [other]
    assert await seen() == ("stopped", True)
    # Its receipt is gone, its answer is not.
    again = await accept(pool, job_id, end, None, now())
    assert (again.answer, again.outbox_ids) == ({"status": "ok", "job_id": job_id}, ())


async def test_the_same_completion_under_another_key_is_answered_as_before(pool: Pool) -> None:
    job_id = await a_job(pool)
    end = ReportCompletion(status="failed", error_code="OOM", error_message="CUDA out of memory.")
    first = await accept(pool, job_id, end, "one", now())
    again = await accept(pool, job_id, end, "two", now())
    assert (first.answer, len(first.outbox_ids)) == (again.answer, 1)
    assert again.outbox_ids == ()
