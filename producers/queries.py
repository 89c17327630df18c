"""Named queries of ``.sql`` files, as methods: ``await queries.NAME(connection, parameter=...)``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosql
from aiosql.types import SQLOperationType


def load_queries(path: Path) -> Any:
    """The queries of one file. Parameters are seen in the SQL itself (``:name``) and not listed a second time.

    A query without an operator gives a list of rows (aiosql itself gives an async generator).
    """
    queries = aiosql.from_path(path, "asyncpg", mandatory_parameters=False)
    for name in queries.available_queries:
        query = getattr(queries, name)
        if getattr(query, "operation", None) is SQLOperationType.SELECT:
            setattr(queries, name, _rows(query))
    return queries


def _rows(query: Any) -> Callable[..., Awaitable[list[Any]]]:
    async def rows(connection: Any, **parameters: Any) -> list[Any]:
        return [row async for row in query(connection, **parameters)]

    return rows
