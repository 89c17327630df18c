"""Models that trainers offer; the latest registration of a name counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from events.envelope import Event
from events.types.models import ModelRegistered
from producers.database import Connection
from producers.queries import load_queries

TABLES: Final = Path(__file__).with_suffix(".sql")
queries: Final = load_queries(TABLES)


async def record(tx: Connection, events: Sequence[Event[ModelRegistered]]) -> None:
    rows = [{**event.data.model_dump(mode="json"), "registered_at": event.time} for event in events]
    await queries.save(tx, rows)
