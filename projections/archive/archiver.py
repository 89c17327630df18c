"""The process ``archive``: writes the log into S3, a part of a partition at a time, until SIGTERM.

It takes no part in a consumer group: where it goes on stands in Postgres, and several at once share the partitions by
locks there. Its memory is that of one part: EPOCHLOG_ARCHIVE_PART_BYTES as records, as columns and as a file, and what
Python needs for EPOCHLOG_ARCHIVE_PART_RECORDS records; below 600 MB with the defaults.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from events.topics import TOPIC_NAMES
from producers.database import Pool, open_pool
from producers.queries import load_queries
from projections.archive import ledger
from projections.archive.adopt import adopt_unknown
from projections.archive.forget import forget_job
from projections.archive.ledger import Busy, Part, Place, held
from projections.archive.log_reader import Gone, LogReader
from projections.archive.reading import Archive
from projections.archive.store import Store
from projections.archive.writer import archive_next
from projections.runtime.failures import Failure, classify
from projections.runtime.replay import LogSilent
from projections.settings import Settings

LOOK_INTERVAL_S: Final = 2.0
BACK_OFF_S: Final = 5.0
STANDSTILL_MAX_S: Final = 300.0

logger = logging.getLogger(__name__)
workers: Final = load_queries(Path(__file__).parent.parent / "runtime" / "workers.sql")


@dataclass(slots=True)
class Waiting:
    """Since when records wait, by place; pure but for its memory."""

    age_s: float
    records_max: int
    _since: dict[Place, float] = field(default_factory=dict)

    def due(self, reached: dict[Place, int], ends: dict[Place, int], now_s: float) -> list[Place]:
        """Where enough records wait for a part, or one waits for too long. ``now_s`` is monotonic."""
        found = []
        for place, end in ends.items():
            behind = end - reached.get(place, 0)
            if behind <= 0:
                self._since.pop(place, None)
                continue
            since = self._since.setdefault(place, now_s)
            if behind >= self.records_max or now_s - since >= self.age_s:
                found.append(place)
        return found

    def done(self, place: Place) -> None:
        """What waits there from now on has only begun to."""
        self._since.pop(place, None)


@dataclass(slots=True)
class Archiver:
    pool: Pool
    store: Store
    log: LogReader
    waiting: Waiting
    moved: Callable[[], None] = lambda: None
    """Called after each part: a sign that it does not stand still."""

    async def step(self) -> list[Part]:
        """Write what is due, and forget what is to be forgotten. Returns the parts.

        Raises what Postgres and Kafka raise when they fail, Unavailable and WrittenWrong.
        """
        ends = await self.log.ends(TOPIC_NAMES)
        async with self.pool.acquire(timeout=30) as connection:
            reached = await ledger.next_offsets(connection)
            begun = await ledger.open_places(connection)
        for place, offset in reached.items():
            if offset > ends.get(place, offset):
                logger.error(
                    "the log of %s/%d ends at %d, its archive at %d: the log was made anew, no archive can follow",
                    *(*place, ends[place], offset),
                )
        made: list[Part] = []
        for place in sorted({*self.waiting.due(reached, ends, time.monotonic()), *begun}):
            made += await self._archive(place, ends[place])
        await self._forget()
        return made

    async def _archive(self, place: Place, until: int) -> list[Part]:
        made: list[Part] = []
        try:
            while True:
                # Let go between two parts: somebody may wait for the place.
                async with held(self.pool, place) as connection:
                    part = await archive_next(connection, self.store, self.log, place, until)
                if part is None:
                    break
                made.append(part)
                self.moved()
        except Busy:
            logger.debug("%s/%d is another archiver's", *place)
            return made
        except Gone as error:
            # Retention was faster, between two looks: the next step sees where the log begins now.
            logger.warning("%s", error)
            return made
        self.waiting.done(place)
        return made

    async def _forget(self) -> None:
        """What a purge asked for, where an earlier try did not come to its end."""
        async with self.pool.acquire(timeout=30) as connection:
            rows = await ledger.queries.still_to_forget(connection)
        for row in rows:
            await forget_job(self.pool, self.store, row["topic"], row["job_id"])
            self.moved()


def transient(error: BaseException) -> bool:
    """Whether the same step may succeed later."""
    return isinstance(error, (KafkaError, LogSilent, Busy)) or classify(error) is Failure.TRANSIENT


async def run_archiver(settings: Settings) -> None:
    """Until SIGTERM. Transient failures are tried again for ever; raises what is unknown."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pool = await open_pool(settings.database_url, size_max=3, name="epochlog projections-archive")
    moved_at = time.monotonic()

    def moved() -> None:
        nonlocal moved_at
        moved_at = time.monotonic()

    async def work() -> None:
        store, waiting = Store(settings), Waiting(settings.archive_age_s, settings.archive_part_records)
        while not stop.is_set():
            log = LogReader(settings)
            try:
                await log.start()
                await store.make_bucket()
                await adopt_unknown(Archive(pool, store))
                archiver = Archiver(pool, store, log, waiting, moved)
                while not stop.is_set():
                    await archiver.step()
                    moved()
                    await _wait(stop, LOOK_INTERVAL_S)
            except Exception as error:
                if not transient(error):
                    raise
                logger.warning("%r; trying again in %.0f s", error, BACK_OFF_S)
                moved()
                await _wait(stop, BACK_OFF_S)
            finally:
                await log.stop()

    async def watch() -> None:
        while not stop.is_set():
            await _sign_of_life(pool)
            if time.monotonic() - moved_at > STANDSTILL_MAX_S:
                raise RuntimeError(f"stuck: no part was written for {STANDSTILL_MAX_S:.0f} s, and none failed")
            await _wait(stop, LOOK_INTERVAL_S)

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work())
            tasks.create_task(watch())
        async with pool.acquire(timeout=10) as connection:
            await workers.sign_off(connection, **_identity())
    finally:
        pool.terminate()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def _sign_of_life(pool: Pool) -> None:
    try:
        async with pool.acquire(timeout=10) as connection:
            await workers.sign_of_life(connection, **_identity())
            await workers.forget_dead(connection)
    except Exception as error:
        if not transient(error):
            raise
        logger.warning("sign of life: Postgres does not answer: %r", error)


def _identity() -> dict[str, Any]:
    return {"process": "projections-archive", "host": socket.gethostname(), "pid": os.getpid()}


def run(settings: Settings) -> None:
    """Until SIGTERM (exit code 0) or an unknown failure (1)."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run_archiver(settings))
