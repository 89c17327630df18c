"""From the outbox to the log, in order, for ever. Runs wherever the outbox is written; one lock elects one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from pathlib import Path
from typing import Any, Final

import asyncpg

from producers import outbox
from producers.database import Pool, connect
from producers.kafka.publisher import Publisher, PublishFailed
from producers.queries import load_queries

POLL_INTERVAL_S: Final = 1.0
"""NOTIFY wakes the relay; the poll is for a notice that was missed."""
ELECTION_INTERVAL_S: Final = 1.0
BACK_OFF_FIRST_S: Final = 0.25
BACK_OFF_MAX_S: Final = 5.0
PRUNE_INTERVAL_S: Final = 3_600.0

logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


class Relay:
    """Sends what the outbox holds. Postgres or Kafka being down only delays it."""

    def __init__(self, pool: Pool, dsn: str, publisher: Publisher) -> None:
        self._pool = pool
        self._dsn = dsn
        self._publisher = publisher
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        back_off_s = BACK_OFF_FIRST_S
        while True:
            try:
                await self._lead()
                back_off_s = BACK_OFF_FIRST_S
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                logger.warning("relay: Postgres does not answer, trying again: %r", error)
            await asyncio.sleep(back_off_s * random.uniform(0.5, 1))
            back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)

    async def _lead(self) -> None:
        """Hold the lock on a connection of its own, and send while that connection lives."""
        connection = await connect(self._dsn, name="epochlog relay")
        try:
            while not await queries.try_lock(connection):
                await asyncio.sleep(ELECTION_INTERVAL_S)
            await connection.add_listener("outbox", lambda *_: self._wake.set())
            await self._send_until_gone(connection)
        finally:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await connection.close(timeout=5)

    async def _send_until_gone(self, connection: asyncpg.Connection[Any]) -> None:
        loop = asyncio.get_running_loop()
        back_off_s, pruned_at = BACK_OFF_FIRST_S, loop.time()
        while not connection.is_closed():
            self._wake.clear()
            try:
                sent = await self.step()
                back_off_s = BACK_OFF_FIRST_S
            except PublishFailed as error:
                logger.warning("relay: %s; trying again", error)
                await asyncio.sleep(back_off_s * random.uniform(0.5, 1))
                back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)
                continue
            if loop.time() - pruned_at > PRUNE_INTERVAL_S:
                await outbox.prune(self._pool)
                pruned_at = loop.time()
            if sent == 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_INTERVAL_S)
                # The lock lives as long as its connection: make sure that it does.
                await connection.fetchval("SELECT 1", timeout=10)

    async def step(self) -> int:
        """Send one batch. Returns how many facts are in the log now. Raises PublishFailed; nothing is lost then."""
        batch = await outbox.take_unsent(self._pool)
        if not batch:
            return 0
        positions = await self._publisher.publish([unsent.event for unsent in batch])
        pairs = zip(batch, positions, strict=True)
        await outbox.mark_sent(self._pool, [(unsent.id, place.partition, place.offset) for unsent, place in pairs])
        return len(batch)
