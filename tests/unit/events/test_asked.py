"""What requests change: pause, resume, cancel, retry, limits; also where the log has the end before the request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from events.evolution import evolve, fold
from events.job import Job, StopKind
from events.lifecycle import JobState
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import (
    JobCompleted,
    JobFailed,
    JobFound,
    JobLaunched,
    JobLost,
    JobStopped,
    StopDecided,
    StopSignalled,
)
from events.types.jobs import StopRequested as Stop
from events.types.requests import CancelRequested, LimitExceeded, PauseRequested, ResumeRequested, RetryRequested
from events.types.vocabulary import Fact
from tests.builders import NOON, event, job_completed, job_created, job_started, process_exited

CREATED, LAUNCHED, STARTED = job_created(), JobLaunched(launcher="host/1", reason="a slot is free"), job_started()
RUNNING = (CREATED, LAUNCHED, STARTED)
STOP = Stop(requested_by="anna", reason="enough")
CANCEL = CancelRequested(requested_by="anna", reason="wrong data set")
PAUSE = PauseRequested(requested_by="anna", reason="the GPU is needed")
RESUME = ResumeRequested(requested_by="ben", reason="the GPU is free")
RETRY = RetryRequested(requested_by="ben", reason="once more")
AUTOMATIC = RetryRequested(requested_by="launcher", reason="retry 1 of 3", automatic=True)
LIMIT = LimitExceeded(limit="max_seconds", allowed=5, used=5.2, error_code="TIMEOUT", reason="5.2 s, allowed are 5")
STOPPED = JobStopped(stopped_at_epoch=4)
NOT_UPLOADED = JobFailed(error_code="CHECKPOINT_UPLOAD_FAILED", error_message="m")
DIED, KILLED = process_exited(exit_code=1), process_exited(signal="SIGKILL")
DECIDED = StopDecided(decision_id="d", rule="patience", metric="val/mAP50", reason="no improvement")


def after(*facts: Fact | tuple[int, Fact]) -> Job:
    """The job after these; of attempt 1, or of the attempt beside them."""
    job: Job | None = None
    for number, given in enumerate(facts, start=1):
        attempt, fact = given if isinstance(given, tuple) else (1, given)
        job = evolve(job, event(fact, seq=number, attempt=attempt, time=NOON + timedelta(seconds=number)))
    assert job is not None
    return job


def ignored(job: Job, fact: Fact, attempt: int = 1) -> str | None:
    return fold(job, event(fact, seq=99, attempt=attempt)).ignored


@pytest.mark.parametrize(
    ("facts", "state", "code"),
    [
        ((*RUNNING, PAUSE), "pausing", None),
        ((*RUNNING, PAUSE, STOPPED), "paused", None),
        ((*RUNNING, PAUSE, KILLED), "paused", None),
        ((*RUNNING, PAUSE, STOPPED, process_exited(exit_code=0)), "paused", None),
        ((*RUNNING, PAUSE, job_completed()), "completed", None),
        ((*RUNNING, PAUSE, JobFailed(error_code="OOM", error_message="m")), "failed", "OOM"),
        ((*RUNNING, PAUSE, STOP, STOPPED), "stopped", "USER_STOPPED"),
        ((*RUNNING, PAUSE, STOPPED, STOP, STOPPED), "stopped", "USER_STOPPED"),
        ((*RUNNING, STOP, PAUSE, STOPPED), "stopped", "USER_STOPPED"),
        ((*RUNNING, DECIDED, STOPPED), "stopped", None),
        ((*RUNNING, STOPPED), "stopped", None),
        ((*RUNNING, CANCEL, KILLED), "stopped", "USER_STOPPED"),
        ((*RUNNING, STOP, CANCEL), "stopping", None),
        ((CREATED, PAUSE), "paused", None),
        ((CREATED, PAUSE, RESUME), "queued", None),
        ((*RUNNING, PAUSE, STOPPED, RESUME), "queued", None),
        ((*RUNNING, PAUSE, STOPPED, RESUME, PAUSE), "paused", None),
        # What the first attempt has still to say does not end the second, which waits.
        ((*RUNNING, PAUSE, STOPPED, RESUME, process_exited(exit_code=0)), "queued", None),
        ((*RUNNING, PAUSE, KILLED, RESUME, STOPPED), "queued", None),
        ((*RUNNING, PAUSE, KILLED, RESUME, JobFailed(error_code="OOM", error_message="m")), "queued", None),
        ((*RUNNING, PAUSE, STOPPED, RESUME, DECIDED), "queued", None),
        ((*RUNNING, PAUSE, KILLED, RESUME, job_completed()), "completed", None),
        # Asked for before it is tried again.
        ((*RUNNING, KILLED, STOP, STOPPED), "stopped", "USER_STOPPED"),
        ((*RUNNING, NOT_UPLOADED, STOP, STOPPED), "stopped", "USER_STOPPED"),
        ((*RUNNING, NOT_UPLOADED, STOPPED), "failed", "CHECKPOINT_UPLOAD_FAILED"),
        ((*RUNNING, KILLED, AUTOMATIC), "retrying", "PROCESS_DIED"),
        ((*RUNNING, KILLED, AUTOMATIC, job_completed()), "completed", None),
        ((*RUNNING, KILLED, AUTOMATIC, (2, LAUNCHED)), "starting", None),
        ((*RUNNING, KILLED, AUTOMATIC, STOP, STOPPED), "stopped", "USER_STOPPED"),
        ((*RUNNING, KILLED, AUTOMATIC, PAUSE), "paused", "PROCESS_DIED"),
        ((*RUNNING, LIMIT), "stopping", None),
        ((*RUNNING, LIMIT, STOPPED), "failed", "TIMEOUT"),
        ((*RUNNING, LIMIT, KILLED), "failed", "TIMEOUT"),
        ((*RUNNING, LIMIT, job_completed()), "completed", None),
        ((*RUNNING, STOP, LIMIT, STOPPED), "stopped", "USER_STOPPED"),
        ((*RUNNING, PAUSE, LIMIT, STOPPED), "failed", "TIMEOUT"),
        ((*RUNNING, JobLost(reason="silence"), CANCEL), "stopping", None),
        ((*RUNNING, PAUSE, JobLost(reason="silence"), JobFound(reason="a word")), "pausing", None),
        ((CREATED, LAUNCHED, JobLost(reason="silence"), JobFound(reason="a word")), "starting", None),
    ],
)
def test_where_requests_lead(facts: tuple[Fact, ...], state: str, code: str | None) -> None:
    job = after(*facts)
    assert (str(job.state), job.error_code) == (state, code)


@pytest.mark.parametrize(
    ("facts", "late", "state", "code"),
    [
        ((*RUNNING, STOPPED), PAUSE, "paused", None),
        ((*RUNNING, STOPPED), STOP, "stopped", "USER_STOPPED"),
        ((*RUNNING, KILLED), CANCEL, "stopped", "USER_STOPPED"),
        ((*RUNNING, KILLED), PAUSE, "paused", None),
        ((*RUNNING, STOPPED), LIMIT, "failed", "TIMEOUT"),
        ((*RUNNING, KILLED), LIMIT, "failed", "TIMEOUT"),
    ],
)
def test_a_request_that_the_log_has_after_the_end_that_it_caused_still_explains_it(
    facts: tuple[Fact, ...], late: Fact, state: str, code: str | None
) -> None:
    job = after(*facts, late)
    assert (str(job.state), job.error_code) == (state, code)
    assert (job.completed_at is None) == (state == "paused")


@pytest.mark.parametrize("end", [job_completed(), JobFailed(error_code="OOM", error_message="m")])
@pytest.mark.parametrize("late", [PAUSE, STOP, CANCEL, LIMIT])
def test_an_end_that_the_trainer_explained_stays(end: Fact, late: Fact) -> None:
    job = after(*RUNNING, end)
    assert ignored(job, late) == f"the job is {job.state} already"


@pytest.mark.parametrize("asked", [STOP, CANCEL])
def test_what_failed_and_was_asked_to_stop_is_not_tried_again_whichever_the_log_has_first(asked: Fact) -> None:
    asked_first, failed_first = after(*RUNNING, asked, NOT_UPLOADED), after(*RUNNING, NOT_UPLOADED, asked)
    for job in (asked_first, failed_first):
        assert (job.state, job.error_code) == (JobState.FAILED, "CHECKPOINT_UPLOAD_FAILED")
        assert job.can_retry_by_itself and not job.awaits_retry


def test_a_trainer_that_cannot_be_started_is_not_tried_again() -> None:
    job = after(CREATED, LAUNCHED, process_exited(exit_code=127))
    assert (job.state, job.error_code, job.awaits_retry) == (JobState.FAILED, "UNKNOWN", False)
    assert after(CREATED, LAUNCHED, DIED).awaits_retry


def test_a_request_replaces_only_one_that_asks_for_less() -> None:
    told = after(*RUNNING, PAUSE, StopSignalled(signal="SIGTERM", reason="pause"))
    stop = evolve(told, event(STOP, seq=9)).stop
    assert stop is not None and (stop.kind, stop.signalled_at) == (StopKind.STOP, told.stop and told.stop.signalled_at)
    cancelled = evolve(told, event(CANCEL, seq=9))
    assert cancelled.stop is not None and (cancelled.stop.kind, cancelled.stop.signalled_at) == (StopKind.CANCEL, None)
    for lesser in (PAUSE, STOP, DECIDED, CANCEL):
        assert ignored(cancelled, lesser) == "a cancel was requested already"


def test_a_limit_that_its_supervisor_enforces_is_not_passed_on() -> None:
    stop = after(*RUNNING, LIMIT).stop
    assert stop is not None and stop.kind is StopKind.LIMIT and stop.signalled_at is not None
    assert ignored(after(*RUNNING, LIMIT), LIMIT) == "a limit was exceeded already"


def test_retries_are_counted_until_a_person_asks() -> None:
    twice = after(*RUNNING, KILLED, AUTOMATIC, (2, LAUNCHED), (2, STARTED), (2, KILLED), (2, AUTOMATIC))
    assert (twice.retries, twice.state) == (2, JobState.RETRYING)
    again = evolve(twice.model_copy(update={"state": JobState.FAILED}), event(RETRY, seq=50, attempt=2))
    assert (again.retries, again.revival and again.revival.requested_by) == (0, "ben")


def test_a_retry_that_is_read_after_the_attempt_that_it_asked_for_is_counted_all_the_same() -> None:
    job = after(*RUNNING, KILLED, (2, STARTED), AUTOMATIC, (2, LAUNCHED))
    assert (job.state, job.attempt, job.retries) == (JobState.RUNNING, 2, 1)


@pytest.mark.parametrize(
    ("config", "facts", "awaits"),
    [
        ({}, (LAUNCHED, STARTED, KILLED), True),
        ({}, (LAUNCHED, STARTED, JobFailed(error_code="CHECKPOINT_UPLOAD_FAILED", error_message="m")), True),
        ({}, (LAUNCHED, STARTED, JobFailed(error_code="OOM", error_message="m")), False),
        ({}, (LAUNCHED, STARTED, JobFailed(error_code="INVALID_CONFIG", error_message="m")), False),
        ({}, (LAUNCHED, STARTED, JobFailed(error_code="SOMETHING_NEW", error_message="m")), False),
        ({}, (LAUNCHED, STARTED, LIMIT, KILLED), False),
        ({}, (LAUNCHED, STARTED, STOP, JobFailed(error_code="PROCESS_DIED", error_message="m")), False),
        ({}, (LAUNCHED, STARTED), False),
        ({"max_retries": 0}, (LAUNCHED, STARTED, KILLED), False),
        ({"max_retries": 1}, (LAUNCHED, STARTED, KILLED, AUTOMATIC, (2, LAUNCHED), (2, KILLED)), False),
        ({"max_retries": 2}, (LAUNCHED, STARTED, KILLED, AUTOMATIC, (2, LAUNCHED), (2, KILLED)), True),
        ({"launch": False}, (STARTED, KILLED), False),
    ],
)
def test_what_is_tried_again_by_itself(config: dict[str, Any], facts: tuple[Any, ...], awaits: bool) -> None:
    launch = config.pop("launch", True)
    assert after(job_created(config=config, launch=launch), *facts).awaits_retry is awaits


def checkpoint(epoch: int, resumable: bool | None = True, **fields: Any) -> CheckpointSaved:
    uri = f"s3://c/25/attempt-1/{epoch}.pt"
    given = {"epoch": epoch, "checkpoint_path": "s3://c/25/last.pt", "object_uri": uri, "resumable": resumable}
    return CheckpointSaved.model_validate({**given, "sha256": "ab", "file_size_bytes": 7, **fields})


def test_the_newest_checkpoint_that_can_be_gone_on_from_is_remembered() -> None:
    job = after(*RUNNING, checkpoint(3, step=300), checkpoint(2), checkpoint(4, None), checkpoint(5, False))
    job = evolve(job, event(checkpoint(6, object_uri=None), seq=60))
    assert job.resume_checkpoint is not None
    assert (job.resume_checkpoint.epoch, job.resume_checkpoint.step) == (3, 300)
    assert job.last_checkpoint is not None and job.last_checkpoint.epoch == 6
    again = evolve(job, event(checkpoint(3, object_uri="s3://c/again.pt", step=300), seq=61))
    assert again.resume_checkpoint is not None and again.resume_checkpoint.object_uri == "s3://c/again.pt"
    newer = evolve(job, event(checkpoint(1, object_uri="s3://c/newer.pt"), seq=62, attempt=2))
    assert newer.resume_checkpoint is not None and newer.resume_checkpoint.object_uri == "s3://c/newer.pt"


def test_a_run_by_hand_is_paused_by_its_trainer_and_goes_on_when_it_is_started_again() -> None:
    by_hand = job_created(launch=False)
    paused = after(by_hand, STARTED, PAUSE, STOPPED, RESUME)
    assert (paused.state, paused.started_session) == (JobState.QUEUED, None)
    again = evolve(paused, event(job_started(pid=2), seq=50, session="b" * 32))
    assert (again.state, again.pid) == (JobState.RUNNING, 2)
    assert evolve(again, event(JobCompleted(), seq=51, session="b" * 32)).state is JobState.COMPLETED
