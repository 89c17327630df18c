"""What to do next: a pure comparison of what should run with what runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from events.job import Job, StopKind
from events.lifecycle import WAITING, JobState
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
    """``kind``: of the request that is to be passed on; a cancel gives the process seconds."""

    job_id: int
    attempt: int
    reason: str
    kind: StopKind = StopKind.STOP


@dataclass(frozen=True, slots=True)
class EndStopped:
    """A stop or a pause was requested, and no process is there that could end by itself."""

    job_id: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The job failed of something that may be gone by now."""

    job_id: int
    reason: str


Action = Queue | Launch | StartAgain | TakeOver | Terminate | EndStopped | Retry

RETRY_DELAY_S: Final = 10.0


def plan(
    jobs: Sequence[Job],
    leases: Mapping[int, Lease],
    runs: Sequence[Run],
    slots: int,
    launcher: str,
    now: datetime,
    retry_delay_s: float = RETRY_DELAY_S,
) -> list[Action]:
    """The actions that bring this launcher's runs in line with the jobs.

    ``jobs`` are those that have not ended, and those that failed and are to be tried again.
    """
    actions: list[Action] = []
    by_id = {job.id: job for job in jobs}
    for run in runs:
        # A run is brought to its end also when its job ended: the spool must be shipped, the exit recorded.
        if run.state is RunState.ABANDONED and _free(leases.get(run.job_id), launcher, now):
            actions.append(TakeOver(run.job_id, run.attempt))
        job = by_id.get(run.job_id)
        if job is not None and job.stop is not None and job.stop.signalled_at is None and job.attempt == run.attempt:
            reason = f"{job.stop.kind} requested by {job.stop.requested_by}"
            actions.append(Terminate(run.job_id, run.attempt, reason, job.stop.kind))
    running = {run.job_id for run in runs}
    for job in jobs:
        never_came_up = job.launch and job.started_session is None and job.id not in running
        if never_came_up and _free(leases.get(job.id), launcher, now):
            if job.state is JobState.STARTING:
                actions.append(StartAgain(job.id, job.attempt))
            elif job.state in (JobState.STOPPING, JobState.PAUSING) and job.stop is not None:
                reason = f"{job.stop.kind} requested by {job.stop.requested_by} before it started"
                actions.append(EndStopped(job.id, job.attempt, reason))
        if job.awaits_retry and now >= retry_at(job, retry_delay_s) and _free(leases.get(job.id), launcher, now):
            reason = f"{job.error_code} may be gone by itself: retry {job.retries + 1} of {job.max_retries}"
            actions.append(Retry(job.id, reason))
    # Also one whose job paused or ended: its process may still be there. What an ended one left may take a day to ship.
    used = sum(run.state is not RunState.SHIPPING for run in runs)
    waiting = [
        job
        for job in sorted(jobs, key=lambda job: (job.created_at or now, job.id))
        if job.launch and job.exists and job.state in WAITING and job.stop is None and job.id not in running
    ]
    for job in waiting:
        if not _free(leases.get(job.id), launcher, now):
            continue
        if used < slots:
            actions.append(Launch(job.id, job.attempt + 1, _why(job)))
            used += 1
        elif job.state is JobState.PENDING:
            actions.append(Queue(job.id, f"waits for one of {slots} slots"))
    return actions


def retry_at(job: Job, delay_s: float) -> datetime:
    """When a failed job is tried again: after a delay that doubles with every retry, so that its failure can be seen.

    Counted from when the log took the end, which may have waited in a spool.
    """
    ended_at = job.end_appended_at or job.completed_at
    assert ended_at is not None, f"job {job.id} is {job.state} but ended at no time"
    return ended_at + timedelta(seconds=delay_s * 2**job.retries)


def _why(job: Job) -> str:
    free = f"attempt {job.attempt + 1}: a slot is free"
    if job.attempt == 0:
        return free
    if job.resume_checkpoint is None:
        return f"{free}; from the beginning, there is no checkpoint to go on from"
    return f"{free}; goes on after epoch {job.resume_checkpoint.epoch}, from {job.resume_checkpoint.object_uri}"


def _free(lease: Lease | None, launcher: str, now: datetime) -> bool:
    """Nobody else's: ours, none, or run out."""
    return lease is None or lease.launcher == launcher or lease.expires_at <= now
