"""Jobs as clients see them, read in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from api.jobs.completeness import visible_states
from api.jobs.responses import BestMetric, JobAnswer, job_answer
from api.log_ends import Ends
from events.job import Job
from producers.database import Connection
from producers.job_state import load_jobs, missing
from producers.queries import load_queries

queries: Final = load_queries(Path(__file__).parent / "queries.sql")
JOB_ID_MAX: Final = 2**53


async def read_answers(tx: Connection, job_ids: Sequence[int], ends: Ends | None = None) -> dict[int, JobAnswer]:
    """The answers of the jobs that exist among ``job_ids``; ``ends`` as for visible_states."""
    jobs = await load_jobs(tx, job_ids)
    visible = await visible_states(tx, list(jobs.values()), datetime.now(UTC), ends)
    rows = await queries.mlflow_runs(tx, job_ids=list(jobs))
    mlflow = {row["job_id"]: (row["run_id"], row["experiment_id"]) for row in rows}
    rows = await queries.best_metrics(tx, job_ids=list(jobs))
    best = {row["job_id"]: BestMetric(row["name"], row["value"], row["epoch"]) for row in rows}
    return {
        job_id: job_answer(job, visible[job_id], mlflow.get(job_id), best.get(job_id)) for job_id, job in jobs.items()
    }


async def read_job(tx: Connection, job_id: int) -> Job:
    """Raises NotFound, Gone."""
    jobs = await load_jobs(tx, [job_id])
    if job_id not in jobs:
        raise await missing(tx, job_id)
    return jobs[job_id]


async def read_answer(tx: Connection, job_id: int, ends: Ends | None = None) -> JobAnswer:
    """Raises NotFound, Gone."""
    answers = await read_answers(tx, [job_id], ends)
    if job_id not in answers:
        raise await missing(tx, job_id)
    return answers[job_id]
