"""Given a job, when something is asked, then these facts follow, or it is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from events.codec import data_bytes
from events.evolution import evolve
from events.job import Job
from events.types.datasets import DatasetRegistered
from events.types.jobs import JobLaunched, StopRequested
from events.types.vocabulary import Fact
from producers.callbacks import (
    Body,
    ReportCheckpoint,
    ReportCompletion,
    ReportLogs,
    ReportMetrics,
    ReportProgress,
    ReportStarted,
)
from producers.commands import (
    CreateJob,
    JudgeFound,
    JudgeLost,
    LaunchJob,
    QueueJob,
    RecordStopSignal,
    RegisterDataset,
    RegisterModel,
    StopJob,
)
from producers.decide import DECIDERS, decide
from producers.decision import Decision, Situation
from producers.errors import Invalid, NotFound, Refused
from tests.builders import NOON, event, job_completed, job_created, job_started, process_exited
from training_sdk.wire import RECORD_BYTES_MAX

DATASET = DatasetRegistered.model_validate(
    {"dataset_id": 42, "name": "vehicles", "task_types": ["detection"], "total_images": 1, "splits": {"train": 1}}
    | {"annotations": {}, "storage_path": "s3://training-datasets/42/"}
)
CREATE = CreateJob.model_validate({"model_name": "yolo11n", "task_type": "detection", "dataset_id": 42})
LAUNCHED = JobLaunched(launcher="host/1", reason="a slot is free")


def job_of(*facts: Fact, attempt: int = 1) -> Job | None:
    job: Job | None = None
    for number, fact in enumerate(facts, start=1):
        job = evolve(job, event(fact, seq=number, attempt=attempt, time=NOON + timedelta(seconds=number)))
    return job


def ask(command: Body, *given: Fact) -> Decision:
    return decide(Situation(25, NOON, job=job_of(*given), dataset=DATASET), command)


def kinds(decision: Decision) -> list[str]:
    return [type(fact).__name__ for fact in decision.facts]


RUNNING = (job_created(), job_started(pid=1, hostname="pod"))
ENDED = (*RUNNING, job_completed())


def test_a_job_is_created_with_what_the_data_set_knows() -> None:
    decision = ask(CREATE)
    assert kinds(decision) == ["JobCreated"]
    (created,) = decision.facts
    assert created.model_dump()["framework"] == "ultralytics"
    assert created.model_dump()["dataset_uri"] == "s3://training-datasets/42/"


def test_every_problem_of_a_job_is_named_at_once() -> None:
    command = CreateJob.model_validate({"model_name": "mystery", "task_type": "pose", "dataset_id": 42})
    with pytest.raises(Invalid) as caught:
        ask(command)
    assert [problem.location[-1] for problem in caught.value.problems] == ["framework", "task_type"]
    with pytest.raises(Invalid, match="data set 42 is not registered"):
        decide(Situation(25, NOON), CREATE)


@pytest.mark.parametrize(
    ("command", "given", "facts"),
    [
        (ReportStarted(pid=1, hostname="pod"), (job_created(),), ["JobStarted"]),
        (ReportStarted(pid=1, hostname="pod"), RUNNING, []),
        (ReportProgress(epoch=3, total_epochs=100), RUNNING, ["ProgressReported"]),
        (ReportProgress(epoch=3, total_epochs=100), (job_created(),), ["ProgressReported"]),
        (ReportMetrics(epoch=3, metrics={"loss": 1.0}), RUNNING, ["MetricsReported"]),
        (ReportCheckpoint(checkpoint_path="s3://c/1.pt"), RUNNING, ["CheckpointSaved"]),
        (ReportLogs.model_validate({"message": "x"}), ENDED, ["LogWritten"]),
        (ReportCompletion(status="failed", error_code="OOM", error_message="m"), (job_created(),), ["JobFailed"]),
        (ReportCompletion(status="stopped"), RUNNING, ["JobStopped"]),
        (StopJob(), RUNNING, ["StopRequested"]),
        (StopJob(), (job_created(),), ["StopRequested", "JobStopped"]),
        (StopJob(), (*RUNNING, StopRequested(requested_by="api", reason="x")), []),
        (QueueJob(reason="waits"), (job_created(),), ["JobQueued"]),
        (QueueJob(reason="waits"), RUNNING, []),
        (LaunchJob(attempt=1, launcher="l", reason="r"), (job_created(),), ["JobLaunched"]),
        (RecordStopSignal(signal="SIGTERM", reason="r"), RUNNING, []),
        (JudgeLost(reason="silence"), RUNNING, ["JobLost"]),
        (JudgeLost(reason="silence"), ENDED, []),
        (JudgeFound(reason="a word"), RUNNING, []),
        # An end that was only judged from the process's exit gives way to the trainer's own word.
        (
            ReportCompletion.model_validate({"status": "completed", "training_results": {}}),
            (*RUNNING, process_exited(exit_code=0)),
            ["JobCompleted"],
        ),
    ],
)
def test_what_is_asked_becomes_these_facts(command: Body, given: tuple[Fact, ...], facts: list[str]) -> None:
    assert kinds(ask(command, *given)) == facts


@pytest.mark.parametrize(
    ("command", "given", "words"),
    [
        (ReportStarted(pid=2, hostname="pod"), RUNNING, "running already, as process 1 on pod"),
        (ReportStarted(pid=1, hostname="pod"), ENDED, "a start is not accepted after the end"),
        (ReportProgress(epoch=1, total_epochs=2), ENDED, "completed already"),
        (ReportMetrics(epoch=1, metrics={"loss": 1.0}), ENDED, "completed already"),
        (ReportCheckpoint(checkpoint_path="s3://c/1.pt"), ENDED, "completed already"),
        (ReportCompletion(status="stopped"), ENDED, "another completion"),
        (StopJob(), ENDED, "nothing to stop"),
        (LaunchJob(attempt=1, launcher="l", reason="r"), (job_created(), LAUNCHED), "attempt 1 cannot follow"),
        (LaunchJob(attempt=3, launcher="l", reason="r"), (job_created(), LAUNCHED), "attempt 3 cannot follow"),
        (LaunchJob(attempt=2, launcher="l", reason="r"), ENDED, "completed already"),
    ],
)
def test_what_contradicts_the_state_is_refused(command: Body, given: tuple[Fact, ...], words: str) -> None:
    with pytest.raises(Refused, match=words):
        ask(command, *given)


ABOUT_A_JOB = [kind for kind in DECIDERS if kind not in (CreateJob, RegisterDataset, RegisterModel)]


@pytest.mark.parametrize("command_type", ABOUT_A_JOB)
def test_an_unknown_job_is_not_found(command_type: type[Body]) -> None:
    with pytest.raises(NotFound, match="no training job 25"):
        decide(Situation(25, NOON), command_type.model_construct())


RESULTS = {"total_epochs": 100, "best_metrics": {"mAP50": 0.9, "loss": "NaN"}, "training_time_seconds": 9000}
OOM: dict[str, Any] = {"status": "failed", "error_code": "OOM", "error_message": "m", "last_successful_epoch": 2}


@pytest.mark.parametrize(
    ("first", "changes"),
    [
        ({"status": "completed", "training_results": RESULTS}, {"training_results": {**RESULTS, "total_epochs": 99}}),
        (
            {"status": "completed", "training_results": RESULTS, "best_checkpoint_path": "s3://c/best.pt"},
            {"best_checkpoint_path": "s3://c/other.pt"},
        ),
        (OOM, {"error_message": "another"}),
        (OOM, {"last_successful_epoch": 3}),
        ({"status": "stopped", "stopped_at_epoch": 7}, {"stopped_at_epoch": 8}),
        ({"status": "stopped", "stopped_at_epoch": 7}, {"training_results": RESULTS}),
    ],
)
def test_the_same_end_again_changes_nothing_and_another_one_is_refused(
    first: dict[str, Any], changes: dict[str, Any]
) -> None:
    command = ReportCompletion.model_validate(first)
    before = (*RUNNING, *ask(command, *RUNNING).facts)
    again = ask(command, *before)
    assert (again.facts, again.answer) == ([], {"status": "ok", "job_id": 25})
    with pytest.raises(Refused, match="another completion"):
        ask(ReportCompletion.model_validate({**first, **changes}), *before)


def test_lines_are_spread_over_events_that_the_log_can_hold() -> None:
    lines = [{"message": f"{number} " + "한" * 20_000} for number in range(60)]
    decision = ask(ReportLogs.model_validate({"logs": lines}), *RUNNING)
    assert len(decision.facts) > 1
    assert all(len(data_bytes(fact)) <= RECORD_BYTES_MAX for fact in decision.facts)
    written = [line["message"] for fact in decision.facts for line in fact.model_dump()["lines"]]
    assert written == [line["message"] for line in lines]
    assert decision.answer["received"] == 60


def test_a_line_that_no_event_can_hold_is_named() -> None:
    lines = [{"message": "good"}, {"message": "bad", "metadata": {"blob": "x" * RECORD_BYTES_MAX}}]
    with pytest.raises(Invalid) as caught:
        ask(ReportLogs.model_validate({"logs": lines}), *RUNNING)
    assert [problem.location for problem in caught.value.problems] == [("body", "logs", 1)]


def test_an_epoch_beyond_the_job_is_invalid() -> None:
    with pytest.raises(Invalid, match="epoch 101 is beyond the job's 100 epochs"):
        ask(ReportMetrics(epoch=101, metrics={"loss": 1.0}), *RUNNING)


@pytest.mark.parametrize(
    "body",
    [
        {"config": {"imgsz": "640"}},
        {"config": {"image_size": 0}},
        {"config": {"batch_size": 1.5}},
        {"config": {"learning_rate": 0}},
        {"config": {"epochs": True}},
    ],
)
def test_wrong_basic_parameters_are_refused_under_each_of_their_names(body: dict[str, Any]) -> None:
    command = CreateJob.model_validate({"model_name": "yolo11n", "task_type": "detection", "dataset_id": 1, **body})
    with pytest.raises(Invalid) as caught:
        decide(Situation(25, NOON, dataset=DATASET), command)
    given = next(iter(body["config"]))
    assert [problem.location for problem in caught.value.problems] == [("body", "config", given)]
