"""What operators did with dead letters: the latest word about each counts. The records stand beside the read models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from events.envelope import Event
from events.types.models import DeadLetterDiscarded, DeadLetterRedriven
from producers.database import Connection
from producers.queries import load_queries

TABLES: Final = Path(__file__).with_suffix(".sql")
queries: Final = load_queries(TABLES)


async def redriven(tx: Connection, events: Sequence[Event[DeadLetterRedriven]]) -> None:
    await queries.record(tx, [_row(event, "redriven") for event in events])


async def discarded(tx: Connection, events: Sequence[Event[DeadLetterDiscarded]]) -> None:
    await queries.record(tx, [_row(event, "discarded") for event in events])


def _row(event: Event[DeadLetterRedriven], action: str) -> dict[str, Any]:
    assert event.position is not None
    data = event.data
    return {
        "action_partition": event.position.partition,
        "action_offset": event.position.offset,
        "read_model": data.projection,
        "topic": data.topic,
        "partition": data.partition,
        "log_offset": data.offset,
        "action": action,
        "reason": data.reason,
        "by": data.by,
        "time": event.time,
    }
