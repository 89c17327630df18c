"""Models that trainers offer; the latest registration of a framework and name counts."""

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
    columns = {"name", "framework", "task_types", "description"}
    rows = [
        {
            **event.data.model_dump(mode="json", include=columns),
            "parameters": _parameters(event.data),
            "registered_at": event.time,
            "document": event.data.model_dump(mode="json"),
        }
        for event in events
    ]
    await queries.save(tx, rows)


def _parameters(model: ModelRegistered) -> int | None:
    """The number of a model's parameters, where its free object says one."""
    found = model.capability.get("parameters")
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**63 else None
