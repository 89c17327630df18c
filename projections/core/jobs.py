"""Jobs: each one's fold, and its audit trail with the job after every event."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from events.envelope import Event
from events.evolution import fold
from events.job import Job
from events.lifecycle import status_of
from events.primary_metric import primary_metric
from events.types.vocabulary import Fact
from producers.database import Connection
from producers.queries import load_queries

TABLES: Final = Path(__file__).with_suffix(".sql")
queries: Final = load_queries(TABLES)


async def record(tx: Connection, events: Sequence[Event[Fact]]) -> None:
    """Fold events of any jobs, in log order."""
    job_ids = sorted({event.job_id for event in events})
    jobs = {row["id"]: Job.model_validate(row["job"]) for row in await queries.load(tx, job_ids=job_ids)}
    last: dict[int, Event[Fact]] = {}
    trail: list[dict[str, Any]] = []
    for event in events:
        before = jobs.get(event.job_id)
        folded = fold(before, event)
        jobs[event.job_id], last[event.job_id] = folded.job, event
        trail.append(_trail_row(event, before, folded.job, folded.ignored))
    await queries.append_events(tx, trail)
    await queries.save(tx, [_job_row(jobs[job_id], last[job_id]) for job_id in job_ids])


def _trail_row(event: Event[Fact], before: Job | None, job: Job, ignored: str | None) -> dict[str, Any]:
    assert event.position is not None
    return {
        "job_id": event.job_id,
        "partition": event.position.partition,
        "log_offset": event.position.offset,
        "type": event.type,
        "time": event.time,
        "append_time": event.append_time,
        "attempt": event.attempt,
        "rank": event.rank,
        "session": event.session,
        "seq": event.seq,
        "source": event.source,
        "data": event.data.model_dump(mode="json", exclude_none=True),
        "state_before": None if before is None else str(before.state),
        "state": str(job.state),
        "job": None if ignored is not None else job.model_dump(mode="json"),
        "ignored_reason": ignored,
    }


def _job_row(job: Job, event: Event[Fact]) -> dict[str, Any]:
    assert event.position is not None
    primary = primary_metric(job)
    words = (job.name, job.description, job.notes, job.model_name, *(job.tags or ()))
    return {
        "id": job.id,
        "name": job.name,
        "model_name": job.model_name,
        "framework": job.framework,
        "task_type": job.task_type,
        "dataset_id": job.dataset_id,
        "state": str(job.state),
        "status": status_of(job.state),
        "tags": job.tags or [],
        "search_text": "\n".join(word for word in words if word),
        "primary_metrics": list(primary.series),
        "primary_metric_mode": primary.mode,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "awaits_retry": job.awaits_retry,
        "deleted_at": job.deletion.deleted_at if job.deletion is not None else None,
        "job": job.model_dump(mode="json"),
        "log_partition": event.position.partition,
        "log_offset": event.position.offset,
    }
