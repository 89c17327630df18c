"""Records that retention deleted come in no batch: a read model steps over them, or it would look behind for ever."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from producers.database import Connection, Pool, search_path
from producers.queries import load_queries
from projections.registry import Projection
from projections.runtime.versions import hold_live

logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).parent / "offsets.sql")


async def step_to(pool: Pool, schema: str, topic: str, reached: Mapping[int, int]) -> None:
    """A version that is being built stands, by partition, at least where it was read to."""
    async with pool.acquire(timeout=30) as tx, tx.transaction():
        await tx.execute(search_path([schema]))
        await _raise(tx, topic, reached)


async def step_over_expired(pool: Pool, projection: Projection, earliest: Mapping[int, int]) -> None:
    """The live version begins no partition before ``earliest``, the first offset that the log still has.

    Raises WrongVersion.
    """
    async with pool.acquire(timeout=30) as tx, tx.transaction():
        await tx.execute(search_path([(await hold_live(tx, projection)).schema_name]))
        rows = await queries.read_offsets(tx, topic=projection.topic)
        for row in rows:
            first = earliest.get(row["partition"], 0)
            if 0 < row["next_offset"] < first:
                logger.error(
                    "%s: %s/%d goes on at offset %d, %d was expected; what lay between is not in the log any more",
                    *(projection.name, projection.topic, row["partition"], first, row["next_offset"]),
                )
        await _raise(tx, projection.topic, earliest)


async def _raise(tx: Connection, topic: str, offsets: Mapping[int, int]) -> None:
    # A missing row says 0 already.
    partitions = sorted(partition for partition, offset in offsets.items() if offset > 0)
    await queries.raise_offsets(
        tx, topic=topic, partitions=partitions, next_offsets=[offsets[partition] for partition in partitions]
    )
