"""Silence, judged on real Postgres and a real log: a trainer that only uses the HTTP callbacks."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from events.job import Job
from events.types.datasets import DatasetRegistered
from producers.accept import accept
from producers.callbacks import ReportMetrics, ReportStarted
from producers.commands import CreateJob, JudgeFound, JudgeGone, JudgeLost, RegisterDataset, StopJob
from producers.database import Pool, open_pool, transaction
from producers.job_state import load_jobs
from producers.kafka.log_ends import LogEnds
from producers.kafka.publisher import KafkaPublisher
from producers.relay import Relay
from tests.running import DATASET, JOB
from tests.services import World, free_port
from trainers.launcher.memory import MemoryBackend
from trainers.launcher.reaper import Reaper
from trainers.launcher.settings import Settings

SILENCE_S = 0.5


@dataclass(slots=True)
class Watched:
    """A run that reports over HTTP, and a reaper that is not patient. No relay: the outbox is all there is."""

    world: World
    pool: Pool
    reaper: Reaper
    job_id: int

    async def tell(self, command: Any) -> None:
        await accept(self.pool, self.job_id, command, None, datetime.now(UTC))

    async def job(self) -> Job:
        async with transaction(self.pool) as tx:
            return (await load_jobs(tx, [self.job_id]))[self.job_id]

    async def look_after_silence(self) -> list[type]:
        await asyncio.sleep(SILENCE_S * 1.5)
        return [type(judgement) for _, judgement in await self.reaper.look()]


@pytest_asyncio.fixture
async def watched(migrated_world: World) -> AsyncIterator[Watched]:
    world = migrated_world
    pool = await open_pool(world.database_url, size_max=4)
    settings = dataclasses.replace(Settings.from_env(world.environment()), lost_after_http_s=SILENCE_S)
    ends = LogEnds(world.kafka_bootstrap_servers, world.topic_prefix)
    try:
        description = DatasetRegistered.model_validate(DATASET)
        dataset = await accept(pool, None, RegisterDataset(description=description), None, datetime.now(UTC))
        command = CreateJob.model_validate({**JOB, "dataset_id": dataset.id})
        job_id = (await accept(pool, None, command, None, datetime.now(UTC))).id
        found = Watched(world, pool, Reaper(pool, MemoryBackend(), settings, ends), job_id)
        await found.tell(ReportStarted(pid=1, hostname="pod"))
        yield found
    finally:
        await ends.close()
        await pool.close()


async def test_a_silent_run_is_lost_found_by_a_callback_and_gone_once_it_was_told_to_end(watched: Watched) -> None:
    # The watch begins now: silence before it counts for nothing.
    await asyncio.sleep(SILENCE_S * 1.5)
    assert await watched.reaper.look() == []
    assert await watched.look_after_silence() == [JudgeLost]
    assert str((await watched.job()).state) == "lost"
    assert await watched.look_after_silence() == []
    await watched.tell(ReportMetrics(epoch=1, step=1, metrics={"loss": 0.5}))
    assert [type(judgement) for _, judgement in await watched.reaper.look()] == [JudgeFound]
    assert str((await watched.job()).state) == "running"
    assert await watched.look_after_silence() == [JudgeLost], "a second time, too"
    await watched.tell(StopJob(reason="nobody answers"))
    assert await watched.look_after_silence() == [JudgeGone]
    job = await watched.job()
    assert (str(job.state), job.error_code, job.ended_by) == ("stopped", "USER_STOPPED", "exit")
    assert await watched.look_after_silence() == []


async def test_while_the_read_models_are_behind_nothing_is_judged(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.launcher.reaper.CATCH_UP_S", 0.3)
    assert await watched.reaper.look() == []
    publisher = KafkaPublisher(watched.world.kafka_bootstrap_servers, watched.world.topic_prefix)
    try:
        # In the log now, and no worker applies it.
        assert await Relay(watched.pool, watched.world.database_url, publisher).step() > 0
    finally:
        await publisher.close()
    for _ in range(2):
        assert await watched.look_after_silence() == []
    assert str((await watched.job()).state) == "running"


async def test_without_a_broker_nothing_is_judged_and_the_watch_begins_anew(watched: Watched) -> None:
    assert await watched.reaper.look() == []
    away = LogEnds(f"127.0.0.1:{free_port()}")
    settings = Settings.from_env(watched.world.environment())
    # The first one says how often it looks, too.
    settings = dataclasses.replace(settings, lost_after_s=0.1, lost_after_http_s=0.1)
    reaper = Reaper(watched.pool, MemoryBackend(), settings, away)
    running = asyncio.create_task(reaper.run())
    await asyncio.sleep(SILENCE_S * 3)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert str((await watched.job()).state) == "running"
