"""Signs of life, and what the trainers' machines were doing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from events.envelope import Event
from events.types.sessions import EventsDropped, SessionOpened
from events.types.system import HeartbeatSent, SystemSampled
from producers.database import Connection
from producers.queries import load_queries
from projections.core.trail import note

TABLES: Final = Path(__file__).with_suffix(".sql")
TRAIL: Final = "system_trail"
"""Without heartbeats: they say nothing but that the run lived, and there are many."""
queries: Final = load_queries(TABLES)


async def see(tx: Connection, events: Sequence[Event[HeartbeatSent]]) -> None:
    rows = [{"job_id": event.job_id, "attempt": event.attempt, "last_seen": event.append_time} for event in events]
    await queries.see(tx, rows)


async def record(tx: Connection, events: Sequence[Event[SystemSampled]]) -> None:
    rows: list[dict[str, Any]] = []
    for event in events:
        assert event.position is not None
        rows.append(
            {
                "job_id": event.job_id,
                "attempt": event.attempt,
                "rank": event.rank,
                "time": event.time,
                "data": event.data.model_dump(mode="json", exclude_none=True),
                "partition": event.position.partition,
                "log_offset": event.position.offset,
            }
        )
    await queries.append(tx, rows)
    seen = [{"job_id": event.job_id, "attempt": event.attempt, "last_seen": event.append_time} for event in events]
    await queries.see(tx, seen)
    await note(tx, TRAIL, events)


async def note_session(tx: Connection, events: Sequence[Event[SessionOpened | EventsDropped]]) -> None:
    """What is no sample, but part of the audit trail."""
    await note(tx, TRAIL, events)
