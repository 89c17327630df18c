"""A read model's version is a schema; which one is live stands in one registry row."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from producers.database import Connection, search_path
from producers.queries import load_queries
from projections.registry import Projection

FOLDER: Final = Path(__file__).parent
queries: Final = load_queries(FOLDER / "versions.sql")
tables: Final = load_queries(FOLDER / "version.sql")

BUILD_STATEMENT_TIMEOUT_S: Final = 3_600.0
SWITCHES_MAX: Final = 5
"""So often in a row, at most, a batch that waited finds that the read model was switched meanwhile."""
READERS_MAX_S: Final = 60.0
READERS_POLL_S: Final = 0.1
EXTENSIONS: Final = "CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public"


class WrongVersion(RuntimeError):
    """The live read model was built by another version of this code."""


@dataclass(frozen=True, slots=True)
class Version:
    schema_name: str
    version: int
    build: int


async def live_version(connection: Connection, projection: Projection) -> Version | None:
    row = await queries.live(connection, projection=projection.name)
    return None if row is None else Version(row["schema_name"], row["version"], row["build"])


async def require_live(connection: Connection, projection: Projection, *, any_version: bool = False) -> Version:
    """The live version, built by this code (or by any). Raises WrongVersion."""
    return _required(projection, await live_version(connection, projection), any_version)


async def hold_live(connection: Connection, projection: Projection) -> Version:
    """As require_live, and it stays the live one until the transaction ends. Raises WrongVersion."""
    row = None
    for _ in range(SWITCHES_MAX):
        row = await queries.hold_live(connection, projection=projection.name)
        if row is not None:
            break
        # It waited for a switch, and the row that it waited for is not the live one any more: look again.
    found = None if row is None else Version(row["schema_name"], row["version"], row["build"])
    return _required(projection, found, any_version=False)


def _required(projection: Projection, found: Version | None, any_version: bool) -> Version:
    if found is None:
        raise WrongVersion(f"read model {projection.name} does not exist; run: python -m projections migrate")
    if found.version != projection.version and not any_version:
        older = found.version < projection.version
        remedy = "run: python -m projections migrate" if older else "install the newer code"
        raise WrongVersion(
            f"read model {projection.name} is live in version {found.version}, this code builds version "
            f"{projection.version}; {remedy}"
        )
    return found


async def is_current(connection: Connection, projection: Projection) -> bool:
    """Whether this code's version is live. Raises WrongVersion when a newer one is, or none."""
    found = await require_live(connection, projection, any_version=True)
    if found.version > projection.version:
        await require_live(connection, projection)
    return found.version == projection.version


async def create_version(connection: Connection, projection: Projection, *, state: str) -> Version:
    """Make the schema and tables of a new build; needs a transaction. ``state`` is live or building.

    One that is built gets its indexes by make_indexes: filling them with every row costs several times as much.
    """
    build: int = await queries.next_build(connection, projection=projection.name, version=projection.version)
    slug = projection.name.replace("-", "_")
    version = Version(f"{slug}_v{projection.version}_{build}", projection.version, build)
    await connection.execute(EXTENSIONS)
    await connection.execute(f'CREATE SCHEMA "{version.schema_name}"')
    await connection.execute(search_path([version.schema_name]))
    await tables.create_tables(connection)
    await tables.add_purged_jobs(connection)
    for table in ("offsets", "session_marks", "dead_letters", "purged_jobs"):
        # A name of its own for readers, who see all live schemas at once.
        source = "projection_offsets" if table == "offsets" else table
        await connection.execute(f"CREATE VIEW {slug}_{table} AS SELECT * FROM {source}")
    await load_queries(projection.tables).create_tables(connection)
    await queries.register(
        connection,
        schema_name=version.schema_name,
        projection=projection.name,
        version=version.version,
        build=build,
        state=state,
        deferred_indexes=[] if state == "live" else await _defer_indexes(connection, version),
        code=code_fingerprint(),
    )
    return version


async def _defer_indexes(connection: Connection, version: Version) -> list[str]:
    """Drop the indexes that no constraint needs. Returns the statements that make them."""
    rows = await queries.plain_indexes(connection, schema_name=version.schema_name)
    for row in rows:
        await connection.execute(f'DROP INDEX "{version.schema_name}"."{row["name"]}"')
    return [row["statement"] for row in rows]


async def make_indexes(connection: Connection, version: Version) -> None:
    """The indexes that a build was spared, each once, and what the planner wants to know of its tables."""
    for statement in await queries.deferred_indexes(connection, schema_name=version.schema_name):
        async with connection.transaction():
            await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
            await connection.execute(statement["statement"], timeout=BUILD_STATEMENT_TIMEOUT_S)
            await queries.index_made(connection, schema_name=version.schema_name, statement=statement["statement"])
    for row in await queries.tables_of(connection, schema_name=version.schema_name):
        await connection.execute(f'ANALYZE "{version.schema_name}"."{row["name"]}"', timeout=BUILD_STATEMENT_TIMEOUT_S)


