"""Files of runs that are no checkpoints, every one that was announced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from events.envelope import Event
from events.types.artifacts import ArtifactSaved
from producers.database import Connection
from producers.queries import load_queries

TABLES: Final = Path(__file__).with_suffix(".sql")
queries: Final = load_queries(TABLES)


async def record(tx: Connection, events: Sequence[Event[ArtifactSaved]]) -> None:
    rows = []
    for event in events:
        assert event.position is not None
        rows.append(
            {
                **event.data.model_dump(mode="json"),
                "job_id": event.job_id,
                "attempt": event.attempt,
                "partition": event.position.partition,
                "log_offset": event.position.offset,
                "saved_at": event.time,
            }
        )
    await queries.append(tx, rows)
