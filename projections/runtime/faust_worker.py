"""The live runner: Faust carries the records, Postgres owns the offsets. The only file that imports faust.

Faust acknowledges an event even when its agent raised, so its offsets mean nothing here: at every assignment the
consumer is put where the read models stand, and no exception leaves an agent. What is transient is tried again for
ever, what is unknown ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import faust
from faust.transport.drivers import aiokafka as driver

from events.envelope import Record
from events.topics import PARTITIONS
from producers.database import Pool, open_pool
from producers.decisions import append_decision
from producers.kafka.publisher import KafkaPublisher
from producers.queries import load_queries
from producers.relay import Relay
from projections.archive.reading import Archive, ArchiveBroken, history_records, read_dropped
from projections.mlflow_mirror.mirror import Mlflow
from projections.registry import EARLY_STOP, MLFLOW, Projection, of_process
from projections.runtime.apply import apply_batch
from projections.runtime.build import bring_up_to_date
from projections.runtime.expired import step_over_expired
from projections.runtime.failures import Failure, classify
from projections.runtime.offset_reads import read_offsets
from projections.runtime.watchdog import Watchdog
from projections.settings import Settings

BATCH_RECORDS_MAX: Final = 2_000
BATCH_WAIT_S: Final = 0.05
BACK_OFF_FIRST_S: Final = 0.1
BACK_OFF_MAX_S: Final = 10.0
SIGN_OF_LIFE_INTERVAL_S: Final = 2.0
WATCH_INTERVAL_S: Final = 10.0

logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).parent / "workers.sql")


class DatabaseConsumer(driver.Consumer):
    """Starts every partition where the read models stand, not where the group's committed offsets do.

    What expired before it was read is stepped over first: it would be waited for as long as nothing new comes.
    """

    async def seek_to_committed(self) -> dict[Any, int]:
        app: Any = self.app
        places = list(self.assignment())
        saved = await app.next_offsets()
        in_log = await self.earliest_offsets(*places) if places else {}
        earliest = {place: in_log.get(place) or 0 for place in places}
        await app.step_over_expired({(place.topic, place.partition): first for place, first in earliest.items()})
        starts = {place: max(saved.get((place.topic, place.partition), 0), earliest[place]) for place in places}
        await self.seek_wait(starts)
        return starts


class DatabaseTransport(driver.Transport):
    Consumer = DatabaseConsumer


class ProjectionApp(faust.App):
    """One process: the projections of one failure domain, over one pool."""

    settings_of_process: Settings
    projections: tuple[Projection, ...]
    process: str
    pool: Pool
    outside: Any = None

    async def on_start(self) -> None:
        self.pool = await open_pool(
            self.settings_of_process.database_url, size_max=6, name=f"epochlog projections-{self.process}"
        )
        if self.process == MLFLOW:
            settings = self.settings_of_process
            self.outside = Mlflow(settings.mlflow_tracking_uri, settings.mlflow_backend_store_uri)
        if self.process == EARLY_STOP:
            self.outside = append_decision
        records = history_records(Archive.of(self.pool, self.settings_of_process), self.settings_of_process)
        for projection in self.projections:
            # A new version mirrors again; whatever else a live fold tells was told by the older version.
            await bring_up_to_date(
                self.pool,
                projection,
                self.settings_of_process.kafka_bootstrap_servers,
                self.settings_of_process.topic_prefix,
                outside=self.outside if self.process == MLFLOW else None,
                records=records,
            )
        for projection in self.projections:
            await self._apply_archived(projection)
        if self.process == EARLY_STOP:
            self.add_future(self._relay())
        self.add_future(self._signs_of_life())
        self.add_future(self._watch())
        await super().on_start()

    async def on_stop(self) -> None:
        await super().on_stop()
        async with self.pool.acquire() as connection:
            await queries.sign_off(connection, **self._identity())
        await self.pool.close()

    def _identity(self) -> dict[str, Any]:
        return {"process": f"projections-{self.process}", "host": socket.gethostname(), "pid": os.getpid()}

    async def next_offsets(self) -> dict[tuple[str, int], int]:
        """(physical topic, partition) -> smallest next offset of the projections that fold it."""
        smallest: dict[tuple[str, int], int] = {}
        counted: dict[tuple[str, int], int] = {}
        per_topic: dict[str, int] = {}
        for projection in self.projections:
            topic = self.settings_of_process.topic_prefix + projection.topic
            per_topic[topic] = per_topic.get(topic, 0) + 1
            for partition, offset in (await read_offsets(self.pool, projection)).items():
                place = (topic, partition)
                smallest[place] = min(smallest.get(place, offset), offset)
                counted[place] = counted.get(place, 0) + 1
        # A projection that has not seen the partition yet needs it from its first record.
        return {place: offset for place, offset in smallest.items() if counted[place] == per_topic[place[0]]}

    async def step_over_expired(self, earliest: Mapping[tuple[str, int], int]) -> None:
        """``earliest``: (physical topic, partition) -> first offset that the log still has."""
        for projection in self.projections:
            topic = self.settings_of_process.topic_prefix + projection.topic
            mine = {partition: first for (name, partition), first in earliest.items() if name == topic}
            await step_over_expired(self.pool, projection, mine)

    async def _apply_archived(self, projection: Projection) -> None:
        """What the log dropped before it was read, as far as the archive has it; the rest is stepped over later."""
        settings = self.settings_of_process
        position = await read_offsets(self.pool, projection)
        dropped = read_dropped(
            Archive.of(self.pool, settings),
            settings.kafka_bootstrap_servers,
            settings.topic_prefix,
            projection.topic,
            position,
        )
        try:
            async for batch in dropped:
                await self.apply(projection, batch)
        except ArchiveBroken as error:
            logger.error("%s goes on without what cannot be read; repair and rebuild it: %s", projection.name, error)

    async def _relay(self) -> None:
        """Decisions need no other process to get into the log."""
        settings = self.settings_of_process
        publisher = KafkaPublisher(settings.kafka_bootstrap_servers, settings.topic_prefix)
        try:
            await Relay(self.pool, settings.database_url, publisher).run()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            crash("the relay failed", error)
        finally:
            await publisher.close()

    async def _signs_of_life(self) -> None:
        while not self.should_stop:
            try:
                async with self.pool.acquire(timeout=10) as connection:
                    await queries.sign_of_life(connection, **self._identity())
                    await queries.forget_dead(connection)
            except Exception as error:
                if classify(error) is not Failure.TRANSIENT:
                    crash("the sign of life failed", error)
                logger.warning("sign of life: Postgres does not answer: %r", error)
            await self.sleep(SIGN_OF_LIFE_INTERVAL_S)

    async def _watch(self) -> None:
        watchdog = Watchdog()
        while not self.should_stop:
            await self.sleep(WATCH_INTERVAL_S)
            try:
                applied, ends = await self._progress()
            except Exception as error:
                # Broker or database away: standing still is right then.
                logger.warning("watchdog cannot look: %r", error)
                watchdog = Watchdog()
                continue
            if self.process != MLFLOW and (stuck := watchdog.stuck(applied, ends, time.monotonic())):
                crash(f"stuck: {'; '.join(stuck)}")

    async def _progress(self) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
        applied: dict[tuple[str, int], int] = {}
        ends: dict[tuple[str, int], int] = {}
        assigned = list(self.consumer.assignment())
        highest = await self.consumer.highwaters(*assigned) if assigned else {}
        for projection in self.projections:
            topic = self.settings_of_process.topic_prefix + projection.topic
            for partition, offset in (await read_offsets(self.pool, projection)).items():
                applied[projection.name, partition] = offset
            for place, end in highest.items():
                if place.topic == topic and end is not None:
                    ends[projection.name, place.partition] = end
        return applied, ends

    async def apply(self, projection: Projection, records: Sequence[Record]) -> None:
        """Until it is applied: a transient failure is tried again for ever, an unknown one ends the process."""
        back_off_s = BACK_OFF_FIRST_S
        while True:
            try:
                applied = await apply_batch(self.pool, projection, records, outside=self.outside)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if classify(error) is not Failure.TRANSIENT:
                    crash(f"{projection.name} cannot go on", error)
                logger.warning("%s: %r; trying again in %.1f s", projection.name, error, back_off_s)
                await asyncio.sleep(back_off_s * random.uniform(0.5, 1))
                back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)
                continue
            if applied.parked:
                logger.warning("%s: %d records parked as dead letters", projection.name, applied.parked)
            return


def crash(reason: str, error: BaseException | None = None) -> None:
    """End the process at once: nothing may be acknowledged, tidied up or hidden after an unknown failure."""
    logger.critical("%s; the process ends", reason, exc_info=error)
    logging.shutdown()
    os._exit(1)


def make_app(process: str, settings: Settings) -> ProjectionApp:
    app = ProjectionApp(
        f"{settings.topic_prefix}epochlog-{process}",
        broker=f"kafka://{settings.kafka_bootstrap_servers.replace(',', ';')}",
        key_serializer="raw",
        value_serializer="raw",
        # Unused, but Faust makes it: not in whatever folder the process happens to stand.
        datadir=settings.data_dir / "faust" / process,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=PARTITIONS,
        table_standby_replicas=0,
        # Static membership: after kill -9 the next worker need not wait until the dead one's session runs out.
        consumer_group_instance_id=f"{process}-{settings.instance}",
        broker_session_timeout=15.0,
        broker_heartbeat_interval=2.0,
        broker_rebalance_timeout=60.0,
        broker_request_timeout=60.0,
        broker_max_poll_records=2_000,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=4_096,
        stream_wait_empty=False,
        producer_request_timeout=30.0,
        worker_redirect_stdouts=False,
    )
    app.process, app.settings_of_process, app.projections = process, settings, of_process(process)
    app.transport = DatabaseTransport(app.conf.broker_consumer, app)
    for topic in dict.fromkeys(projection.topic for projection in app.projections):
        add_agent(app, topic)
    return app


def add_agent(app: ProjectionApp, topic: str) -> None:
    """One agent a topic, which brings every batch to each projection of the topic."""
    prefix = app.settings_of_process.topic_prefix
    projections = [projection for projection in app.projections if projection.topic == topic]

    async def fold(stream: Any) -> None:
        async for events in stream.take_events(BATCH_RECORDS_MAX, within=BATCH_WAIT_S):
            records = [record_of_faust(event.message, prefix) for event in events]
            for projection in projections:
                await app.apply(projection, records)

    app.agent(app.topic(prefix + topic), name=f"fold-{topic}", concurrency=1)(fold)


def record_of_faust(message: Any, topic_prefix: str) -> Record:
    headers = message.headers or ()
    return Record(
        topic=message.topic.removeprefix(topic_prefix),
        partition=message.partition,
        offset=message.offset,
        # Faust turns milliseconds into seconds.
        timestamp_ms=round(message.timestamp * 1000),
        key=message.key,
        headers=list(headers.items()) if isinstance(headers, dict) else headers,
        value=message.value,
    )


def run(process: str, settings: Settings) -> None:
    """Until SIGTERM (exit code 0) or an unknown failure (1)."""
    # Faust makes its own folder, not those above it.
    (settings.data_dir / "faust").mkdir(parents=True, exist_ok=True)
    app = make_app(process, settings)
    worker = faust.Worker(app, loglevel=settings.log_level, redirect_stdouts=False, quiet=True)
    worker.execute_from_commandline()
