"""What a job is right now: its projected row, and on top of it what the outbox holds that is not applied yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from events.codec import parse_data
from events.envelope import Event
from events.evolution import evolve
from events.job import Job, Purge
from events.registry import event_type_of
from events.types.datasets import DatasetRegistered
from events.types.deletion import JobPurged
from events.types.vocabulary import Fact, utc_text
from producers.database import Connection
from producers.errors import Gone, NotFound
from producers.queries import load_queries
from training_sdk.wire import DATASETS, JOBS

queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


def event_of_row(row: Mapping[str, Any]) -> Event[Fact]:
    """An outbox row as the event it will be in the log."""
    return Event(
        topic=row["topic"],
        key=row["key"],
        type=row["type"],
        time=row["time"],
        source=row["source"],
        attempt=row["attempt"],
        rank=0,
        session=row["session"],
        seq=row["seq"],
        data=parse_data(row["type"], row["topic"], row["data"]),
    )


async def load_jobs(transaction: Connection, job_ids: Sequence[int]) -> dict[int, Job]:
    """The jobs that exist among ``job_ids``; needs a transaction of producers.database."""
    jobs: dict[int, Job | None] = dict.fromkeys(job_ids)
    for row in await queries.jobs_and_unapplied_events(transaction, job_ids=list(job_ids)):
        if row["job"] is not None:
            jobs[row["job_id"]] = Job.model_validate(row["job"])
        else:
            jobs[row["job_id"]] = evolve(jobs[row["job_id"]], event_of_row(row))
    return {job_id: job for job_id, job in jobs.items() if job is not None and job.exists}


async def load_purge(transaction: Connection, job_id: int) -> Purge | None:
    """That the job was purged, from the moment on that somebody asked for it."""
    event_type = event_type_of(JobPurged).wire_name
    row = await queries.purge_of(transaction, job_id=job_id, event_type=event_type)
    if row is None:
        return None
    if row["data"] is None:
        return Purge(requested_by=row["requested_by"], reason=row["reason"], purged_at=row["purged_at"])
    data = parse_data(event_type, JOBS, row["data"])
    assert isinstance(data, JobPurged)
    return Purge(requested_by=data.requested_by, reason=data.reason, purged_at=row["purged_at"])


async def missing(transaction: Connection, job_id: int) -> NotFound | Gone:
    """What to raise where load_jobs does not know the job."""
    purge = await load_purge(transaction, job_id)
    if purge is None:
        return NotFound(f"there is no training job {job_id}")
    since = f"since {utc_text(purge.purged_at)}, by {purge.requested_by}"
    return Gone(f"training job {job_id} was purged ({since}); what is left of it: GET .../jobs/{job_id}/purge")


async def load_open_jobs(transaction: Connection) -> dict[int, Job]:
    """Every job that has not ended, and those that failed and are to be tried again."""
    rows = await queries.jobs_that_go_on(transaction)
    jobs = await load_jobs(transaction, [row["id"] for row in rows])
    return {job_id: job for job_id, job in jobs.items() if not job.ended or job.awaits_retry}


async def load_dataset(transaction: Connection, dataset_id: int) -> DatasetRegistered | None:
    """A registered data set, also when its registration still waits in the outbox."""
    row = await queries.projected_dataset(transaction, dataset_id=dataset_id)
    if row is not None:
        return DatasetRegistered.model_validate(row["document"])
    event_type = event_type_of(DatasetRegistered).wire_name
    row = await queries.unapplied_dataset(transaction, dataset_id=str(dataset_id), event_type=event_type)
    if row is None:
        return None
    data = parse_data(event_type, DATASETS, row["data"])
    assert isinstance(data, DatasetRegistered)
    return data