async def building_version(connection: Connection, projection: Projection) -> Version:
    """The version that this code builds, begun where nobody has begun it."""
    async with connection.transaction():
        await queries.lock_registry(connection)
        row = await queries.building(
            connection, projection=projection.name, version=projection.version, code=code_fingerprint()
        )
        if row is not None:
            return Version(row["schema_name"], row["version"], row["build"])
        version = await create_version(connection, projection, state="building")
        live = await require_live(connection, projection, any_version=True)
        # What is purged is not even folded again, also where the log does not tell of the purge any more.
        for table in ("purged_jobs", *projection.kept):
            copy = f'INSERT INTO "{version.schema_name}"."{table}" SELECT * FROM "{live.schema_name}"."{table}"'
            await connection.execute(copy)
        return version


@contextlib.asynccontextmanager
async def standing_still(connection: Connection, live: Version) -> AsyncIterator[None]:
    """Inside, no batch is applied to ``live``. Raises WrongVersion when it is not live any more."""
    async with connection.transaction():
        # Batches hold the row shared: this waits for those at work, and the next ones wait for this.
        row = await queries.lock_model(connection, schema_name=live.schema_name)
        if row is None or row["state"] != "live":
            raise WrongVersion(f"{live.schema_name} is not live any more: another process switched meanwhile")
        yield


@contextlib.asynccontextmanager
async def switch(connection: Connection, live: Version, following: Version) -> AsyncIterator[None]:
    """Inside, no batch is applied to ``live``; with its end readers and workers see ``following``.

    When the inside raises, everything is as before. Raises WrongVersion when ``live`` is not live any more.
    """
    async with standing_still(connection, live):
        # Builders may commit without waiting for the disk; this commit waits, and all before it are down then, too.
        await connection.execute("SET LOCAL synchronous_commit = on")
        yield
        await queries.set_state(connection, schema_name=live.schema_name, state="retired")
        await queries.set_state(connection, schema_name=following.schema_name, state="live")


async def retired_version(connection: Connection, projection: Projection) -> Version | None:
    """The version that was live before."""
    row = await queries.retired(connection, projection=projection.name)
    return None if row is None else Version(row["schema_name"], row["version"], row["build"])


async def drop_unused(connection: Connection, projection: Projection) -> None:
    """Forget what was live before the live version, and what other code began to build."""
    await _wait_for_readers(connection, projection)
    async with connection.transaction():
        await queries.lock_registry(connection)
        found = await queries.unused(
            connection, projection=projection.name, version=projection.version, code=code_fingerprint()
        )
        for row in found:
            await drop_version(connection, row["schema_name"])


async def drop_version(connection: Connection, schema_name: str) -> None:
    await connection.execute(f'DROP SCHEMA "{schema_name}" CASCADE')
    await queries.forget(connection, schema_name=schema_name)


async def _wait_for_readers(connection: Connection, projection: Projection) -> None:
    """Until nobody reads what was retired a moment ago: a transaction sees the version that was live at its start."""
    if not await queries.retired_just_now(connection, projection=projection.name):
        return
    began = await queries.clock(connection)
    for _ in range(round(READERS_MAX_S / READERS_POLL_S)):
        if not await queries.older_transactions(connection, began=began):
            return
        await asyncio.sleep(READERS_POLL_S)


async def size_bytes(connection: Connection, schema_name: str) -> int:
    """On disk, with indexes and large values."""
    size: int = await queries.size_bytes(connection, schema_name=schema_name)
    return size


@functools.cache
def code_fingerprint() -> str:
    """Of the code that makes rows out of records: what one code began to build, other code does not go on with."""
    root = FOLDER.parent.parent
    found = hashlib.sha256()
    for folder in ("events", "projections/core", "projections/early_stop", "projections/mlflow_mirror"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".sql"):
                found.update(path.read_bytes())
    for path in (FOLDER / "apply.py", FOLDER / "version.sql", root / "projections" / "registry.py"):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


async def create_missing(connection: Connection, projections: tuple[Projection, ...]) -> list[Version]:
    """Make the read models that do not exist yet, live from their first event. Returns what was made.

    Raises WrongVersion when one is live in a newer version; older ones are projections.runtime.build's.
    """
    made: list[Version] = []
    async with connection.transaction():
        await queries.lock_registry(connection)
        for row in await queries.without_purged_jobs(connection):
            slug = row["projection"].replace("-", "_")
            await connection.execute(search_path([row["schema_name"]]))
            await tables.add_purged_jobs(connection)
            await connection.execute(f"CREATE VIEW {slug}_purged_jobs AS SELECT * FROM purged_jobs")
        for projection in projections:
            if await live_version(connection, projection) is None:
                made.append(await create_version(connection, projection, state="live"))
            await is_current(connection, projection)
    return made
