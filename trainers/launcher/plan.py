"""What to do next: a pure comparison of what should run with what runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from events.job import Job
from events.lifecycle import ACTIVE, JobState
from trainers.launcher.backend import Run, RunState


@dataclass(frozen=True, slots=True)
class Lease:
    """Who runs an attempt, and until when nobody else may."""

    job_id: int
    attempt: int
    launcher: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Queue:
    job_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Launch:
    job_id: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class TakeOver:
    job_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class StartAgain:
    """The attempt was recorded as launched, but its launcher died before a process was there."""

    job_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Terminate:
    job_id: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class EndStopped:
    """A stop was requested, and no process is there that could end by itself."""

    job_id: int
    attempt: int
    reason: str


Action = Queue | Launch | StartAgain | TakeOver | Terminate | EndStopped

WAITING = (JobState.PENDING, JobState.QUEUED, JobState.RETRYING)


def plan(
    jobs: Sequence[Job], leases: Mapping[int, Lease], runs: Sequence[Run], slots: int, launcher: str, now: datetime
) -> list[Action]:
    """The actions that bring this launcher's runs in line with the jobs. ``jobs`` are those that have not ended."""
    actions: list[Action] = []
    by_id = {job.id: job for job in jobs}
    for run in runs:
        # A run is brought to its end also when its job ended: the spool must be shipped, the exit recorded.
        if run.state is RunState.ABANDONED and _free(leases.get(run.job_id), launcher, now):
            actions.append(TakeOver(run.job_id, run.attempt))
        job = by_id.get(run.job_id)
        if job is not None and job.stop is not None and job.stop.signalled_at is None and job.attempt == run.attempt:
            actions.append(Terminate(run.job_id, run.attempt, f"stop requested by {job.stop.requested_by}"))
    running = {run.job_id for run in runs}
    for job in jobs:
        never_came_up = job.launch and job.started_session is None and job.id not in running
        if never_came_up and _free(leases.get(job.id), launcher, now):
            if job.state is JobState.STARTING:
                actions.append(StartAgain(job.id, job.attempt))
            elif job.state is JobState.STOPPING and job.stop is not None:
                actions.append(EndStopped(job.id, job.attempt, f"stopped by {job.stop.requested_by} before it started"))
    used = len([run for run in runs if run.job_id in by_id and by_id[run.job_id].state in ACTIVE])
    used += len([run for run in runs if run.job_id not in by_id])
    waiting = [
        job
        for job in sorted(jobs, key=lambda job: (job.created_at or now, job.id))
        if job.launch and job.exists and job.state in WAITING and job.stop is None and job.id not in running
    ]
    for job in waiting:
        if not _free(leases.get(job.id), launcher, now):
            continue
        if used < slots:
            actions.append(Launch(job.id, job.attempt + 1, f"attempt {job.attempt + 1}: a slot is free"))
            used += 1
        elif job.state is JobState.PENDING:
            actions.append(Queue(job.id, f"waits for one of {slots} slots"))
    return actions


def _free(lease: Lease | None, launcher: str, now: datetime) -> bool:
    """Nobody else's: ours, none, or run out."""
    return lease is None or lease.launcher == launcher or lease.expires_at <= now
