"""Data sets that may be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from events.envelope import Event
from events.types.datasets import DatasetRegistered
from producers.database import Connection
from producers.queries import load_queries

TABLES: Final = Path(__file__).with_suffix(".sql")
queries: Final = load_queries(TABLES)


async def record(tx: Connection, events: Sequence[Event[DatasetRegistered]]) -> None:
    columns = {"external_id", "name", "description", "task_types", "total_images", "storage_path"}
    rows = [
        {
            **event.data.model_dump(mode="json", include=columns),
            "id": event.data.dataset_id,
            "created_at": event.time,
            "document": event.data.model_dump(mode="json"),
        }
        for event in events
    ]
    await queries.save(tx, rows)
