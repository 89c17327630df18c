"""A version of a read model that is built beside the live one, then made live in one moment. Readers see no gap.

Readers and the live version's worker go on meanwhile. What is built never passes the live one, and takes over where it
stands: nothing is shown earlier, later or twice, and what a live fold tells the outside is told by one version only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from events.envelope import Record
from events.topics import PARTITIONS
from producers.database import Connection, Pool
from producers.queries import load_queries
from projections.registry import Projection
from projections.runtime.apply import apply_batch
from projections.runtime.expired import step_to, take_over_expired, take_over_marks
from projections.runtime.offset_reads import offsets_in
from projections.runtime.source import Records, in_lanes, log_records
from projections.runtime.versions import (
    Version,
    building_version,
    drop_unused,
    is_current,
    make_indexes,
    require_live,
    switch,
)

LOCK_POLL_INTERVAL_S: Final = 0.5
CLOSE_RECORDS: Final = 2_000
"""So few missing records are applied while the live version stands still."""
ROUNDS_MAX: Final = 20
LANES: Final = 2
"""Transactions at work at once: one decodes while Postgres stores what the other one sent."""
logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).parent / "versions.sql")

Report = Callable[[str, int, int], Awaitable[None]]
"""``report(phase, done, total)``, in records."""


async def _tell_nobody(phase: str, done: int, total: int) -> None:
    return


@dataclass(frozen=True, slots=True)
class Builder:
    """What brings a version that is not live to where the live one stands.

    ``outside`` is for handlers that reach beyond Postgres. Takes four connections of the pool.
    """

    pool: Pool
    projection: Projection
    records: Records
    outside: Any = None
    report: Report = _tell_nobody

    async def approach(self, version: Version, live: Version) -> None:
        """Until few records are missing: the live version goes on meanwhile."""
        for _ in range(ROUNDS_MAX):
            if await self.catch_up(version, live) <= CLOSE_RECORDS:
                return

    async def catch_up(self, version: Version, live: Version) -> int:
        """Up to where the live version stands now. Returns how many records that were.

        Raises CeilingReached, LogSilent, RecordsExpired, and what Postgres and Kafka raise when they
        fail.
        """
        topic = self.projection.topic
        done = await offsets_in(self.pool, version.schema_name, topic)
        there = await offsets_in(self.pool, live.schema_name, topic)
        until = {partition: there.get(partition, 0) for partition in range(PARTITIONS)}
        behind = sum(max(0, end - done.get(partition, 0)) for partition, end in until.items())
        if behind == 0:
            return 0
        first = await self.records.first(topic)
        gone = {p: min(first.get(p, 0), end) for p, end in until.items() if first.get(p, 0) > done.get(p, 0)}
        if gone:
            done |= await take_over_expired(self.pool, self.projection, live, version, gone)
        before, applied, total = sum(done.values()), 0, sum(until.values())
        await self.report("replay", before, total)

        async def apply(portion: list[Record]) -> None:
            nonlocal applied
            await apply_batch(self.pool, self.projection, portion, outside=self.outside, schema=version.schema_name)
            applied += len(portion)
            await self.report("replay", before + applied, total)

        # Who reaches beyond Postgres counts on being alone.
        await in_lanes(self.records.read(topic, done, until), apply, lanes=LANES if self.outside is None else 1)
        # What expired came in no batch.
        await step_to(self.pool, version.schema_name, topic, until)
        return behind


async def bring_up_to_date(
    pool: Pool,
    projection: Projection,
    bootstrap_servers: str,
    topic_prefix: str,
    *,
    outside: Any = None,
    records: Records | None = None,
) -> Version | None:
    """Build this code's version of a read model that is live in an older one, and let readers switch.

    None when it is live already. May be interrupted and called again, and by several at once: one builds, the others
    wait. Takes five connections. ``outside`` is for handlers that have to tell again what was told before.
    ``records``: from the log alone unless given.

    Raises WrongVersion when the live one is newer or there is none, CeilingReached, LogSilent, and what Postgres and
    Kafka raise when they fail.
    """
    async with pool.acquire() as first:
        if await is_current(first, projection):
            return None
    async with the_only_builder(pool, projection) as connection:
        if await is_current(connection, projection):
            return None
        await drop_unused(connection, projection)
        version = await building_version(connection, projection)
        logger.warning("read model %s: %s is built beside the live one", projection.name, version.schema_name)
        live = await require_live(connection, projection, any_version=True)
        builder = Builder(pool, projection, records or log_records(bootstrap_servers, topic_prefix), outside)
        await builder.approach(version, live)
        await make_indexes(connection, version)
        await builder.approach(version, live)
        async with switch(connection, live, version):
            # Nobody writes into the live one now; what it got meanwhile is little.
            await builder.catch_up(version, live)
            await take_over_marks(pool, projection, live, version)
        return version


@contextlib.asynccontextmanager
async def the_only_builder(pool: Pool, projection: Projection) -> AsyncIterator[Connection]:
    """A connection that holds the read model's lock; the pool gives the lock back with it."""
    async with pool.acquire() as connection:
        while not await queries.try_build_lock(connection, projection=projection.name):
            await asyncio.sleep(LOCK_POLL_INTERVAL_S)
        yield connection
