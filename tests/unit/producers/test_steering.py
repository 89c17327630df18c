"""Who may ask what, when: accepted once, repeated harmlessly, or refused with the reason."""

from __future__ import annotations

from datetime import timedelta

import pytest

from events.evolution import evolve
from events.job import Job, StopKind
from events.types.jobs import JobFailed, JobLaunched, JobLost, JobStopped, StopRequested
from events.types.requests import CancelRequested, LimitExceeded, PauseRequested, ResumeRequested, RetryRequested
from events.types.vocabulary import Fact
from producers.callbacks import Body, ReportCompletion, ReportStarted
from producers.commands import (
    CancelJob,
    JudgeGone,
    LaunchJob,
    PauseJob,
    RecordStopped,
    RecordStopSignal,
    ResumeJob,
    RetryJob,
    StopJob,
)
from producers.decide import decide
from producers.decision import Decision, Situation
from producers.errors import Refused
from tests.builders import NOON, event, job_completed, job_created, job_started, process_exited

CREATED, LAUNCHED = job_created(), JobLaunched(launcher="host/1", reason="a slot is free")
RUNNING = (CREATED, LAUNCHED, job_started(pid=1, hostname="pod"))
BY_HAND = job_created(launch=False)
ASKED = {"requested_by": "api", "reason": "x"}
STOP, CANCEL, PAUSE = StopRequested(**ASKED), CancelRequested(**ASKED), PauseRequested(**ASKED)
RESUME, RETRY = ResumeRequested(**ASKED), RetryRequested(**ASKED)
STOPPED, DIED = JobStopped(), process_exited(signal="SIGKILL")
PAUSED, FAILED = (*RUNNING, PAUSE, STOPPED), (*RUNNING, DIED)
NOT_UPLOADED = JobFailed(error_code="CHECKPOINT_UPLOAD_FAILED", error_message="m")
LIMIT = LimitExceeded(limit="max_seconds", allowed=1, used=2, error_code="TIMEOUT", reason="too long")
LOST = JobLost(reason="silence")


def ask(command: Body, *given: Fact) -> Decision:
    job: Job | None = None
    for number, fact in enumerate(given, start=1):
        job = evolve(job, event(fact, seq=number, time=NOON + timedelta(seconds=number)))
    return decide(Situation(25, NOON, job=job), command)


@pytest.mark.parametrize(
    ("command", "given", "facts"),
    [
        (StopJob(), RUNNING, ["StopRequested"]),
        (StopJob(), (*RUNNING, PAUSE), ["StopRequested"]),
        (StopJob(), (*RUNNING, LOST), ["StopRequested"]),
        (StopJob(), PAUSED, ["StopRequested", "JobStopped"]),
        (StopJob(), (*PAUSED, RESUME), ["StopRequested", "JobStopped"]),
        (StopJob(), (*FAILED, RETRY), ["StopRequested", "JobStopped"]),
        (StopJob(), FAILED, ["StopRequested", "JobStopped"]),
        (CancelJob(), (*RUNNING, NOT_UPLOADED), ["CancelRequested", "JobStopped"]),
        (StopJob(), (BY_HAND,), ["StopRequested", "JobStopped"]),
        (CancelJob(), RUNNING, ["CancelRequested"]),
        (CancelJob(), (*RUNNING, STOP), ["CancelRequested"]),
        (CancelJob(), (*RUNNING, PAUSE), ["CancelRequested"]),
        (CancelJob(), (CREATED,), ["CancelRequested", "JobStopped"]),
        (CancelJob(), PAUSED, ["CancelRequested", "JobStopped"]),
        (PauseJob(), RUNNING, ["PauseRequested"]),
        (PauseJob(), (CREATED, LAUNCHED), ["PauseRequested"]),
        (PauseJob(), (CREATED,), ["PauseRequested"]),
        (PauseJob(), (*PAUSED, RESUME), ["PauseRequested"]),
        (PauseJob(), (*FAILED, RETRY), ["PauseRequested"]),
        (PauseJob(), (BY_HAND, job_started()), ["PauseRequested"]),
        (ResumeJob(), PAUSED, ["ResumeRequested"]),
        (RetryJob(), FAILED, ["RetryRequested"]),
        (RetryJob(), (*RUNNING, LIMIT, STOPPED), ["RetryRequested"]),
        (RetryJob(automatic=True), FAILED, ["RetryRequested"]),
        (RecordStopped(reason="r"), (CREATED, LAUNCHED, PAUSE), ["JobStopped"]),
        (RecordStopped(reason="r"), (*RUNNING, PAUSE), []),
        (LaunchJob(attempt=2, launcher="l", reason="r"), (*PAUSED, RESUME), ["JobLaunched"]),
        (LaunchJob(attempt=2, launcher="l", reason="r"), (*FAILED, RETRY), ["JobLaunched"]),
        (JudgeGone(reason="silence"), (*RUNNING, LOST), ["ProcessExited"]),
        (JudgeGone(reason="silence"), FAILED, []),
        (RecordStopSignal(signal="SIGTERM", reason="r"), (*RUNNING, STOP), ["StopSignalled"]),
        # The cancel came while the stop was passed on: it is still to be passed on.
        (RecordStopSignal(signal="SIGTERM", reason="r"), (*RUNNING, STOP, CANCEL), []),
        (RecordStopSignal(kind=StopKind.CANCEL, signal="SIGTERM", reason="r"), (*RUNNING, CANCEL), ["StopSignalled"]),
        (ReportCompletion(status="stopped"), PAUSED, []),
        (ReportStarted(pid=2, hostname="pod"), (BY_HAND, job_started(), PAUSE, STOPPED, RESUME), ["JobStarted"]),
    ],
)
def test_what_is_accepted(command: Body, given: tuple[Fact, ...], facts: list[str]) -> None:
    decision = ask(command, *given)
    assert [type(fact).__name__ for fact in decision.facts] == facts


@pytest.mark.parametrize(
    ("command", "given", "repeats"),
    [
        (StopJob(), (*RUNNING, STOP), "StopRequested"),
        (StopJob(), (*RUNNING, STOP, STOPPED), "StopRequested"),
        (StopJob(), (*RUNNING, CANCEL), "CancelRequested"),
        (CancelJob(), (*RUNNING, CANCEL), "CancelRequested"),
        (PauseJob(), (*RUNNING, PAUSE), "PauseRequested"),
        (PauseJob(), PAUSED, "PauseRequested"),
        (ResumeJob(), (*PAUSED, RESUME), "ResumeRequested"),
        (RetryJob(), (*FAILED, RETRY), "RetryRequested"),
    ],
)
def test_what_was_asked_for_already_is_answered_again_and_changes_nothing(
    command: Body, given: tuple[Fact, ...], repeats: str
) -> None:
    decision = ask(command, *given)
    assert decision.facts == []
    assert repeats in [kind.__name__ for kind in decision.repeats]


@pytest.mark.parametrize(
    ("command", "given", "words"),
    [
        (StopJob(), (*RUNNING, job_completed()), "completed already: there is nothing to stop"),
        (StopJob(), (*RUNNING, LIMIT, STOPPED), "failed already: there is nothing to stop"),
        (CancelJob(), (*RUNNING, job_completed()), "nothing to cancel"),
        (CancelJob(), (*RUNNING, JobFailed(error_code="OOM", error_message="m")), "nothing to cancel"),
        (CancelJob(), (*FAILED, STOP, STOPPED), "stopped already: there is nothing to cancel"),
        (CancelJob(), (BY_HAND, job_started(), DIED), "nothing to cancel"),
        (PauseJob(), (*RUNNING, job_completed()), "nothing to pause"),
        (PauseJob(), (*RUNNING, STOP), "is being ended, as api asked"),
        (PauseJob(), (*RUNNING, LOST), "is lost"),
        (PauseJob(), (BY_HAND,), "run by hand and has not begun"),
        (ResumeJob(), RUNNING, "is running, not paused"),
        (ResumeJob(), (*RUNNING, PAUSE), "still pausing"),
        (ResumeJob(), (CREATED,), "is pending, not paused"),
        (ResumeJob(), (*RUNNING, job_completed()), "is completed, not paused"),
        (RetryJob(), RUNNING, "is running: only what failed"),
        (RetryJob(), PAUSED, "is paused: only what failed"),
        (RetryJob(), (*RUNNING, job_completed()), "is completed: only what failed"),
        (RetryJob(), (BY_HAND, job_started(), DIED), "run by hand: start its trainer again"),
        (RetryJob(automatic=True), (*RUNNING, LIMIT, DIED), "not tried again by itself: TIMEOUT"),
        (LaunchJob(attempt=2, launcher="l", reason="r"), RUNNING, "is running: attempt 1 is not over"),
        (LaunchJob(attempt=2, launcher="l", reason="r"), PAUSED, "is paused: attempt 1 is not over"),
        (LaunchJob(attempt=2, launcher="l", reason="r"), FAILED, "failed already"),
        (LaunchJob(attempt=1, launcher="l", reason="r"), (CREATED, STOP), "was asked to stop"),
        (ReportStarted(pid=2, hostname="pod"), PAUSED, "paused: resume it"),
    ],
)
def test_what_the_state_forbids_is_refused_with_the_reason(command: Body, given: tuple[Fact, ...], words: str) -> None:
    with pytest.raises(Refused, match=words):
        ask(command, *given)
