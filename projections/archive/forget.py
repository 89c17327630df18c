"""A job that must be forgotten leaves every file: the file is written anew without it, under the same name.

Which offsets are gone stays in the file and in the ledger, so a check still knows the whereabouts of every record.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from typing import Final

from events.topics import PARTITIONS
from producers.database import Connection, Pool
from projections.archive.files import describe, is_purge
from projections.archive.ledger import Place, held, queries
from projections.archive.parquet import NotAFile, from_parquet, job_of, to_parquet
from projections.archive.ranges import ranges_of
from projections.archive.store import Store

LOCK_TIMEOUT_S: Final = 120.0
logger = logging.getLogger(__name__)


async def forget_job(pool: Pool, store: Store, topic: str, job_id: int) -> bool:
    """Take a job's records out of everything archived of a topic, now and from now on; the facts of its purge stay.

    May be called again, and while the archiver works. False where a file could not be read, so that what it holds is
    not known: the archiver tries again, and ``archive verify`` names it. Raises Busy when the archiver does not let go
    of a partition in LOCK_TIMEOUT_S, Unavailable, WrittenWrong and what Postgres raises.
    """
    async with pool.acquire(timeout=30) as connection:
        await queries.ask_to_forget(connection, topic=topic, job_id=job_id)
    whole = True
    # All partitions, also those where its key does not belong: whoever holds one has written what it began before it
    # could know, and knows from now on.
    for partition in range(PARTITIONS):
        async with held(pool, (topic, partition), timeout_s=LOCK_TIMEOUT_S) as connection:
            whole &= await forget_in_place(connection, store, (topic, partition), job_id)
    if whole:
        async with pool.acquire(timeout=30) as connection:
            await queries.note_forgotten(connection, topic=topic, job_id=job_id)
    return whole


async def forget_in_place(connection: Connection, store: Store, place: Place, job_id: int) -> bool:
    """As forget_job, in one partition, which ``connection`` holds (ledger.held)."""
    topic, partition = place
    await queries.ask_to_forget(connection, topic=topic, job_id=job_id)
    whole = True
    for row in await queries.objects_of_job(connection, topic=topic, job_id=job_id):
        if row["partition"] == partition:
            whole &= await _rewrite(connection, store, row["key"], job_id)
    return whole


async def _rewrite(connection: Connection, store: Store, key: str, job_id: int) -> bool:
    content = await store.read(key)
    try:
        file = await asyncio.to_thread(from_parquet, content or b"")
    except NotAFile as error:
        logger.error("job %d cannot be taken out of s3://%s/%s: %s", job_id, store.bucket, key, error)
        return False
    stays = [record for record in file.records if job_of(record) != job_id or is_purge(record)]
    gone = {record.offset for record in file.records} - {record.offset for record in stays}
    forgotten = ranges_of(gone, file.forgotten)
    if gone:
        content = await asyncio.to_thread(to_parquet, stays, file.part, forgotten)
        await store.write(key, content)
        logger.info("job %d: %d records taken out of s3://%s/%s", job_id, len(gone), store.bucket, key)
    # Also where nothing was to be done: an earlier try may have ended between file and ledger.
    await queries.update_object(connection, **asdict(describe(key, stays, content or b"", forgotten)))
    return True
