"""What follows when somebody asks to delete a job, to restore it, or to purge it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from events.job import Job
from events.types.deletion import JobDeleted, JobPurged, JobRestored
from events.types.jobs import JobStopped, StopRequested
from events.types.vocabulary import Fact, utc_text
from producers.callbacks import Body
from producers.commands import DeleteJob, PurgeJob, RestoreJob
from producers.decision import Decision, Situation, existing
from producers.errors import FieldProblem, Invalid, Refused

OF_A_DELETED_JOB: Final = (DeleteJob, RestoreJob, PurgeJob)
"""All that may be asked of it."""


def refuse_if_deleted(job: Job | None, command: Body) -> None:
    """Raises Refused where the job is deleted and the command is none for such a job."""
    if job is not None and job.deletion is not None and not isinstance(command, OF_A_DELETED_JOB):
        since = f"since {utc_text(job.deletion.deleted_at)}, by {job.deletion.requested_by}"
        raise Refused(f"job {job.id} is deleted ({since}): restore it first, POST .../jobs/{job.id}/restore")


def delete_job(situation: Situation, command: DeleteJob) -> Decision:
    job = existing(situation)
    if job.deletion is not None:
        return _accepted(job, [], repeats=(JobDeleted,))
    if not job.ended:
        raise Refused(f"job {job.id} is {job.state}: stop it first, and delete it once it has ended")
    deleted = JobDeleted(requested_by=command.requested_by, reason=command.reason)
    if not job.awaits_retry:
        return _accepted(job, [deleted])
    # Whoever restores it later does not expect it to run.
    stop = StopRequested(requested_by=command.requested_by, reason="the job was deleted before its retry")
    return _accepted(job, [stop, JobStopped(stopped_at_epoch=job.current_epoch), deleted])


def restore_job(situation: Situation, command: RestoreJob) -> Decision:
    job = existing(situation)
    if job.deletion is None:
        return _accepted(job, [], repeats=(JobRestored,))
    return _accepted(job, [JobRestored(requested_by=command.requested_by, reason=command.reason)])


def purge_job(situation: Situation, command: PurgeJob) -> Decision:
    job = existing(situation)
    if job.deletion is None:
        first = "" if job.ended else "stop it, "
        raise Refused(f"job {job.id} is {job.state} and not deleted: {first}delete it first, then purge it")
    if not job.ended:
        raise Refused(f"job {job.id} is {job.state}: a run that goes on is not purged; restore and stop it first")
    if command.confirm not in (job.id, str(job.id)) and command.confirm != job.name:
        message = (
            f"{str(command.confirm)[:100]!r} is neither the id {job.id} nor the name of the job that is to be purged"
        )
        raise Invalid(message, [FieldProblem(("body", "confirm"), message)])
    return _accepted(job, [JobPurged(requested_by=command.requested_by, reason=command.reason)])


def _accepted(job: Job, facts: Sequence[Fact], repeats: tuple[type[Fact], ...] = ()) -> Decision:
    return Decision(list(facts), {"status": "accepted", "job_id": job.id}, job.attempt, repeats=repeats)
