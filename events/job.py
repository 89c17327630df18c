"""What a job is: the state that is folded from its events (events/evolution.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from events.lifecycle import TERMINAL, JobState
from events.types.jobs import ProcessExited, StopDecided, TrainingResults
from events.types.vocabulary import JsonObject

REPORT: Final = "report"
EXIT: Final = "exit"
EARLY_STOPPING: Final = "early-stopping"
"""Who asked, where a rule of early stopping decided."""


class Session(BaseModel):
    """A sender of this job. ``last_seq`` per topic is None until somebody closed the session."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    rank: int
    sender: str
    last_seq: dict[str, int] | None = None
    closed_by: str | None = None


class Checkpoint(BaseModel):
    model_config = ConfigDict(frozen=True)

    path: str
    object_uri: str | None = None
    epoch: int | None = None
    attempt: int
    sha256: str | None = None
    file_size_bytes: int | None = None
    resumable: bool | None = None
    step: int | None = None


class Stop(BaseModel):
    model_config = ConfigDict(frozen=True)

    requested_by: str
    reason: str
    requested_at: datetime
    signalled_at: datetime | None = None


class Job(BaseModel):
    """One training job. ``created_at`` is None for a stub: events came before the job's creation was read."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str | None = None
    description: str | None = None
    model_name: str | None = None
    framework: str | None = None
    task_type: str | None = None
    dataset_id: int | None = None
    dataset_uri: str | None = None
    config: JsonObject = Field(default_factory=dict)
    advanced_config: JsonObject | None = None
    launch: bool = True
    tags: list[str] | None = None
    notes: str | None = None
    primary_metric: str | None = None
    primary_metric_mode: str | None = None

    state: JobState = JobState.PENDING
    attempt: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    """When the run ended, whichever way."""
    end_appended_at: datetime | None = None
    """When the log took the end: long after it, where the end waited in a spool."""
    ended_by: str | None = None
    """``report``: the trainer said so; ``exit``: judged from how its process ended."""
    updated_at: datetime | None = None

    pid: int | None = None
    hostname: str | None = None
    gpu_info: JsonObject | list[JsonObject] | None = None
    started_session: str | None = None
    launched_by: str | None = None
    mlflow_run_id: str | None = None

    current_epoch: int | None = None
    total_epochs: int | None = None
    phase: str | None = None
    eta_seconds: float | None = None

    best_checkpoint: Checkpoint | None = None
    last_checkpoint: Checkpoint | None = None
    training_results: TrainingResults | None = None
    error_code: str | None = None
    error_message: str | None = None
    last_successful_epoch: int | None = None
    stopped_at_epoch: int | None = None
    stop: Stop | None = None
    early_stopping: StopDecided | None = None
    """The decision that asked for the stop, where it was one."""
    exit: ProcessExited | None = None
    sessions: dict[str, Session] = Field(default_factory=dict)

    @property
    def exists(self) -> bool:
        return self.created_at is not None

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL
