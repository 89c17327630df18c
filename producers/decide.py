"""What follows from what is asked: pure decisions, one a command, in one visible table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from events.codec import data_bytes
from events.job import EXIT, REPORT, Job
from events.lifecycle import ACTIVE, WAITING, JobState
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import (
    JobCompleted,
    JobCreated,
    JobFailed,
    JobFound,
    JobLaunched,
    JobLost,
    JobQueued,
    JobStarted,
    JobStopped,
    ProcessExited,
    ProgressReported,
    StopSignalled,
    TrainingResults,
)
from events.types.logs import LogLine, LogWritten
from events.types.metrics import MetricsReported
from events.types.vocabulary import Fact
from producers import deletion, steering
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
    CancelJob,
    CreateJob,
    DeleteJob,
    JudgeFound,
    JudgeGone,
    JudgeLost,
    LaunchJob,
    PauseJob,
    PurgeJob,
    QueueJob,
    RecordFailure,
    RecordStopped,
    RecordStopSignal,
    RegisterDataset,
    RegisterModel,
    RestoreJob,
    ResumeJob,
    RetryJob,
    StopJob,
)
from producers.decision import Decision, Situation, existing
from producers.describe import DescribeJob, changes, first_description
from producers.errors import FieldProblem, Invalid, Refused
from producers.job_check import creation_problems
from training_sdk.wire import RECORD_BYTES_MAX

UNKNOWN_END: Final = "UNKNOWN"
"""Stands where the name of the signal would: nobody saw the process end."""
LOG_EVENT_BYTES_MAX: Final = RECORD_BYTES_MAX - 1_000
"""Lines that fit into one event; the rest is for what stands around them."""


def decide(situation: Situation, command: Body) -> Decision:
    """Raises NotFound, Refused or Invalid. KeyError for a command that stands in no table."""
    deletion.refuse_if_deleted(situation.job, command)
    return DECIDERS[type(command)](situation, command)


def _not_ended(job: Job, what: str) -> None:
    if job.ended and job.ended_by != EXIT:
        raise Refused(f"job {job.id} is {job.state} already: {what} is not accepted after the end")


def _attempt(job: Job) -> int:
    """The attempt that a callback speaks of: the present one; a run by hand is attempt 1."""
    return max(1, job.attempt)


def _ok(job: Job, *facts: Fact) -> Decision:
    return Decision(list(facts), {"status": "ok", "job_id": job.id}, _attempt(job))


def _check_epoch(job: Job, epoch: int | None, total: int | None = None) -> None:
    limit = total or job.total_epochs
    if epoch is not None and limit is not None and epoch > limit:
        problem = FieldProblem(("body", "epoch"), f"epoch {epoch} is beyond the job's {limit} epochs", epoch)
        raise Invalid(problem.message, [problem])


def _create_job(situation: Situation, command: CreateJob) -> Decision:
    dataset = situation.dataset
    framework, problems = creation_problems(command, dataset, situation.offer)
    if problems or dataset is None:
        raise Invalid("; ".join(problem.message for problem in problems), problems)
    created = JobCreated(
        name=command.name,
        description=command.description,
        model_name=command.model_name,
        framework=framework,
        task_type=str(command.task_type),
        dataset_id=command.dataset_id,
        dataset_uri=dataset.storage_path,
        config=command.config,
        advanced_config=command.advanced_config,
        launch=command.launch,
        primary_metric=_text(command.config.get("primary_metric")),
        primary_metric_mode=_text(command.config.get("primary_metric_mode")),
    )
    described = first_description(command.tags, command.notes)
    return Decision([created, *described], {"id": situation.id}, job_id=situation.id)


def _describe_job(situation: Situation, command: DescribeJob) -> Decision:
    job = existing(situation)
    described = changes(job, command)
    return Decision([] if described is None else [described], {"id": job.id}, job.attempt)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _queue_job(situation: Situation, command: QueueJob) -> Decision:
    job = existing(situation)
    facts: list[Fact] = [JobQueued(reason=command.reason)] if job.state is JobState.PENDING else []
    return Decision(facts, {"job_id": job.id}, job.attempt)


def _launch_job(situation: Situation, command: LaunchJob) -> Decision:
    job = existing(situation)
    if job.ended:
        raise Refused(f"job {job.id} is {job.state} already")
    if job.stop is not None:
        raise Refused(f"job {job.id} was asked to {job.stop.kind}")
    if command.attempt != job.attempt + 1:
        raise Refused(f"job {job.id} is at attempt {job.attempt}; attempt {command.attempt} cannot follow")
    if job.state not in WAITING:
        raise Refused(f"job {job.id} is {job.state}: attempt {job.attempt} is not over")
    launched = JobLaunched(launcher=command.launcher, hostname=command.hostname, reason=command.reason)
    return Decision([launched], {"job_id": job.id}, command.attempt)


def _record_stop_signal(situation: Situation, command: RecordStopSignal) -> Decision:
    job = existing(situation)
    done = job.stop is None or job.stop.signalled_at is not None or job.stop.kind is not command.kind
    facts: list[Fact] = [] if done else [StopSignalled(signal=command.signal, reason=command.reason)]
    return Decision(facts, {"job_id": job.id}, job.attempt)


def _record_failure(situation: Situation, command: RecordFailure) -> Decision:
    job = existing(situation)
    failed = JobFailed(error_code=command.error_code, error_message=command.error_message)
    return Decision([failed] if job.state in ACTIVE else [], {"job_id": job.id}, job.attempt)


def _record_stopped(situation: Situation, command: RecordStopped) -> Decision:
    job = existing(situation)
    still = job.state in (JobState.STOPPING, JobState.PAUSING) and job.started_session is None
    return Decision([JobStopped(stopped_at_epoch=job.current_epoch)] if still else [], {"job_id": job.id}, job.attempt)


def _judge_lost(situation: Situation, command: JudgeLost) -> Decision:
    job = existing(situation)
    lost = JobLost(reason=command.reason, last_seen=command.last_seen)
    alive = job.state in (JobState.STARTING, JobState.RUNNING)
    return Decision([lost] if alive else [], {"job_id": job.id}, job.attempt)


def _judge_found(situation: Situation, command: JudgeFound) -> Decision:
    job = existing(situation)
    facts: list[Fact] = [JobFound(reason=command.reason)] if job.state is JobState.LOST else []
    return Decision(facts, {"job_id": job.id}, job.attempt)


def _judge_gone(situation: Situation, command: JudgeGone) -> Decision:
    job = existing(situation)
    gone = ProcessExited(signal=UNKNOWN_END, reason=command.reason)
    return Decision([gone] if job.state in ACTIVE else [], {"job_id": job.id}, job.attempt)


def _started(situation: Situation, command: ReportStarted) -> Decision:
    job = existing(situation)
    _not_ended(job, "a start")
    if job.state is JobState.PAUSED:
        raise Refused(f"job {job.id} is paused: resume it before it is started again")
    if job.started_session is not None:
        if (job.pid, job.hostname) == (command.pid, command.hostname):
            return _ok(job)
        raise Refused(f"job {job.id} is running already, as process {job.pid} on {job.hostname}")
    return _ok(
        job,
        JobStarted(
            pid=command.pid,
            hostname=command.hostname,
            gpu_info=command.gpu_info,
            total_epochs=command.total_epochs,
        ),
    )


def _progressed(situation: Situation, command: ReportProgress) -> Decision:
    job = existing(situation)
    _not_ended(job, "progress")
    return _ok(
        job,
        ProgressReported(
            epoch=command.epoch,
            total_epochs=command.total_epochs,
            phase=str(command.phase),
            eta_seconds=command.eta_seconds,
        ),
    )


def _measured(situation: Situation, command: ReportMetrics) -> Decision:
    job = existing(situation)
    _not_ended(job, "a metric")
    _check_epoch(job, command.epoch)
    return _ok(
        job,
        MetricsReported(
            phase=str(command.phase),
            steps=[command.step],
            epochs=[command.epoch],
            times=[situation.now.timestamp()],
            values={name: [value] for name, value in command.metrics.items()},
        ),
    )


def _checkpoint_saved(situation: Situation, command: ReportCheckpoint) -> Decision:
    job = existing(situation)
    _not_ended(job, "a checkpoint")
    _check_epoch(job, command.epoch)
    return _ok(job, CheckpointSaved.model_validate(command.model_dump()))


def _completed(situation: Situation, command: ReportCompletion) -> Decision:
    job = existing(situation)
    if _ended_so_already(job, command):
        return _ok(job)
    if command.status == "stopped" and job.state is JobState.PAUSED:
        return _ok(job)
    _not_ended(job, "another completion")
    _check_epoch(job, command.last_successful_epoch)
    _check_epoch(job, command.stopped_at_epoch)
    paths = {
        "best_checkpoint_path": command.best_checkpoint_path,
        "final_checkpoint_path": command.final_checkpoint_path,
    }
    results = command.training_results or TrainingResults()
    match command.status:
        case "completed":
            return _ok(job, JobCompleted(training_results=results, **paths))
        case "stopped":
            stopped_at = command.stopped_at_epoch
            given = command.training_results
            return _ok(job, JobStopped(stopped_at_epoch=stopped_at, training_results=given, **paths))
        case "failed":
            return _ok(
                job,
                JobFailed(
                    error_code=command.error_code or "UNKNOWN",
                    error_message=command.error_message or "",
                    last_successful_epoch=command.last_successful_epoch,
                ),
            )


def _ended_so_already(job: Job, command: ReportCompletion) -> bool:
    """The same completion once more, in whatever way it came first: under another key, over Kafka, long ago."""
    if not job.ended or job.ended_by != REPORT or job.state != command.status:
        return False
    if command.status == "failed":
        said = (command.error_code, command.error_message, command.last_successful_epoch)
        return said == (job.error_code, job.error_message, job.last_successful_epoch)
    if command.status == "stopped" and command.stopped_at_epoch != job.stopped_at_epoch:
        return False
    for path, known in (
        (command.best_checkpoint_path, job.best_checkpoint),
        (command.final_checkpoint_path, job.last_checkpoint),
    ):
        if path is not None and (known is None or path != known.path):
            return False
    given, kept = command.training_results, job.training_results
    if given is None or kept is None:
        return given is kept
    # Hours were computed where none were given. Compared as JSON: NaN is not equal to itself.
    filled = given if given.gpu_hours is not None else given.model_copy(update={"gpu_hours": kept.gpu_hours})
    return data_bytes(filled) == data_bytes(kept)


def _logged(situation: Situation, command: ReportLogs) -> Decision:
    job = existing(situation)
    lines = [
        LogLine(
            level=entry.level,
            message=entry.message,
            timestamp=entry.timestamp or situation.now,
            source=entry.source,
            metadata=entry.metadata,
        )
        for entry in command.logs
    ]
    return Decision(_log_events(lines), {"status": "ok", "received": len(lines)}, _attempt(job))


def _log_events(lines: list[LogLine]) -> list[Fact]:
    """Lines in as few events as the log's limit on a record allows."""
    batches: list[list[LogLine]] = []
    room = 0
    for index, line in enumerate(lines):
        size = len(data_bytes(line)) + 1
        if size > LOG_EVENT_BYTES_MAX:
            message = f"the line has {size} bytes with its metadata, at most {LOG_EVENT_BYTES_MAX} are accepted"
            raise Invalid(message, [FieldProblem(("body", "logs", index), message)])
        if size > room:
            batches.append([])
            room = LOG_EVENT_BYTES_MAX
        batches[-1].append(line)
        room -= size
    return [LogWritten(lines=batch) for batch in batches]


def _register_dataset(situation: Situation, command: RegisterDataset) -> Decision:
    registered = command.description.model_copy(update={"dataset_id": situation.id})
    return Decision([registered], {"id": situation.id})


def _register_model(situation: Situation, command: RegisterModel) -> Decision:
    model = command.description
    known = situation.offer.models.get(model.framework)
    answer = {"name": model.name, "framework": model.framework}
    return Decision([] if known == model else [model], answer)


DECIDERS: Final[Mapping[type[Body], Callable[[Situation, Any], Decision]]] = {
    CreateJob: _create_job,
    DescribeJob: _describe_job,
    StopJob: steering.stop_job,
    CancelJob: steering.cancel_job,
    PauseJob: steering.pause_job,
    ResumeJob: steering.resume_job,
    RetryJob: steering.retry_job,
    DeleteJob: deletion.delete_job,
    RestoreJob: deletion.restore_job,
    PurgeJob: deletion.purge_job,
    QueueJob: _queue_job,
    LaunchJob: _launch_job,
    RecordStopSignal: _record_stop_signal,
    RecordFailure: _record_failure,
    RecordStopped: _record_stopped,
    JudgeLost: _judge_lost,
    JudgeFound: _judge_found,
    JudgeGone: _judge_gone,
    RegisterDataset: _register_dataset,
    RegisterModel: _register_model,
    ReportStarted: _started,
    ReportProgress: _progressed,
    ReportMetrics: _measured,
    ReportCheckpoint: _checkpoint_saved,
    ReportCompletion: _completed,
    ReportLogs: _logged,
}
