"""A part of the log becomes files: its range is written down, its files are written and read back, then it is done.

Killed between any two of these steps, whoever goes on writes the same files under the same names. So nobody who reads
the bucket sees a record twice, and the ledger's offsets are the only progress.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from events.envelope import Record
from producers.database import Connection
from projections.archive import ledger
from projections.archive.files import files_of, purged_jobs
from projections.archive.forget import forget_in_place
from projections.archive.ledger import Part
from projections.archive.log_reader import Gone, LogReader
from projections.archive.ranges import count_of
from projections.archive.store import Store

logger = logging.getLogger(__name__)


async def archive_next(
    connection: Connection, store: Store, log: LogReader, place: ledger.Place, until: int
) -> Part | None:
    """Finish what was begun, else make the next part, which ends at ``until`` at the latest.

    None when nothing is left to do. ``connection`` holds the place (ledger.held). Raises what Postgres and Kafka raise
    when they fail, Unavailable and WrittenWrong.
    """
    begun = await ledger.open_part(connection, place)
    if begun is not None:
        return await write_again(connection, store, log, begun)
    earliest = await log.earliest(place)
    reached = await ledger.next_offset(connection, place)
    first = earliest if reached is None else reached
    if first >= until:
        return None
    if earliest > first:
        lost = _part(place, first, min(earliest, until), 0, "lost")
        logger.error("%s is not in the log any more and was not archived", lost)
        await ledger.begin(connection, lost, [])
        return lost
    records, following = await log.read(place, first, until)
    return await _write(connection, store, _part(place, first, following, len(records), "writing"), records)


async def write_again(connection: Connection, store: Store, log: LogReader, part: Part) -> Part:
    """Write a part whose range is known, from the log. Marks it lost where the log does not have it any more."""
    try:
        records = await log.read_all(part.place, part.first_offset, part.next_offset)
    except Gone:
        lost = _part(part.place, part.first_offset, part.next_offset, part.records, "lost")
        logger.error("%s was begun and not finished, and is not in the log any more", lost)
        await ledger.begin(connection, lost, [])
        return lost
    again = _part(part.place, part.first_offset, part.next_offset, len(records), "writing")
    return await _write(connection, store, again, records)


def _part(place: ledger.Place, first: int, following: int, records: int, state: ledger.State) -> Part:
    topic, partition = place
    return Part(
        topic=topic,
        partition=partition,
        first_offset=first,
        next_offset=following,
        records=records,
        state=state,
    )


async def _write(connection: Connection, store: Store, part: Part, records: Sequence[Record]) -> Part:
    for job_id in sorted(purged_jobs(records)):
        await forget_in_place(connection, store, part.place, job_id)
    asked = {row["job_id"] for row in await ledger.queries.asked_to_forget(connection, topic=part.topic)}
    made = await asyncio.to_thread(files_of, part, records, asked)
    stale = await ledger.begin(connection, part, [file.kept for file in made])
    for file in made:
        await store.write(file.kept.key, file.content)
    for key in stale:
        # An earlier try, of other code, sorted the records otherwise.
        await store.remove(key)
    await ledger.finish(connection, part, stale)
    forgotten = sum(count_of(file.kept.forgotten) for file in made)
    logger.info("archived %s: %d records in %d files, %d forgotten", part, part.records, len(made), forgotten)
    return part
