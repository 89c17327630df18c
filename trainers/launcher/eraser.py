"""Erases what purged jobs left outside of the read models: objects of the store, rows of the outbox, folders here.

That a job is purged stands in the read model of jobs, and what is done in ``write.purges``. Everything may be done
twice and by several launchers at once; what a launcher that died had begun, the next look goes on with.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import asyncpg
from minio import Minio

from producers import outbox
from producers.database import Pool, transaction
from producers.queries import load_queries
from trainers.launcher.backend import Backend, RunState
from trainers.launcher.settings import Settings
from training_sdk.settings import RunSettings
from training_sdk.storage.s3 import open_store
from training_sdk.storage.uploads import STORE_ERRORS

LOOK_INTERVAL_S: Final = 5.0
PREFIXES: Final = ("checkpoints/{}/", "artifacts/{}/")
"""Where objects of a job lie (training_sdk/storage/kinds.py)."""
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
logger = logging.getLogger(__name__)


class Eraser:
    def __init__(self, pool: Pool, backend: Backend, settings: Settings) -> None:
        self._pool = pool
        self._backend = backend
        self._settings = settings

    async def run(self) -> None:
        """Until cancelled. Postgres or the store being down only delays it."""
        while True:
            try:
                await self.look()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                logger.warning("eraser: %r; trying again", error)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def look(self) -> list[int]:
        """Erase what can be erased now. Returns the jobs of which something was left to erase outside of here."""
        await self._sweep()
        async with transaction(self._pool, readonly=True) as tx:
            job_ids = [row["job_id"] for row in await queries.pending(tx)]
        for job_id in job_ids:
            await self._erase(job_id)
        return job_ids

    async def _erase(self, job_id: int) -> None:
        try:
            count = await asyncio.to_thread(self._erase_objects, job_id)
        except STORE_ERRORS as error:
            logger.warning("purged job %d: its objects cannot be erased now: %r", job_id, error)
            async with self._pool.acquire(timeout=10) as connection:
                await queries.note_problem(connection, job_id=job_id, problem=repr(error)[:1_000])
            return
        async with transaction(self._pool) as tx:
            await queries.note_objects(tx, job_id=job_id, objects=count)
            await queries.release_lease(tx, job_id=job_id)
            if await outbox.erase(tx, job_id) == 0:
                await queries.note_outbox(tx, job_id=job_id)
        if count:
            logger.info("purged job %d: %d objects erased", job_id, count)

    def _erase_objects(self, job_id: int) -> int:
        """Raises one of STORE_ERRORS."""
        settings = self._settings
        store = open_store(
            RunSettings(
                s3_endpoint=settings.s3_endpoint,
                s3_access_key=settings.s3_access_key,
                s3_secret_key=settings.s3_secret_key,
            )
        )
        buckets = (self._settings.checkpoints_bucket, self._settings.models_bucket, self._settings.datasets_bucket)
        return sum(
            erase_prefix(store, bucket, prefix.format(job_id))
            for bucket in dict.fromkeys(buckets)
            if store.bucket_exists(bucket)
            for prefix in PREFIXES
        )

    async def _sweep(self) -> None:
        """Remove spools and folders of runs of purged jobs, but for those of a process that is still at work."""
        folders = folders_of_jobs(self._settings)
        alive = {run.job_id for run in self._backend.runs() if run.state is not RunState.ABANDONED}
        left_over = []
        for job_id in await purged_among(self._pool, folders):
            if job_id in alive:
                left_over.append(job_id)
                continue
            for folder in folders[job_id]:
                await asyncio.to_thread(shutil.rmtree, folder)
                logger.info("purged job %d: %s removed", job_id, folder)
        async with transaction(self._pool) as tx:
            await queries.note_swept(tx, launcher=self._settings.name, left_over=left_over)


async def purged_among(pool: Pool, job_ids: Iterable[int]) -> set[int]:
    async with transaction(pool, readonly=True) as tx:
        return {row["job_id"] for row in await queries.purged_among(tx, job_ids=list(job_ids))}


def erase_prefix(store: Minio, bucket: str, prefix: str) -> int:
    """Remove every object below ``prefix``. Returns how many there were. Raises one of STORE_ERRORS."""
    count = 0
    for item in store.list_objects(bucket, prefix, recursive=True):
        if item.object_name is not None:
            store.remove_object(bucket, item.object_name)
            count += 1
    return count


def folders_of_jobs(settings: Settings) -> dict[int, list[Path]]:
    """What lies on this machine of which job."""
    found: dict[int, list[Path]] = {}
    for place in (settings.spool_dir, settings.data_dir / "runs"):
        for folder in place.glob("job-*"):
            number = folder.name.removeprefix("job-")
            if number.isdigit() and folder.is_dir():
                found.setdefault(int(number), []).append(folder)
    return found
