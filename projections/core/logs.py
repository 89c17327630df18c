"""Log lines, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from events.envelope import Event
from events.topics import PARTITIONS
from events.types.logs import LogWritten
from events.types.sessions import EventsDropped, SessionOpened
from events.types.vocabulary import LOG_LINES_PER_EVENT_MAX
from producers.database import Connection
from projections.core.trail import note

TABLES: Final = Path(__file__).with_suffix(".sql")
TRAIL: Final = "log_trail"
COLUMNS: Final = (
    *("id", "job_id", "level", "message", "timestamp", "source", "metadata", "created_at", "attempt", "rank"),
)


def line_id(partition: int, offset: int, line: int) -> int:
    """A number that is the same at every replay and grows along each partition. Fits 63 bits up to offset 7.6e14."""
    return (offset * PARTITIONS + partition) * LOG_LINES_PER_EVENT_MAX + line


async def append(tx: Connection, events: Sequence[Event[LogWritten]]) -> None:
    rows = []
    for event in events:
        assert event.position is not None
        for number, line in enumerate(event.data.lines):
            row_id = line_id(event.position.partition, event.position.offset, number)
            rows.append(
                (row_id, event.job_id, str(line.level), line.message, line.timestamp, str(line.source))
                + (line.metadata, event.append_time, event.attempt, event.rank)
            )
    await tx.copy_records_to_table("training_logs", records=rows, columns=COLUMNS)
    await note(tx, TRAIL, events)


async def note_session(tx: Connection, events: Sequence[Event[SessionOpened | EventsDropped]]) -> None:
    """What is no line, but part of the audit trail."""
    await note(tx, TRAIL, events)
