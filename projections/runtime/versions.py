"""A read model's version is a schema; which one is live stands in one registry row."""

from __future__ import annotations

import contextlib
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
    row = await queries.hold_live(connection, projection=projection.name)
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
    """Make the schema and tables of a new build; needs a transaction. ``state`` is live or building."""
    build: int = await queries.next_build(connection, projection=projection.name, version=projection.version)
    slug = projection.name.replace("-", "_")
    version = Version(f"{slug}_v{projection.version}_{build}", projection.version, build)
    await connection.execute(EXTENSIONS)
    await connection.execute(f'CREATE SCHEMA "{version.schema_name}"')
    await connection.execute(search_path([version.schema_name]))
    await tables.create_tables(connection)
    for table in ("offsets", "session_marks", "dead_letters"):
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
    )
    return version


async def building_version(connection: Connection, projection: Projection) -> Version:
    """The version that this code builds, begun where nobody has begun it."""
    async with connection.transaction():
        await queries.lock_registry(connection)
        row = await queries.building(connection, projection=projection.name, version=projection.version)
        if row is not None:
            return Version(row["schema_name"], row["version"], row["build"])
        return await create_version(connection, projection, state="building")


@contextlib.asynccontextmanager
async def switch(connection: Connection, live: Version, following: Version) -> AsyncIterator[None]:
    """Inside, no batch is applied to ``live``; with its end readers and workers see ``following``.

    When the inside raises, everything is as before.
    """
    async with connection.transaction():
        # Batches hold the row shared: this waits for those at work, and the next ones wait for this.
        await queries.lock_model(connection, schema_name=live.schema_name)
        yield
        await queries.set_state(connection, schema_name=live.schema_name, state="retired")
        await queries.set_state(connection, schema_name=following.schema_name, state="live")


async def drop_unused(connection: Connection, projection: Projection) -> None:
    """Forget what was live before the live version, and what code that is gone began to build."""
    async with connection.transaction():
        await queries.lock_registry(connection)
        for row in await queries.unused(connection, projection=projection.name, version=projection.version):
            await connection.execute(f'DROP SCHEMA "{row["schema_name"]}" CASCADE')
            await queries.forget(connection, schema_name=row["schema_name"])


async def create_missing(connection: Connection, projections: tuple[Projection, ...]) -> list[Version]:
    """Make the read models that do not exist yet, live from their first event. Returns what was made.

    Raises WrongVersion when one is live in a newer version; older ones are projections.runtime.build's.
    """
    made: list[Version] = []
    async with connection.transaction():
        await queries.lock_registry(connection)
        for projection in projections:
            if await live_version(connection, projection) is None:
                made.append(await create_version(connection, projection, state="live"))
            await is_current(connection, projection)
    return made
