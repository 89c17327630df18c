"""Bring topics, schema ``write`` and read models into being: safe to run again, and by several at once."""

from __future__ import annotations

from typing import Any

import asyncpg

from producers.database import connect, open_pool, search_path
from producers.kafka.create_topics import create_topics
from producers.migrate import migrate, raise_ids
from projections.archive.reading import Archive, history_records
from projections.early_stop.fold import note_past
from projections.registry import MLFLOW, PROJECTIONS, projection_named
from projections.runtime.build import bring_up_to_date
from projections.runtime.replay import end_offsets, highest_key
from projections.runtime.versions import Version, create_missing, live_version
from projections.settings import Settings
from training_sdk.wire import DATASETS, JOBS, METRICS


async def _build_new_versions(settings: Settings) -> list[Version]:
    """Before readers come who want them. MLflow may be away now: its mirror's versions are built by its worker."""
    pool = await open_pool(settings.database_url, size_max=6, name="epochlog migrate")
    try:
        servers, prefix = settings.kafka_bootstrap_servers, settings.topic_prefix
        wanted = [projection for projection in PROJECTIONS if projection.process != MLFLOW]
        records = history_records(Archive.of(pool, settings), settings)
        built = [await bring_up_to_date(pool, projection, servers, prefix, records=records) for projection in wanted]
    finally:
        await pool.close()
    return [version for version in built if version is not None]


async def migrate_all(settings: Settings) -> list[str]:
    """What was done, a line each. Raises MigrationRefused, TopicRefused, WrongVersion."""
    done: list[str] = []
    servers, prefix = settings.kafka_bootstrap_servers, settings.topic_prefix
    done += [f"topic {name}" for name in await create_topics(servers, prefix, settings.topic_replication)]
    connection = await connect(settings.database_url, name="epochlog migrate")
    try:
        done += [f"migration {step.version:04d}_{step.name}" for step in await migrate(connection)]
        made = await _create_missing(connection, settings)
        done += [f"read model {version.schema_name}" for version in made]
        done += [f"read model {version.schema_name}, built anew" for version in await _build_new_versions(settings)]
        if any(version.schema_name.startswith("jobs_") for version in made):
            # A new database on an old log: ids that the log knows must not be given again.
            jobs = await highest_key(servers, prefix, JOBS)
            datasets = await highest_key(servers, prefix, DATASETS)
            await raise_ids(connection, job_id=jobs, dataset_id=datasets)
    finally:
        await connection.close()
    return done


async def _create_missing(connection: asyncpg.Connection[Any], settings: Settings) -> list[Version]:
    model = projection_named("early-stop")
    if await live_version(connection, model) is not None:
        return await create_missing(connection, PROJECTIONS)
    ends = await end_offsets(settings.kafka_bootstrap_servers, settings.topic_prefix, METRICS)
    async with connection.transaction():
        made = await create_missing(connection, PROJECTIONS)
        for version in made:
            if version.schema_name.startswith("early_stop_v"):
                await connection.execute(search_path([version.schema_name]))
                await note_past(connection, ends)
    return made
