from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.evolution import evolve, fold
from events.job import Job
from events.lifecycle import TERMINAL, TRANSITIONS, JobState, status_of
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import (
    JobFailed,
    JobFound,
    JobLaunched,
    JobLost,
    JobQueued,
    JobStopped,
    ProgressReported,
    StopDecided,
    StopRequested,
    StopSignalled,
)
from events.types.vocabulary import Fact
from tests.builders import (
    NOON,
    event,
    job_completed,
    job_created,
    job_started,
    process_exited,
    session_closed,
    session_opened,
)
from training_sdk.wire import JOBS

LAUNCHED = JobLaunched(launcher="host/1", reason="attempt 1: a slot is free")
STOP = StopRequested(requested_by="api", reason="the user asked to stop")
DECIDED = StopDecided(decision_id="d", rule="patience", metric="val/mAP50", epoch=9, reason="no better for 5 epochs")


def job_after(*facts: Fact, attempt: int = 1) -> Job:
    job: Job | None = None
    for number, fact in enumerate(facts, start=1):
        job = evolve(job, event(fact, seq=number, attempt=attempt, topic=JOBS, time=NOON + timedelta(seconds=number)))
    assert job is not None
    return job


def test_a_run_from_creation_to_completion() -> None:
    job = job_after(job_created(), JobQueued(reason="waits"), LAUNCHED, job_started(gpu_info={"name": "RTX 4090"}))
    assert (job.state, status_of(job.state), job.attempt, job.total_epochs) == (JobState.RUNNING, "running", 1, 100)
    job = evolve(job, event(job_completed(), seq=5))
    assert (job.state, job.ended_by, job.current_epoch) == (JobState.COMPLETED, "report", 100)
    assert job.training_results is not None
    assert job.training_results.gpu_hours == 2.5  # the design's own sample: 9,000 s on one GPU
    assert job.started_at is not None and job.completed_at is not None


def test_gpu_hours_are_zero_on_cpu_and_count_every_gpu() -> None:
    on_cpu = job_after(job_created(), job_started(), job_completed())
    on_four = job_after(job_created(), job_started(gpu_info=[{"name": "A100"}] * 4), job_completed())
    assert on_cpu.training_results is not None and on_cpu.training_results.gpu_hours == 0
    assert on_four.training_results is not None and on_four.training_results.gpu_hours == 10


def test_events_that_come_before_the_job_make_a_stub_that_creation_completes() -> None:
    stub = job_after(job_started(), ProgressReported(epoch=2, total_epochs=9, phase="train"))
    assert not stub.exists and stub.state is JobState.RUNNING
    job = evolve(stub, event(job_created(), seq=3))
    assert job.exists and job.state is JobState.RUNNING and job.total_epochs == 9


@pytest.mark.parametrize(
    ("exit_fields", "code", "words"),
    [
        ({"signal": "SIGKILL"}, "PROCESS_DIED", "ended by SIGKILL"),
        ({"exit_code": 3}, "PROCESS_DIED", "exit code 3"),
        ({"exit_code": 0}, "UNKNOWN", "never reported"),
    ],
)
def test_a_process_that_ends_without_a_word_has_failed(exit_fields: dict[str, object], code: str, words: str) -> None:
    job = job_after(job_created(), job_started(), process_exited(**exit_fields))
    assert (job.state, job.error_code, job.ended_by) == (JobState.FAILED, code, "exit")
    assert words in (job.error_message or "")


def test_the_trainers_own_word_beats_the_exit_of_its_process_whichever_is_read_first() -> None:
    before = job_after(job_created(), job_started(), job_completed(), process_exited(exit_code=0))
    after = job_after(job_created(), job_started(), process_exited(signal="SIGKILL"), job_completed())
    assert before.state is after.state is JobState.COMPLETED
    assert after.error_code is None and after.error_message is None
    assert before.exit is not None and after.exit is not None


def test_an_end_is_final_once_the_trainer_reported_it() -> None:
    failed = JobFailed(error_code="OOM", error_message="CUDA out of memory", last_successful_epoch=42)
    job = job_after(job_created(), job_started(), failed)
    late = fold(job, event(job_completed(), seq=9))
    assert late.job is job and late.ignored == "the job is failed already"
    assert fold(job, event(job_started(), seq=10)).ignored == "the job is failed already"


def test_a_requested_stop_ends_in_stopped_also_when_the_process_had_to_be_killed() -> None:
    asked = job_after(job_created(), LAUNCHED, job_started(), STOP, StopSignalled(signal="SIGTERM", reason="asked"))
    assert asked.state is JobState.STOPPING and asked.stop is not None and asked.stop.signalled_at is not None
    assert evolve(asked, event(JobStopped(stopped_at_epoch=4), seq=9)).state is JobState.STOPPED
    assert evolve(asked, event(process_exited(signal="SIGKILL"), seq=9)).state is JobState.STOPPED
    assert evolve(asked, event(job_completed(), seq=9)).state is JobState.COMPLETED
    assert fold(asked, event(STOP, seq=9)).ignored == "a stop was requested already"


