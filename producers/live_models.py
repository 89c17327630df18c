"""Statements over the tables that every read model has: which read models there are, the registry alone knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from producers.database import Connection
from producers.queries import load_queries

queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


async def live_models(tx: Connection) -> list[str]:
    return [row["projection"] for row in await queries.live_models(tx)]


def rows_of_all(models: Sequence[str], table: str, columns: str) -> str:
    """A SELECT of ``read_model`` and columns of a table that each read model has (projections/runtime/version.sql).

    Needs a transaction of producers.database. The names are the registry's, never a caller's.
    """
    return " UNION ALL ".join(
        f"SELECT '{model}' AS read_model, {columns} FROM {model.replace('-', '_')}_{table}" for model in models
    )
