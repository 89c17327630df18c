"""Forward-only migrations of schema ``write``. Read models need none: a changed table is a new version of its model."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from producers.queries import load_queries

MIGRATIONS_FOLDER: Final = Path(__file__).parent / "migrations"
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


class MigrationRefused(RuntimeError):
    """The database holds migrations that do not fit the ones in this checkout."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(folder: Path = MIGRATIONS_FOLDER) -> list[Migration]:
    """All migrations by version. Raises MigrationRefused for a wrong file name or a number that stands twice."""
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        name = re.fullmatch(r"(\d{4})_(\w+)", path.stem)
        if name is None:
            raise MigrationRefused(f"{path.name} is not called NNNN_what.sql")
        version = int(name.group(1))
        if version in found:
            raise MigrationRefused(f"two migrations have the number {version}")
        found[version] = Migration(version, name.group(2), path.read_text())
    return list(found.values())


async def migrate(connection: asyncpg.Connection[Any], wanted: list[Migration] | None = None) -> list[Migration]:
    """Apply what is missing, each run in one transaction under a lock. Returns what was applied.

    Raises MigrationRefused when an applied migration was changed or is unknown here.
    """
    wanted = migrations() if wanted is None else wanted
    by_version = {migration.version: migration for migration in wanted}
    async with connection.transaction():
        await queries.lock_migrations(connection)
        await queries.prepare_schema(connection)
        applied = {row["version"]: row for row in await queries.applied_migrations(connection)}
        for version, row in applied.items():
            known = by_version.get(version)
            if known is None:
                raise MigrationRefused(
                    f"migration {version} ({row['name']}) was applied by a newer epochlog; update it"
                )
            if known.sha256 != row["sha256"]:
                raise MigrationRefused(f"migration {version} ({row['name']}) was changed after it was applied")
        missing = [migration for migration in wanted if migration.version not in applied]
        for migration in missing:
            await connection.execute(migration.sql)
            values = {"version": migration.version, "name": migration.name, "sha256": migration.sha256}
            await queries.record_migration(connection, **values)
    return missing


async def begins_elsewhere(connection: asyncpg.Connection[Any]) -> bool:
    """Whether the database was restored or moved since the last migration. Then its outbox begins new sessions.

    The log may hold more than the database remembers: under the old sessions, new facts would get numbers that the log
    has seen, and be dropped as repeats. What the outbox still has unsent keeps its session and gets the number that it
    got or would have got before, so it is told once.
    """
    async with connection.transaction():
        await queries.lock_migrations(connection)
        place = await queries.place(connection)
        before = await queries.noted_place(connection)
        if place == before:
            return False
        await queries.note_place(connection, place=place, renew=before is not None)
    return before is not None


async def forget_lost_read_models(connection: asyncpg.Connection[Any]) -> list[str]:
    """Names of schemas that the registry has and the database has not: a backup of schema ``write`` alone."""
    async with connection.transaction():
        await queries.lock_migrations(connection)
        return [row["schema_name"] for row in await queries.forget_lost(connection)]


async def raise_ids(connection: asyncpg.Connection[Any], *, job_id: int, dataset_id: int) -> None:
    """Make new ids start above the log's highest: a new database on an old log must not give an id twice."""
    if job_id > 0:
        await queries.raise_job_ids(connection, highest=job_id)
    if dataset_id > 0:
        await queries.raise_dataset_ids(connection, highest=dataset_id)
