"""What a job is: the state that is folded from its events (events/evolution.py)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from events.lifecycle import TERMINAL, JobState
from events.types.jobs import ProcessExited, StopDecided, TrainingResults
from events.types.requests import LimitExceeded
from events.types.vocabulary import JsonObject, is_transient

REPORT: Final = "report"
EXIT: Final = "exit"
EARLY_STOPPING: Final = "early-stopping"
"""Who asked, where a rule of early stopping decided."""
RETRIES_DEFAULT: Final = 3


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


class StopKind(StrEnum):
    PAUSE = "pause"
    STOP = "stop"
    LIMIT = "limit"
    CANCEL = "cancel"


class Stop(BaseModel):
    """Somebody asked the present attempt to end. ``signalled_at``: its process was told."""

    model_config = ConfigDict(frozen=True)

    kind: StopKind = StopKind.STOP
    requested_by: str
    reason: str
    requested_at: datetime
    signalled_at: datetime | None = None


class Revival(BaseModel):
    """Somebody asked for another attempt, after ``after_attempt``."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """``resume`` or ``retry``."""
    requested_by: str
    reason: str
    requested_at: datetime
    after_attempt: int


class Deletion(BaseModel):
    """Somebody deleted the job, and nobody restored it since."""

    model_config = ConfigDict(frozen=True)

    requested_by: str
    reason: str | None = None
    deleted_at: datetime


class Purge(BaseModel):
    """Everything about the job was erased, or is about to be, except this."""

    model_config = ConfigDict(frozen=True)

    requested_by: str
    reason: str | None = None
    purged_at: datetime


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
    resume_checkpoint: Checkpoint | None = None
    """The newest that a later attempt can go on from."""
    training_results: TrainingResults | None = None
    error_code: str | None = None
    error_message: str | None = None
    last_successful_epoch: int | None = None
    stopped_at_epoch: int | None = None
    stop: Stop | None = None
    early_stopping: StopDecided | None = None
    """The decision that asked for the stop, where it was one."""
    lost_at: datetime | None = None
    """When it was last judged to be lost."""
    limit: LimitExceeded | None = None
    """What the present attempt used more of than it may."""
    revival: Revival | None = None
    """What the latest attempt, or the next one, is for; None for the first."""
    retries: int = 0
    """That the launcher asked for by itself, since somebody last did."""
    exit: ProcessExited | None = None
    sessions: dict[str, Session] = Field(default_factory=dict)
    deletion: Deletion | None = None
    """Where it is deleted: hidden from lists, and nothing may be asked of it."""
    purge: Purge | None = None
    """Where it is purged: a stub of which nothing else is known, whatever comes after."""

    @property
    def exists(self) -> bool:
        return self.created_at is not None

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    @property
    def max_retries(self) -> int:
        wanted = self.config.get("max_retries")
        return wanted if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted >= 0 else RETRIES_DEFAULT

    @property
    def can_retry_by_itself(self) -> bool:
        """Whether it failed of a transient cause, and the launcher has retries left for it."""
        may_be_gone = self.state is JobState.FAILED and is_transient(self.error_code)
        return may_be_gone and self.launch and self.retries < self.max_retries

    @property
    def awaits_retry(self) -> bool:
        """Whether the launcher tries again by itself: it can, nobody asked for the end, and nobody deleted it."""
        return self.can_retry_by_itself and self.stop is None and self.deletion is None
