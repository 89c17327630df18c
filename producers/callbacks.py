"""The bodies of the six callbacks: what a trainer reports over HTTP. The request body is the command."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from events.types.jobs import TrainingResults
from events.types.vocabulary import (
    LOG_LINES_PER_EVENT_MAX,
    LOG_MESSAGE_LENGTH_MAX,
    Epoch,
    JsonObject,
    LogLevel,
    LogSource,
    Metrics,
    Phase,
    Step,
    StorableObject,
    Text,
    storable,
)

RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
Bytes = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Body(BaseModel):
    """A request body. Fields that we do not know are ignored, so that newer clients keep working."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def example(body: JsonObject) -> ConfigDict:
    """The design's own sample of a body, for the API's documentation."""
    return ConfigDict(frozen=True, extra="ignore", json_schema_extra={"examples": [body]})


class ReportStarted(Body):
    model_config = example(
        {"pid": 12345, "hostname": "trainer-pod-xyz", "gpu_info": {"name": "NVIDIA RTX 4090", "memory_total_gb": 24}}
    )

    pid: Annotated[int, Field(ge=0, strict=True)] | None = None
    hostname: Text | None = None
    gpu_info: Annotated[JsonObject | list[JsonObject], AfterValidator(storable)] | None = None
    total_epochs: Epoch | None = None


class ReportProgress(Body):
    model_config = example({"epoch": 5, "total_epochs": 100, "phase": "train", "eta_seconds": 7200})

    epoch: Epoch
    total_epochs: Epoch
    phase: Phase = Phase.TRAIN
    eta_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _epoch_in_range(self) -> Self:
        if self.epoch > self.total_epochs:
            raise ValueError(f"epoch {self.epoch} is beyond total_epochs {self.total_epochs}")
        return self


class ReportMetrics(Body):
    model_config = example({"epoch": 5, "step": 250, "phase": "train", "metrics": {"loss": 0.0234, "lr": 0.00987}})

    epoch: Epoch | None = None
    step: Step | None = None
    phase: Phase = Phase.TRAIN
    metrics: Metrics

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.epoch is None and self.step is None:
            raise ValueError("epoch or step is missing: a metric belongs to one of them")
        if not self.metrics:
            raise ValueError("metrics is empty")
        return self


class ReportCheckpoint(Body):
    model_config = example(
        {"epoch": 5, "checkpoint_path": "s3://training-checkpoints/checkpoints/25/best.pt", "is_best": True}
    )

    epoch: Epoch | None = None
    checkpoint_path: Annotated[Text, Field(min_length=1)]
    is_best: bool = False
    metrics: Metrics | None = None
    file_size_bytes: Bytes | None = None


class ReportCompletion(Body):
    model_config = example({"status": "failed", "error_code": "OOM", "error_message": "CUDA out of memory."})

    status: Literal["completed", "failed", "stopped"]
    training_results: TrainingResults | None = None
    best_checkpoint_path: Text | None = None
    final_checkpoint_path: Text | None = None
    error_code: Annotated[Text, Field(min_length=1)] | None = None
    error_message: Annotated[str, Field(max_length=LOG_MESSAGE_LENGTH_MAX)] | None = None
    last_successful_epoch: Epoch | None = None
    stopped_at_epoch: Epoch | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.status == "completed" and self.training_results is None:
            raise ValueError("a completion with status 'completed' needs training_results")
        if self.status == "failed" and (self.error_code is None or self.error_message is None):
            raise ValueError("a completion with status 'failed' needs error_code and error_message")
        return self


class LogEntry(Body):
    """A line. A time without an offset is UTC: it is what trainers that use ``datetime.now()`` in containers send."""

    level: LogLevel = LogLevel.INFO
    message: Annotated[str, Field(max_length=LOG_MESSAGE_LENGTH_MAX)]
    timestamp: datetime | None = None
    source: LogSource = LogSource.TRAINER
    metadata: StorableObject | None = None

    @field_validator("message")
    @classmethod
    def _printable(cls, message: str) -> str:
        if "\x00" in message:
            raise ValueError("must not contain the character U+0000")
        return message

    @field_validator("timestamp", mode="before")
    @classmethod
    def _is_a_time(cls, value: Any) -> Any:
        # Before pydantic, which would read "123" as seconds since 1970 and a date as its midnight.
        if value is None or isinstance(value, datetime):
            return value
        if not isinstance(value, str) or not RFC_3339.match(value):
            raise ValueError("must be an RFC 3339 time such as 2025-11-20T10:35:00.123Z")
        return value

    @field_validator("timestamp")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("lies outside of the years 1 to 9999") from error


class ReportLogs(Body):
    """One line as the body itself, or many under ``logs``. A batch with a bad line is refused whole."""

    model_config = example(
        {"level": "INFO", "message": "Starting epoch 5/100", "timestamp": "2025-11-20T10:35:00.123Z"}
    )

    logs: Annotated[list[LogEntry], Field(min_length=1, max_length=LOG_LINES_PER_EVENT_MAX)]

    @model_validator(mode="before")
    @classmethod
    def _single_line(cls, value: Any) -> Any:
        if isinstance(value, dict) and "logs" not in value:
            return {"logs": [value]}
        return value


Callback = ReportStarted | ReportProgress | ReportMetrics | ReportCheckpoint | ReportCompletion | ReportLogs
