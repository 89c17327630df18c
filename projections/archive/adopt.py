"""Files that the ledger does not know: Postgres was lost, or comes from an older backup. The bucket is read instead.

A file's name holds its part's range, and the file itself the names of all files of the part. So a part that is whole is
taken over as done; one that is not was being written, and is written again from the log under the same names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from events.topics import TOPIC_NAMES
from producers.database import Connection
from projections.archive import ledger
from projections.archive.files import describe
from projections.archive.ledger import Kept, Part, Place, held
from projections.archive.parquet import NotAFile, from_parquet
from projections.archive.reading import Archive
from training_sdk.replay.columns import ArchiveObject, parse_key

LOCK_TIMEOUT_S: Final = 600.0
logger = logging.getLogger(__name__)


async def adopt_unknown(archive: Archive) -> list[Part]:
    """Enter into the ledger what lies in the bucket and goes on where the ledger ends. Returns the parts.

    Raises Unavailable, Busy and what Postgres raises.
    """
    adopted: list[Part] = []
    for topic in TOPIC_NAMES:
        unknown = await _unknown(archive, topic)
        for place in sorted({(name.topic, name.partition) for name in unknown}):
            async with held(archive.pool, place, timeout_s=LOCK_TIMEOUT_S) as connection:
                mine = [name for name in unknown if (name.topic, name.partition) == place]
                adopted += await _adopt_place(archive, connection, place, mine)
    return adopted


async def _unknown(archive: Archive, topic: str) -> list[ArchiveObject]:
    async with archive.pool.acquire(timeout=30) as connection:
        known = {row["key"] for row in await ledger.queries.keys_of_topic(connection, topic=topic)}
    names = []
    for key in await archive.store.keys(f"{topic}/"):
        if key not in known:
            try:
                names.append(parse_key(key))
            except ValueError as error:
                logger.warning("%s", error)
    return names


async def _adopt_place(
    archive: Archive, connection: Connection, place: Place, unknown: Sequence[ArchiveObject]
) -> list[Part]:
    adopted: list[Part] = []
    # An archiver may have written some of them while the bucket was listed.
    known = {row["key"] for row in await ledger.queries.keys_of_topic(connection, topic=place[0])}
    unknown = [name for name in unknown if name.key not in known]
    reached = await ledger.next_offset(connection, place)
    for first, following in sorted({(name.first_offset, name.next_offset) for name in unknown}):
        names = [name for name in unknown if (name.first_offset, name.next_offset) == (first, following)]
        if reached is not None and first != reached:
            logger.error(
                "s3://%s/%s begins at %d, the archive's ledger ends at %d: it stays as it is and counts nowhere",
                *(archive.store.bucket, names[0].key, first, reached),
            )
            continue
        kept, whole = await _read(archive, names)
        part = Part(
            topic=place[0],
            partition=place[1],
            first_offset=first,
            next_offset=following,
            records=sum(found.records for found in kept),
            state="writing",
        )
        await ledger.begin(connection, part, kept)
        if whole:
            await ledger.finish(connection, part)
        logger.warning("%s was in the bucket and not in the ledger; it is %s", part, "whole" if whole else "not whole")
        adopted.append(part)
        reached = following
    return adopted


async def _read(archive: Archive, names: Sequence[ArchiveObject]) -> tuple[list[Kept], bool]:
    """What the files say, and whether each file of the part is there with the rows it had."""
    kept: list[Kept] = []
    wanted: dict[str, int] = {}
    for name in names:
        content = await archive.store.read(name.key)
        try:
            file = await asyncio.to_thread(from_parquet, content or b"")
        except NotAFile as error:
            logger.error("s3://%s/%s: %s", archive.store.bucket, name.key, error)
            return kept, False
        kept.append(describe(name.key, file.records, content or b"", file.forgotten))
        wanted = dict(file.part)
    return kept, {found.key: found.records for found in kept} == wanted
