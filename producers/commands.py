"""What may be asked of the service, apart from the trainers' callbacks."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from events.types.datasets import DatasetRegistered
from events.types.vocabulary import JsonObject, StorableObject, TaskType, Text, canonical_task_type
from producers.callbacks import Body
from producers.describe import DescribeJob, Notes, Tags

FRAMEWORK_OF_MODEL: Final = (
    # model name starts with   framework
    ("yolo", "ultralytics"),
    ("rtdetr", "ultralytics"),
)
"""Until a catalogue of registered models knows better."""

CONFIG_ALIASES: Final = {"batch_size": "batch", "learning_rate": "lr0", "image_size": "imgsz"}
CONFIG_KEYS_MAX: Final = 500


class BasicConfig(Body):
    """The parameters that every trainer knows; others in ``config`` are the trainer's to check."""

    imgsz: Annotated[int, Field(ge=8, le=16_384, strict=True)] | None = None
    epochs: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] | None = None
    batch: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    lr0: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] | None = None
    optimizer: Text | None = None
    augment: bool | None = None
    workers: Annotated[int, Field(ge=0, le=1_024, strict=True)] | None = None


def with_canonical_names(config: Any) -> Any:
    """``batch_size`` means ``batch`` and so on; where both stand, the canonical one wins."""
    if not isinstance(config, dict):
        return config
    renamed = {CONFIG_ALIASES[name]: value for name, value in config.items() if name in CONFIG_ALIASES}
    return {**renamed, **{name: value for name, value in config.items() if name not in CONFIG_ALIASES}}


class CreateJob(Body):
    model_name: Annotated[Text, Field(min_length=1, max_length=255)]
    framework: Annotated[Text, Field(min_length=1, max_length=64)] | None = None
    task_type: Annotated[TaskType, BeforeValidator(canonical_task_type)]
    dataset_id: Annotated[int, Field(ge=1, le=2**53, strict=True)]
    config: Annotated[StorableObject, Field(max_length=CONFIG_KEYS_MAX)] = Field(default_factory=dict)
    advanced_config: Annotated[StorableObject, Field(max_length=CONFIG_KEYS_MAX)] | None = None
    name: Text | None = None
    description: Text | None = None
    tags: Tags = Field(default_factory=list)
    notes: Notes | None = None
    launch: bool = True

    @field_validator("config")
    @classmethod
    def _basic_values(cls, config: JsonObject) -> JsonObject:
        BasicConfig.model_validate(with_canonical_names(config))
        inside = config.get("advanced_config")
        if inside is not None and not isinstance(inside, dict):
            raise ValueError("advanced_config must be an object")
        return config

    @model_validator(mode="after")
    def _advanced_once(self) -> Self:
        if self.advanced_config is not None and "advanced_config" in self.config:
            raise ValueError("advanced_config stands beside and inside config; send it once")
        return self

    @property
    def framework_or_guess(self) -> str | None:
        if self.framework is not None:
            return self.framework
        name = self.model_name.lower()
        return next((framework for start, framework in FRAMEWORK_OF_MODEL if name.startswith(start)), None)


class StopJob(Body):
    reason: Text = "the user asked to stop"
    requested_by: Text = "api"


class QueueJob(Body):
    reason: Text


class LaunchJob(Body):
    """The launcher is about to start this attempt; refused when it must not (again)."""

    attempt: int
    launcher: Text
    hostname: Text | None = None
    reason: Text


class RecordStopSignal(Body):
    signal: Text
    reason: Text


class RecordFailure(Body):
    """The launcher could not start the attempt, or knows why it ended."""

    error_code: Text
    error_message: str


class RecordStopped(Body):
    """The launcher knows that a stop came before any process of the attempt was there."""

    reason: Text


class JudgeLost(Body):
    reason: Text
    last_seen: Text | None = None


class JudgeFound(Body):
    reason: Text


class RegisterDataset(Body):
    """A data set that was read and checked; ``dataset_id`` of the description is given when it is accepted."""

    description: DatasetRegistered


Command = (
    CreateJob
    | DescribeJob
    | StopJob
    | QueueJob
    | LaunchJob
    | RecordStopSignal
    | RecordFailure
    | RecordStopped
    | JudgeLost
    | JudgeFound
    | RegisterDataset
)
