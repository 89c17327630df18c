"""Where a live read model stands in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from producers.database import Pool, search_path
from producers.queries import load_queries
from projections.registry import Projection
from projections.runtime.versions import require_live

queries: Final = load_queries(Path(__file__).parent / "offsets.sql")


async def offsets_in(pool: Pool, schema: str, topic: str) -> dict[int, int]:
    """As read_offsets, of a version that need not be live."""
    async with pool.acquire(timeout=30) as tx, tx.transaction(readonly=True):
        await tx.execute(search_path([schema]))
        rows = await queries.read_offsets(tx, topic=topic)
    return {row["partition"]: row["next_offset"] for row in rows}


async def read_offsets(pool: Pool, projection: Projection) -> dict[int, int]:
    """Partition to next offset; a partition of which nothing was applied is missing."""
    async with pool.acquire(timeout=30) as tx, tx.transaction(readonly=True):
        await tx.execute(search_path([(await require_live(tx, projection)).schema_name]))
        rows = await queries.read_offsets(tx, topic=projection.topic)
    return {row["partition"]: row["next_offset"] for row in rows}
