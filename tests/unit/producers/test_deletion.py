"""Who may delete a job, when, and what may be asked of a deleted one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from events.evolution import evolve
from events.job import Job
from events.types.deletion import JobDeleted, JobPurged, JobRestored
from events.types.jobs import JobFailed
from events.types.vocabulary import Fact
from producers.callbacks import Body, ReportLogs
from producers.commands import DeleteJob, PurgeJob, RestoreJob, RetryJob, StopJob
from producers.decide import DECIDERS, decide
from producers.decision import Decision, Situation
from producers.deletion import OF_A_DELETED_JOB
from producers.describe import DescribeJob
from producers.errors import Invalid, NotFound, Refused
from tests.builders import NOON, event, job_completed, job_created, job_started

CREATED, STARTED = job_created(), job_started()
COMPLETED = (CREATED, STARTED, job_completed())
GONE_BY_ITSELF = (CREATED, STARTED, JobFailed(error_code="CHECKPOINT_UPLOAD_FAILED", error_message="m"))
DELETED, RESTORED = JobDeleted(requested_by="ann", reason="a wrong data set"), JobRestored(requested_by="ann")


def folded(*facts: Fact) -> Job | None:
    job: Job | None = None
    for number, fact in enumerate(facts, start=1):
        job = evolve(job, event(fact, seq=number, time=NOON + timedelta(seconds=number)))
    return job


def ask(command: Body, *given: Fact) -> Decision:
    return decide(Situation(25, NOON, job=folded(*given)), command)


@pytest.mark.parametrize(
    ("command", "given", "facts"),
    [
        (DeleteJob(), COMPLETED, ["JobDeleted"]),
        (DeleteJob(), (*COMPLETED, DELETED), []),
        (DeleteJob(), (*COMPLETED, DELETED, RESTORED), ["JobDeleted"]),
        (DeleteJob(), GONE_BY_ITSELF, ["StopRequested", "JobStopped", "JobDeleted"]),
        (RestoreJob(), (*COMPLETED, DELETED), ["JobRestored"]),
        (RestoreJob(), COMPLETED, []),
    ],
)
def test_accepted(command: Body, given: tuple[Fact, ...], facts: list[str]) -> None:
    assert [type(fact).__name__ for fact in ask(command, *given).facts] == facts


@pytest.mark.parametrize("given", [(CREATED,), (CREATED, STARTED)])
def test_what_has_not_ended_is_stopped_first(given: tuple[Fact, ...]) -> None:
    with pytest.raises(Refused, match="stop it first"):
        ask(DeleteJob(), *given)
    with pytest.raises(NotFound):
        ask(DeleteJob())


@pytest.mark.parametrize(
    "command",
    [StopJob(), RetryJob(), DescribeJob(name="x"), ReportLogs.model_validate({"message": "m", "level": "INFO"})],
)
def test_nothing_else_is_asked_of_a_deleted_job(command: Body) -> None:
    with pytest.raises(Refused, match=r"deleted \(since 2026-01-02T12:00:04.*by ann\): restore it first"):
        ask(command, *COMPLETED, DELETED)


def test_every_command_for_a_deleted_job_is_in_the_table() -> None:
    assert set(OF_A_DELETED_JOB) <= set(DECIDERS)


def test_a_deleted_job_is_as_it_was_once_it_is_restored_and_is_never_retried_by_itself() -> None:
    before, deleted = folded(*COMPLETED), folded(*COMPLETED, DELETED)
    assert before is not None and deleted is not None and deleted.deletion is not None
    assert (deleted.deletion.requested_by, deleted.deletion.reason) == ("ann", "a wrong data set")
    assert deleted.state == before.state
    restored = folded(*COMPLETED, DELETED, RESTORED)
    assert restored is not None
    assert restored.model_copy(update={"updated_at": before.updated_at}) == before
    waits, gone = folded(*GONE_BY_ITSELF), folded(*GONE_BY_ITSELF, DELETED)
    assert waits is not None and gone is not None
    assert waits.awaits_retry and not gone.awaits_retry


def test_deleting_twice_and_restoring_what_is_there_is_recorded_as_ignored() -> None:
    first = folded(*COMPLETED, DELETED)
    again = evolve(first, event(JobDeleted(requested_by="bob"), seq=9))
    assert again == first
    assert evolve(folded(*COMPLETED), event(RESTORED, seq=9)) == folded(*COMPLETED)


@pytest.mark.parametrize("confirm", [25, "25", "Vehicle Detection v1"])
def test_a_deleted_job_is_purged_where_its_id_or_name_is_repeated(confirm: int | str) -> None:
    decision = ask(PurgeJob(confirm=confirm, requested_by="ann"), *COMPLETED, DELETED)
    assert decision.facts == [JobPurged(requested_by="ann")]


@pytest.mark.parametrize("given", [COMPLETED, (CREATED, STARTED), (*COMPLETED, DELETED, RESTORED)])
def test_what_is_not_deleted_is_not_purged(given: tuple[Fact, ...]) -> None:
    with pytest.raises(Refused, match="delete it first, then purge it"):
        ask(PurgeJob(confirm=25), *given)


@pytest.mark.parametrize("confirm", [26, "", "vehicle detection v1"])
def test_a_purge_that_names_another_job_is_refused(confirm: int | str) -> None:
    with pytest.raises(Invalid, match="neither the id"):
        ask(PurgeJob(confirm=confirm), *COMPLETED, DELETED)


def test_nothing_is_known_of_a_purged_job_whatever_comes_after_it() -> None:
    purged = folded(*COMPLETED, DELETED, JobPurged(requested_by="ann", reason="asked to"), *COMPLETED, RESTORED)
    assert purged is not None and purged.purge is not None and not purged.exists
    assert (purged.purge.requested_by, purged.purge.purged_at) == ("ann", NOON + timedelta(seconds=5))
    assert purged == Job(id=25, purge=purged.purge)
