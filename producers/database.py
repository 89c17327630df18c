"""Connections and transactions. A transaction sees the live read models through its ``search_path``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import asyncpg
import orjson

from producers.queries import load_queries

POOL_SIZE_MAX: Final = 10
COMMAND_TIMEOUT_S: Final = 30.0
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))

# Strings: asyncpg's classes take parameters in their type stubs only.
Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
Pool: TypeAlias = "asyncpg.Pool[Any]"


async def prepare_connection(connection: asyncpg.Connection[Any]) -> None:
    """jsonb as Python values, by orjson."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda raw: orjson.loads(raw[1:]),
        format="binary",
    )


async def open_pool(
    dsn: str,
    *,
    size_max: int = POOL_SIZE_MAX,
    name: str = "epochlog",
    command_timeout_s: float = COMMAND_TIMEOUT_S,
    server_settings: Mapping[str, str] = MappingProxyType({}),
) -> Pool:
    """A bounded pool. Raises OSError or asyncpg.PostgresError when the server cannot be reached."""
    pool = await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size_max,
        command_timeout=command_timeout_s,
        init=prepare_connection,
        server_settings={"application_name": name, **server_settings},
    )
    assert pool is not None
    return pool


async def connect(dsn: str, *, name: str = "epochlog") -> asyncpg.Connection[Any]:
    """One connection with the same type codecs, for LISTEN and for advisory locks."""
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": name})
    await prepare_connection(connection)
    return connection


def search_path(schemas: list[str]) -> str:
    """A statement that makes the given schemas visible until the transaction ends, and ``public`` for extensions."""
    quoted = ", ".join('"' + schema.replace('"', '""') + '"' for schema in [*schemas, "public"])
    return f"SET LOCAL search_path TO {quoted}"


async def set_live_search_path(connection: Connection) -> None:
    rows = await queries.live_schemas(connection)
    await connection.execute(search_path([row["schema_name"] for row in rows]))


@contextlib.asynccontextmanager
async def transaction(
    pool: Pool, *, readonly: bool = False, snapshot: bool = False, timeout_s: float = 10.0
) -> AsyncIterator[Connection]:
    """A transaction that sees the live read models; schema ``write`` is named in full.

    ``snapshot`` makes all its statements see one moment (repeatable read). Raises TimeoutError when no connection is
    free within ``timeout_s``.
    """
    isolation: Literal["repeatable_read", "read_committed"] = "repeatable_read" if snapshot else "read_committed"
    async with (
        pool.acquire(timeout=timeout_s) as connection,
        connection.transaction(isolation=isolation, readonly=readonly),
    ):
        await set_live_search_path(connection)
        yield connection
