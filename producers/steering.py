"""What follows when somebody asks a run to stop, cancel, pause, go on or try again. Pure.

Sent twice counts once, by the state alone: what was asked for already is answered again and changes nothing.
"""

from __future__ import annotations

from events.job import Job, StopKind
from events.lifecycle import WAITING, JobState
from events.types.jobs import JobStopped, StopDecided, StopRequested
from events.types.requests import CancelRequested, PauseRequested, ResumeRequested, RetryRequested
from events.types.vocabulary import Fact
from producers.commands import CancelJob, PauseJob, ResumeJob, RetryJob, StopJob
from producers.decision import Decision, Situation, existing
from producers.errors import Refused


def stop_job(situation: Situation, command: StopJob) -> Decision:
    job = existing(situation)
    if job.stop is not None and job.stop.kind in (StopKind.STOP, StopKind.CANCEL):
        return _again(job, StopRequested, StopDecided, CancelRequested)
    return _end(job, "stop", StopRequested(requested_by=command.requested_by, reason=command.reason))


def cancel_job(situation: Situation, command: CancelJob) -> Decision:
    job = existing(situation)
    if job.stop is not None and job.stop.kind is StopKind.CANCEL:
        return _again(job, CancelRequested)
    return _end(job, "cancel", CancelRequested(requested_by=command.requested_by, reason=command.reason))


def pause_job(situation: Situation, command: PauseJob) -> Decision:
    job = existing(situation)
    if job.state is JobState.PAUSED or (job.stop is not None and job.stop.kind is StopKind.PAUSE):
        return _again(job, PauseRequested)
    if job.ended:
        raise Refused(f"job {job.id} is {job.state} already: there is nothing to pause")
    if job.stop is not None:
        raise Refused(f"job {job.id} is being ended, as {job.stop.requested_by} asked: it cannot pause")
    if job.state is JobState.LOST:
        raise Refused(f"job {job.id} is lost: nobody can tell it to pause; stop it, or wait for a sign of life")
    if job.state in WAITING and not job.launch:
        raise Refused(f"job {job.id} is {job.state}: its trainer is run by hand and has not begun")
    return _accepted(job, PauseRequested(requested_by=command.requested_by, reason=command.reason))


def resume_job(situation: Situation, command: ResumeJob) -> Decision:
    job = existing(situation)
    if _is_revived(job, "resume"):
        return _again(job, ResumeRequested)
    if job.state is JobState.PAUSING:
        raise Refused(f"job {job.id} is still pausing; resume it once it is paused")
    if job.state is not JobState.PAUSED:
        raise Refused(f"job {job.id} is {job.state}, not paused")
    return _accepted(job, ResumeRequested(requested_by=command.requested_by, reason=command.reason))


def retry_job(situation: Situation, command: RetryJob) -> Decision:
    job = existing(situation)
    if _is_revived(job, "retry"):
        return _again(job, RetryRequested)
    if job.state is not JobState.FAILED:
        raise Refused(f"job {job.id} is {job.state}: only what failed can be tried again")
    if not job.launch:
        raise Refused(f"job {job.id} is run by hand: start its trainer again")
    if command.automatic and not job.awaits_retry:
        raise Refused(f"job {job.id} is not tried again by itself: {job.error_code}, retry {job.retries}")
    asked = RetryRequested(requested_by=command.requested_by, reason=command.reason, automatic=command.automatic)
    return _accepted(job, asked)


def _end(job: Job, verb: str, requested: Fact) -> Decision:
    if job.ended and not job.awaits_retry:
        raise Refused(f"job {job.id} is {job.state} already: there is nothing to {verb}")
    # Nothing runs that could end by itself.
    waits = job.state in WAITING and (job.launch or job.attempt == 0)
    at_once = job.state is JobState.PAUSED or job.awaits_retry or waits
    epoch = job.stopped_at_epoch if job.stopped_at_epoch is not None else job.current_epoch
    return _accepted(job, requested, *([JobStopped(stopped_at_epoch=epoch)] if at_once else []))


def _is_revived(job: Job, kind: str) -> bool:
    """Whether the attempt that was asked for has not begun yet: asking once more asks for the same."""
    if job.revival is None or job.revival.kind != kind:
        return False
    waits = job.state in (JobState.QUEUED, JobState.RETRYING) and job.revival.after_attempt == job.attempt
    return waits or (job.state is JobState.STARTING and job.attempt == job.revival.after_attempt + 1)


def _accepted(job: Job, *facts: Fact) -> Decision:
    return Decision(list(facts), {"status": "accepted", "job_id": job.id}, job.attempt)


def _again(job: Job, *said_by: type[Fact]) -> Decision:
    return Decision([], {"status": "accepted", "job_id": job.id}, job.attempt, repeats=said_by)
