"""The life of a job: what was asked for, what the launcher did, what the trainer said, how it ended."""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import (
    LOG_MESSAGE_LENGTH_MAX,
    Epoch,
    Fact,
    JsonObject,
    Metrics,
    MetricValue,
    Step,
    Text,
)


class JobCreated(Fact):
    name: Text | None = None
    description: Text | None = None
    model_name: Text
    framework: Text | None = None
    task_type: Text
    dataset_id: int
    dataset_uri: Text | None = Field(default=None, description="where the data set lay when the job was created")
    config: JsonObject = Field(default_factory=dict)
    advanced_config: JsonObject | None = None
    launch: bool = Field(default=True, description="false: somebody runs the trainer by hand")
    primary_metric: Text | None = None
    primary_metric_mode: Text | None = None


class JobDescribed(Fact):
    """What people call the job; only what changed. Empty: it was taken away."""

    name: Text | None = None
    description: Text | None = None
    tags: list[Text] | None = Field(default=None, description="all of them")
    notes: str | None = Field(default=None, max_length=LOG_MESSAGE_LENGTH_MAX)
    requested_by: Text


class JobQueued(Fact):
    reason: Text


class JobLaunched(Fact):
    """The launcher started a supervisor for the envelope's attempt."""

    launcher: Text
    supervisor_pid: int | None = None
    hostname: Text | None = None
    reason: Text


class StopRequested(Fact):
    requested_by: Text
    reason: Text


class StopEvidence(Fact):
    """A value that a decision rests on, and where in the log it stands."""

    epoch: Epoch | None = None
    step: Step | None = None
    value: MetricValue
    topic: Text
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class StopDecided(Fact):
    """A rule of early stopping ended the envelope's attempt: decided on the server, from its metrics alone."""

    decision_id: Text = Field(description="one per job, attempt and rule, the same however often it is computed")
    rule: Text = Field(description="patience, target or divergence")
    metric: Text = Field(description="the series that was looked at, such as val/mAP50")
    mode: Text | None = Field(default=None, description="max or min: what is better")
    epoch: Epoch | None = Field(default=None, description="the epoch that decided it")
    value: MetricValue | None = None
    best_epoch: Epoch | None = None
    best_value: MetricValue | None = None
    reason: Text = Field(description="for people")
    settings: JsonObject = Field(default_factory=dict, description="the rule's settings, defaults filled in")
    evidence: list[StopEvidence] = Field(default_factory=list)


class StopSignalled(Fact):
    signal: Text
    reason: Text


class JobStarted(Fact):
    """The trainer runs."""

    pid: int | None = None
    hostname: Text | None = None
    gpu_info: JsonObject | list[JsonObject] | None = None
    total_epochs: Epoch | None = None
    mlflow_run_id: Text | None = None


class ProgressReported(Fact):
    epoch: Epoch
    total_epochs: Epoch
    phase: Text
    eta_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="seconds")


class TrainingResults(Fact):
    total_epochs: Epoch | None = None
    best_epoch: Epoch | None = None
    best_metrics: Metrics | None = None
    final_metrics: Metrics | None = None
    training_time_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gpu_hours: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="hours times GPUs; 0 on CPU")


class JobCompleted(Fact):
    training_results: TrainingResults = TrainingResults()
    best_checkpoint_path: Text | None = None
    final_checkpoint_path: Text | None = None


class JobFailed(Fact):
    error_code: Text
    error_message: str = Field(max_length=LOG_MESSAGE_LENGTH_MAX)
    last_successful_epoch: Epoch | None = None


class JobStopped(Fact):
    stopped_at_epoch: Epoch | None = None
    best_checkpoint_path: Text | None = None
    final_checkpoint_path: Text | None = None
    training_results: TrainingResults | None = None


class ProcessExited(Fact):
    """What the supervisor saw of the trainer's process: an exit code or a signal."""

    pid: int | None = None
    exit_code: int | None = None
    signal: Text | None = Field(default=None, description="name of the signal, e.g. SIGKILL")
    reason: Text | None = None
    hostname: Text | None = None


class JobLost(Fact):
    """No sign of life for too long: a judgement by clock, not final."""

    reason: Text
    last_seen: Text | None = None


class JobFound(Fact):
    reason: Text
