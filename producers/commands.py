"""What may be asked of the service, apart from the trainers' callbacks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from events.job import StopKind
from events.types.datasets import DatasetRegistered
from events.types.models import ModelRegistered
from events.types.vocabulary import JsonObject, StorableObject, TaskType, Text, canonical_task_type
from producers.callbacks import Body
from producers.describe import DescribeJob, Notes, Tags

FRAMEWORK_OF_MODEL: Final = (
    # model name starts with   framework
    ("yolo", "ultralytics"),
    ("rtdetr", "ultralytics"),
)
"""For models that nobody registered, or that several frameworks offer."""

CONFIG_KEYS_MAX: Final = 500


def framework_of(model_name: str, offered_by: Collection[str]) -> str | None:
    """The framework that is meant where none is named: the only one that offers the model, else by its name; None where
    that does not say it either."""
    if len(offered_by) == 1:
        return next(iter(offered_by))
    name = model_name.lower()
    guess = next((framework for start, framework in FRAMEWORK_OF_MODEL if name.startswith(start)), None)
    return guess if guess in offered_by or not offered_by else None


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
    def _advanced_is_an_object(cls, config: JsonObject) -> JsonObject:
        inside = config.get("advanced_config")
        if inside is not None and not isinstance(inside, dict):
            raise ValueError("advanced_config must be an object")
        return config

    @model_validator(mode="after")
    def _advanced_once(self) -> Self:
        if self.advanced_config is not None and "advanced_config" in self.config:
            raise ValueError("advanced_config stands beside and inside config; send it once")
        return self


class StopJob(Body):
    reason: Text = "the user asked to stop"
    requested_by: Text = "api"


class CancelJob(Body):
    """As a stop, but soon: seconds after it is asked, the process is killed."""

    reason: Text = "the user asked to cancel"
    requested_by: Text = "api"


class PauseJob(Body):
    """The present epoch ends, then the slot is free until somebody resumes."""

    reason: Text = "the user asked to pause"
    requested_by: Text = "api"


class ResumeJob(Body):
    reason: Text = "the user asked to resume"
    requested_by: Text = "api"


class RetryJob(Body):
    """``automatic``: the launcher asks, while retries are left; a client that asks is always one of its own."""

    reason: Text = "the user asked to try again"
    requested_by: Text = "api"
    automatic: bool = False


class DeleteJob(Body):
    """Hide an ended job; what it did is kept until somebody restores or purges it."""

    reason: Text | None = None
    requested_by: Text = "api"


class RestoreJob(Body):
    reason: Text | None = None
    requested_by: Text = "api"


class PurgeJob(Body):
    """Erase a deleted job for good."""

    confirm: Annotated[int, Field(strict=True)] | Text = Field(description="the job's id or name once more")
    reason: Text | None = Field(default=None, description="kept for ever: no place for what is to be erased")
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
    """``kind`` of the request that was passed on: one that came after it was not."""

    kind: StopKind = StopKind.STOP
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


class JudgeGone(Body):
    """No sign of life for so long that nobody waits any more; the trainer's own word still counts when it comes."""

    reason: Text


class RegisterDataset(Body):
    """A data set that was read and checked; ``dataset_id`` of the description is given when it is accepted."""

    description: DatasetRegistered


class RegisterModel(Body):
    """A model that a trainer offers. The same again changes nothing."""

    description: ModelRegistered


Command = (
    CreateJob
    | DescribeJob
    | StopJob
    | CancelJob
    | PauseJob
    | ResumeJob
    | RetryJob
    | DeleteJob
    | RestoreJob
    | PurgeJob
    | QueueJob
    | LaunchJob
    | RecordStopSignal
    | RecordFailure
    | RecordStopped
    | JudgeLost
    | JudgeFound
    | JudgeGone
    | RegisterDataset
    | RegisterModel
)
