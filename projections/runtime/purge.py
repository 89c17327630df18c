"""A purged job leaves nothing in a read model but the fact that it was purged, and nothing brings it back.

Its rows go when the topic's purge is applied. What the topic still gets of the job, from a spool that is found later or
from an operator who sends a dead letter again, is counted as seen and dropped: so a rebuild ends without it, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from events.codec import DIGITS_MAX
from events.envelope import Event, Record
from events.types.deletion import JobPurged
from producers.database import Connection, search_path
from producers.queries import load_queries
from projections.registry import Projection
from training_sdk.wire import JOB_TOPICS

logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


def job_of(record: Record) -> int | None:
    """The job that a record speaks of, also where the record cannot be read."""
    key = record.key
    if record.topic not in JOB_TOPICS or key is None or not key.isdigit() or len(key) > DIGITS_MAX:
        return None
    return int(key)


async def load_purged(tx: Connection, records: Iterable[Record]) -> set[int]:
    """Those of the records' jobs that are purged."""
    job_ids = sorted({job_id for record in records if (job_id := job_of(record)) is not None})
    return {row["job_id"] for row in await queries.purged(tx, job_ids=job_ids)} if job_ids else set()


async def note_last_records(tx: Connection, append_times: Mapping[int, datetime]) -> None:
    """Of purged jobs: the log holds something of them from then on."""
    await queries.note_last_record(
        tx, [{"job_id": job_id, "append_time": moment} for job_id, moment in sorted(append_times.items())]
    )


async def forget(tx: Connection, projection: Projection, purges: Sequence[Event[Any]], outside: Any) -> None:
    """Erase the jobs from the read model. A projection that reaches beyond Postgres erases there first."""
    for event in purges:
        beyond = projection.forget
        remains = await beyond(event.job_id, outside) if beyond is not None and outside is not None else None
        await _forget(tx, projection, event, remains)


async def forget_in_retired(tx: Connection, projection: Projection, purges: Sequence[Event[Any]]) -> None:
    """Also from what was live before and is only kept to go back to. Leaves another schema on the search path.

    A version of other code has tables of which nothing is known here: it goes as a whole.
    """
    for row in await queries.retired(tx, projection=projection.name):
        if row["version"] != projection.version:
            logger.warning("%s is dropped: it holds something of a purged job", row["schema_name"])
            await tx.execute(f'DROP SCHEMA "{row["schema_name"]}" CASCADE')
            await queries.forget_version(tx, schema_name=row["schema_name"])
            continue
        await tx.execute(search_path([row["schema_name"]]))
        for event in purges:
            await _forget(tx, projection, event, None)


async def _forget(tx: Connection, projection: Projection, event: Event[JobPurged], remains: str | None) -> None:
    assert event.position is not None
    assert event.append_time is not None
    await projection.queries.forget_job(tx, job_id=event.job_id)
    await queries.forget_dead_letters(tx, key=event.key)
    await queries.bury(
        tx,
        job_id=event.job_id,
        purged_at=event.time,
        requested_by=event.data.requested_by,
        reason=event.data.reason,
        partition=event.position.partition,
        log_offset=event.position.offset,
        last_record_at=event.append_time,
        remains=remains,
    )
