"""Bring topics, schema ``write`` and read models into being: safe to run again, and by several at once."""

from __future__ import annotations

from producers.database import connect, open_pool
from producers.kafka.create_topics import create_topics
from producers.migrate import begins_elsewhere, forget_lost_read_models, migrate, raise_ids
from projections.archive import ledger
from projections.archive.reading import Archive, history_records
from projections.first_build import build_missing
from projections.registry import MLFLOW, PROJECTIONS, projection_named
from projections.runtime.build import bring_up_to_date
from projections.runtime.replay import highest_key
from projections.runtime.versions import create_missing, live_version
from projections.settings import Settings
from training_sdk.wire import DATASETS, JOBS


async def _build(settings: Settings) -> tuple[list[str], list[str]]:
    """Missing read models and new versions, before readers come who want them. Returns both kinds' schemas.

    MLflow may be away now: its mirror is built by its worker.
    """
    pool = await open_pool(settings.database_url, size_max=6, name="epochlog migrate")
    try:
        servers, prefix = settings.kafka_bootstrap_servers, settings.topic_prefix
        wanted = [projection for projection in PROJECTIONS if projection.process != MLFLOW]
        made = await build_missing(pool, wanted, settings)
        async with pool.acquire() as connection:
            made += await create_missing(connection, PROJECTIONS)
        records = history_records(Archive.of(pool, settings), settings)
        built = [await bring_up_to_date(pool, projection, servers, prefix, records=records) for projection in wanted]
    finally:
        await pool.close()
    return [version.schema_name for version in made], [version.schema_name for version in built if version is not None]


async def migrate_all(settings: Settings) -> list[str]:
    """What was done, a line each. Raises MigrationRefused, TopicRefused, WrongVersion."""
    done: list[str] = []
    servers, prefix = settings.kafka_bootstrap_servers, settings.topic_prefix
    done += [f"topic {name}" for name in await create_topics(servers, prefix, settings.topic_replication)]
    connection = await connect(settings.database_url, name="epochlog migrate")
    try:
        done += [f"migration {step.version:04d}_{step.name}" for step in await migrate(connection)]
        lost = await forget_lost_read_models(connection)
        done += [f"read model {name} is not in this database, it is built anew" for name in lost]
        moved = await begins_elsewhere(connection)
        done += ["this database was restored or moved: its outbox begins new sessions"] if moved else []
        if moved or await live_version(connection, projection_named("jobs")) is None:
            # A new or restored database on an old log: ids that the log knows must not be given again.
            jobs = await highest_key(servers, prefix, JOBS)
            datasets = await highest_key(servers, prefix, DATASETS)
            await raise_ids(connection, job_id=jobs, dataset_id=datasets)
        made, built = await _build(settings)
        if moved or made:
            # By now the archive is known, which may hold jobs that the log dropped.
            await raise_ids(connection, job_id=await ledger.queries.highest_job(connection), dataset_id=0)
        done += [f"read model {name}" for name in made]
        done += [f"read model {name}, built anew" for name in built]
    finally:
        await connection.close()
    return done
