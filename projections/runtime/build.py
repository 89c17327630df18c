"""A read model of a new version: built beside the live one, then made live in one moment. Readers see no gap.

Readers and the old version's worker go on meanwhile. The new version never passes the live one, and takes over where
it stands: nothing is shown earlier, later or twice, and what a live fold tells the outside is told by one version only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from events.topics import PARTITIONS
from producers.database import Connection, Pool
from producers.queries import load_queries
from projections.registry import Projection
from projections.runtime.apply import apply_batch
from projections.runtime.expired import step_to
from projections.runtime.offset_reads import offsets_in
from projections.runtime.replay import read_topic
from projections.runtime.versions import Version, building_version, drop_unused, is_current, require_live, switch

LOCK_POLL_INTERVAL_S: Final = 0.5
logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).parent / "versions.sql")


async def bring_up_to_date(
    pool: Pool, projection: Projection, bootstrap_servers: str, topic_prefix: str, *, outside: Any = None
) -> Version | None:
    """Build this code's version of a read model that is live in an older one, and let readers switch.

    None when it is live already. May be interrupted and called again, and by several at once: one builds, the others
    wait. Takes three connections. ``outside`` is for handlers that have to tell again what was told before.

    Raises WrongVersion when the live one is newer or there is none, CeilingReached, LogSilent, and what Postgres and
    Kafka raise when they fail.
    """
    async with pool.acquire() as first:
        if await is_current(first, projection):
            return None
    async with _the_only_builder(pool, projection) as connection:
        if await is_current(connection, projection):
            return None
        await drop_unused(connection, projection)
        version = await building_version(connection, projection)
        logger.warning("read model %s: %s is built beside the live one", projection.name, version.schema_name)
        live = await require_live(connection, projection, any_version=True)

        async def catch_up() -> None:
            done = await offsets_in(pool, version.schema_name, projection.topic)
            there = await offsets_in(pool, live.schema_name, projection.topic)
            until = {partition: there.get(partition, 0) for partition in range(PARTITIONS)}
            if any(end > done.get(partition, 0) for partition, end in until.items()):
                async for batch in read_topic(bootstrap_servers, topic_prefix, projection.topic, done, until):
                    await apply_batch(pool, projection, batch, outside=outside, schema=version.schema_name)
                # What expired came in no batch.
                await step_to(pool, version.schema_name, projection.topic, until)

        await catch_up()
        async with switch(connection, live, version):
            # Nobody writes into the live one now; what it got meanwhile is little.
            await catch_up()
        return version


@contextlib.asynccontextmanager
async def _the_only_builder(pool: Pool, projection: Projection) -> AsyncIterator[Connection]:
    """A connection that holds the read model's lock; the pool gives the lock back with it."""
    async with pool.acquire() as connection:
        while not await queries.try_build_lock(connection, projection=projection.name):
            await asyncio.sleep(LOCK_POLL_INTERVAL_S)
        yield connection