def test_a_decision_of_early_stopping_is_a_request_to_stop_with_its_rule() -> None:
    job = job_after(job_created(), LAUNCHED, job_started(), DECIDED)
    assert job.state is JobState.STOPPING and job.early_stopping == DECIDED
    assert job.stop is not None and (job.stop.requested_by, job.stop.reason) == ("early-stopping", DECIDED.reason)
    stopped = evolve(job, event(JobStopped(stopped_at_epoch=9), seq=9))
    assert stopped.state is JobState.STOPPED and stopped.early_stopping == DECIDED
    assert fold(job, event(DECIDED, seq=9)).ignored == "a stop was requested already"
    assert fold(stopped, event(DECIDED, seq=9)).ignored == "the job is stopped already"


def test_a_decision_about_an_attempt_that_is_over_stops_no_other() -> None:
    job = job_after(job_created(), LAUNCHED, job_started(), process_exited(signal="SIGKILL"))
    again = evolve(job, event(job_started(pid=9), seq=1, attempt=2, session="b" * 32))
    late = fold(again, event(DECIDED, seq=9))
    assert late.job is again and late.ignored == "attempt 1 is over, attempt 2 counts"
    user = evolve(again, event(STOP, seq=1, attempt=2, session="c" * 32))
    assert fold(user, event(DECIDED, seq=2, attempt=2, session="c" * 32)).job.early_stopping is None


def test_a_lost_run_heals() -> None:
    lost = job_after(job_created(), job_started(), JobLost(reason="no sign of life"))
    assert (lost.state, status_of(lost.state)) == (JobState.LOST, "running")
    assert evolve(lost, event(JobFound(reason="events came back"), seq=4)).state is JobState.RUNNING
    assert evolve(lost, event(job_completed(), seq=4)).state is JobState.COMPLETED


def test_events_of_an_older_attempt_do_not_touch_the_newer_one() -> None:
    job = job_after(job_created(), LAUNCHED, job_started(), process_exited(signal="SIGKILL"))
    job = job.model_copy(update={"state": JobState.RETRYING})
    job = evolve(job, event(JobLaunched(launcher="host/1", reason="retry"), attempt=2, session="b" * 32, seq=2))
    assert (job.state, job.attempt, job.error_code) == (JobState.STARTING, 2, None)
    for late in (job_completed(), process_exited(exit_code=0), ProgressReported(epoch=1, total_epochs=2, phase="val")):
        assert fold(job, event(late, attempt=1, seq=50)).ignored == "attempt 1 is over, attempt 2 counts"


def test_a_second_process_cannot_start_the_same_attempt() -> None:
    job = job_after(job_created(), job_started())
    other = fold(job, event(job_started(pid=999), session="b" * 32))
    assert other.ignored == "attempt 1 was started by another process" and other.job.pid == 12345


def test_the_best_checkpoint_is_the_last_one_too_until_a_newer_one_exists() -> None:
    best = CheckpointSaved(epoch=5, checkpoint_path="s3://c/25/best.pt", is_best=True)
    last = CheckpointSaved(epoch=7, checkpoint_path="s3://c/25/last.pt", is_best=False)
    older = CheckpointSaved(epoch=3, checkpoint_path="s3://c/25/best.pt", is_best=True)
    job = job_after(job_created(), job_started(), best)
    assert job.best_checkpoint == job.last_checkpoint
    job = evolve(evolve(job, event(last, seq=8)), event(older, seq=9))
    assert job.last_checkpoint is not None and job.last_checkpoint.path == "s3://c/25/last.pt"


def test_sessions_are_opened_and_closed_once() -> None:
    job = job_after(session_opened(total_epochs=30), job_created(), session_closed({JOBS: 3}))
    (session,) = job.sessions.values()
    assert session.last_seq == {JOBS: 3} and job.total_epochs == 30
    assert fold(job, event(session_closed({JOBS: 9}), seq=4)).ignored == "the session was closed already"


FACTS: list[Fact] = [
    job_created(),
    JobQueued(reason="waits"),
    LAUNCHED,
    job_started(),
    ProgressReported(epoch=1, total_epochs=3, phase="train"),
    CheckpointSaved(epoch=1, checkpoint_path="s3://c/25/last.pt"),
    STOP,
    StopSignalled(signal="SIGTERM", reason="asked"),
    job_completed(),
    JobFailed(error_code="OOM", error_message="out of memory"),
    JobStopped(stopped_at_epoch=1),
    process_exited(signal="SIGKILL"),
    process_exited(exit_code=0),
    JobLost(reason="silence"),
    JobFound(reason="events came back"),
    session_opened(),
    session_closed({JOBS: 1}),
]


@given(st.lists(st.tuples(st.sampled_from(FACTS), st.integers(min_value=0, max_value=3)), max_size=40))
def test_any_sequence_folds_and_takes_only_steps_that_the_table_allows(steps: list[tuple[Fact, int]]) -> None:
    job: Job | None = None
    for number, (fact, attempt) in enumerate(steps, start=1):
        before = job.state if job else JobState.PENDING
        attempt_before = job.attempt if job else 0
        folded = fold(job, event(fact, seq=number, attempt=attempt, topic=JOBS))
        job = folded.job
        new_attempt = job.attempt > attempt_before
        assert job.state == before or job.state in TRANSITIONS[before] or new_attempt
        assert (job.completed_at is not None) == (job.state in TERMINAL)
        assert Job.model_validate_json(job.model_dump_json()) == job
