"""A read model's version is a schema; which one is live stands in one registry row."""

from __future__ import annotations

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


async def require_live(connection: Connection, projection: Projection) -> Version:
    """The live version, built by this code. Raises WrongVersion."""
    found = await live_version(connection, projection)
    if found is None:
        raise WrongVersion(f"read model {projection.name} does not exist; run: python -m projections migrate")
    if found.version != projection.version:
        raise WrongVersion(
            f"read model {projection.name} is live in version {found.version}, this code builds version "
            f"{projection.version}; run: python -m projections migrate"
        )
    return found


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


async def create_missing(connection: Connection, projections: tuple[Projection, ...]) -> list[Version]:
    """Make the read models that do not exist yet, live from their first event. Returns what was made.

    Raises WrongVersion when one is live in another version.
    """
    made: list[Version] = []
    async with connection.transaction():
        await queries.lock_registry(connection)
        for projection in projections:
            if await live_version(connection, projection) is None:
                made.append(await create_version(connection, projection, state="live"))
            await require_live(connection, projection)
    return made
