"""Helpers of the archive's tests: a log with something in it, an archiver in this process, and what lies in S3."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from events.envelope import Event, Record
from events.types.vocabulary import Fact
from producers.database import Pool
from producers.kafka.publisher import KafkaPublisher
from projections.archive.archiver import Archiver, Waiting
from projections.archive.check import Report, check
from projections.archive.log_reader import LogReader
from projections.archive.parquet import from_parquet
from projections.archive.reading import Archive
from projections.archive.store import Store
from projections.runtime.replay import end_offsets, read_topic
from projections.settings import Settings
from tests.builders import NOON, event, job_created, job_started, log_written, metrics_reported, session_opened, wire
from tests.services import World
from training_sdk.wire import JOBS, LOGS, METRICS

TOPICS = (JOBS, METRICS, LOGS)


def some_events(job_id: int, lines: int = 12) -> list[Event[Fact]]:
    """A run that begins, measures and writes log lines, on three topics."""
    session = f"{job_id}".ljust(32, "0")
    facts: list[tuple[str, Fact]] = [(topic, session_opened()) for topic in TOPICS]
    facts += [(JOBS, job_created()), (JOBS, job_started(pid=7))]
    facts += [(METRICS, metrics_reported({"loss": [1 / (n + 1)]}, first_step=n)) for n in range(lines)]
    facts += [(LOGS, log_written(f"line {n} of job {job_id}")) for n in range(lines)]
    seqs: dict[str, int] = {}
    events: list[Event[Fact]] = []
    for topic, fact in facts:
        seqs[topic] = seqs.get(topic, 0) + 1
        moment = NOON + timedelta(seconds=len(events))
        events.append(event(fact, job_id=job_id, session=session, seq=seqs[topic], topic=topic, time=moment))
    return events


async def publish(world: World, events: Sequence[Event[Fact]]) -> None:
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    try:
        await publisher.publish([wire(found) for found in events])
    finally:
        await publisher.close()


def settings_of(world: World, **extra: str) -> Settings:
    return Settings.from_env(world.environment(**extra))


@contextlib.asynccontextmanager
async def an_archiver(world: World, pool: Pool, *, part_records: int = 5) -> AsyncIterator[Archiver]:
    """One that finds everything due at once, with small parts."""
    settings = settings_of(world, EPOCHLOG_ARCHIVE_PART_RECORDS=str(part_records))
    store, log = Store(settings), LogReader(settings)
    await store.make_bucket()
    await log.start()
    try:
        yield Archiver(pool, store, log, Waiting(0.0, part_records))
    finally:
        await log.stop()


async def archive_all(world: World, pool: Pool, *, part_records: int = 5) -> None:
    async with an_archiver(world, pool, part_records=part_records) as archiver:
        await archiver.step()


async def checked(world: World, pool: Pool, *, repair: bool = False) -> Report:
    settings = settings_of(world)
    log = LogReader(settings)
    await log.start()
    try:
        return await check(Archive.of(pool, settings), log, TOPICS, repair=repair)
    finally:
        await log.stop()


async def log_records(world: World, topic: str) -> list[Record]:
    read = read_topic(world.kafka_bootstrap_servers, world.topic_prefix, topic)
    return in_order([record async for batch in read for record in batch])


def in_order(records: Sequence[Record]) -> list[Record]:
    """With headers as lists, so that records of both sources are equal."""
    from dataclasses import replace

    placed = sorted(records, key=lambda record: (record.partition, record.offset))
    return [replace(record, headers=list(record.headers)) for record in placed]


def in_bucket(world: World) -> dict[str, bytes]:
    """Everything a reader of the bucket finds."""
    store = world.store()
    found = {}
    for item in store.list_objects(world.archive_bucket, recursive=True):
        answer = store.get_object(world.archive_bucket, item.object_name or "")
        found[item.object_name or ""] = answer.read()
        answer.close()
        answer.release_conn()
    return found


async def records_in_bucket(world: World, topic: str) -> list[Record]:
    """By listing alone, without the ledger: a record that lies in two files is there twice."""
    files = await asyncio.to_thread(in_bucket, world)
    return in_order(
        [record for key, raw in files.items() if key.startswith(f"{topic}/") for record in from_parquet(raw).records]
    )


async def expire(world: World, topic: str, before: dict[int, int] | None = None) -> None:
    """As retention does: all records of a topic, or those before an offset of some partitions."""
    ends = before or await end_offsets(world.kafka_bootstrap_servers, world.topic_prefix, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka_bootstrap_servers)
    await admin.start()
    try:
        wanted = {
            TopicPartition(world.topic_prefix + topic, partition): RecordsToDelete(before_offset=end)
            for partition, end in ends.items()
            if end > 0
        }
        await admin.delete_records(wanted)
    finally:
        await admin.close()


class Killed(BaseException):
    """As kill -9: no handler sees it, nothing is tidied up."""


class DiesAt:
    """Counts steps and ends the work before or after the given one."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def around(self, call: Any) -> Any:
        async def dying(*arguments: Any, **named: Any) -> Any:
            self()
            answer = await call(*arguments, **named)
            self()
            return answer

        return dying


def shuffled(source: random.Random, *jobs: Sequence[Event[Fact]]) -> list[Event[Fact]]:
    """The jobs' events interleaved, each job's in its order."""
    waiting = [list(events) for events in jobs]
    mixed = []
    while waiting := [events for events in waiting if events]:
        mixed.append(source.choice(waiting).pop(0))
    return mixed
