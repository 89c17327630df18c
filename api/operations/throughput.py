"""Events a second that each read model applied lately: two looks at its counter, some time apart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from producers.database import Pool, transaction
from producers.live_models import rows_of_all
from producers.queries import load_queries

INTERVAL_S: Final = 5.0
WINDOW_S: Final = 60.0
SPAN_MIN_S: Final = 1.0
logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).parent / "queries.sql")


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    schema_name: str
    applied_events: int


@dataclass(slots=True)
class Throughput:
    """``samples`` by read model, those of the last WINDOW_S."""

    samples: dict[str, deque[Sample]] = field(default_factory=dict)

    def note(self, projection: str, sample: Sample) -> None:
        kept = self.samples.setdefault(projection, deque())
        if kept and kept[-1].schema_name != sample.schema_name:
            # Another version counts from its own beginning.
            kept.clear()
        kept.append(sample)
        while sample.at_s - kept[0].at_s > WINDOW_S:
            kept.popleft()

    def per_second(self, projection: str) -> float | None:
        """None before there are two looks that are far enough apart."""
        kept = self.samples.get(projection)
        if not kept or (span_s := kept[-1].at_s - kept[0].at_s) < SPAN_MIN_S:
            return None
        return round((kept[-1].applied_events - kept[0].applied_events) / span_s, 3)

    async def run(self, pool: Pool) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._look(pool)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                logger.warning("throughput: Postgres does not answer: %r", error)
            await asyncio.sleep(INTERVAL_S)

    async def _look(self, pool: Pool) -> None:
        async with transaction(pool, readonly=True) as tx:
            schemas = {row["projection"]: row["schema_name"] for row in await queries.read_models(tx)}
            if not schemas:
                return
            counted = rows_of_all(list(schemas), "offsets", "applied_events")
            total = "SELECT read_model, sum(applied_events)::bigint AS applied_events"
            rows = await tx.fetch(f"{total} FROM ({counted}) AS counted GROUP BY read_model")
        now_s = time.monotonic()
        # A read model that has seen no partition yet has no row.
        applied = {row["read_model"]: row["applied_events"] for row in rows}
        for name, schema_name in schemas.items():
            self.note(name, Sample(now_s, schema_name, applied.get(name, 0)))
