"""Words and numbers that several event families share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

EPOCH_MAX: Final = 10_000_000
STEP_MAX: Final = 2**53
"""Largest integer that JSON readers keep exact."""
METRICS_PER_CALL_MAX: Final = 512
METRIC_NAME_LENGTH_MAX: Final = 250
POINTS_PER_EVENT_MAX: Final = 1_000
LOG_LINES_PER_EVENT_MAX: Final = 1_000
LOG_MESSAGE_LENGTH_MAX: Final = 65_536
TEXT_LENGTH_MAX: Final = 4_096


class Fact(BaseModel):
    """Data of an event. Readers ignore fields they do not know, so that a newer writer does not stop them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Phase(StrEnum):
    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class LogSource(StrEnum):
    TRAINER = "trainer"
    SDK = "sdk"
    SYSTEM = "system"


class TaskType(StrEnum):
    DETECTION = "detection"
    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"
    POSE = "pose"


def canonical_task_type(value: object) -> object:
    """DICE writes ``object_detection`` where the API says ``detection``; they mean the same."""
    return "detection" if value == "object_detection" else value


AnyTaskType = Annotated[TaskType, BeforeValidator(canonical_task_type)]


class ErrorCode(StrEnum):
    """Why a run failed. Events hold a plain string, so that a new code needs no new event version."""

    OOM = "OOM"
    DATASET_NOT_FOUND = "DATASET_NOT_FOUND"
    INVALID_CONFIG = "INVALID_CONFIG"
    CHECKPOINT_UPLOAD_FAILED = "CHECKPOINT_UPLOAD_FAILED"
    CHECKPOINT_NOT_USABLE = "CHECKPOINT_NOT_USABLE"
    STORAGE_LIMIT = "STORAGE_LIMIT"
    TIMEOUT = "TIMEOUT"
    USER_STOPPED = "USER_STOPPED"
    PROCESS_DIED = "PROCESS_DIED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """``transient``: the same run may well succeed when it is tried again, so it is, by itself (trainers/launcher)."""

    code: ErrorCode
    transient: bool
    advice: str


ERROR_KINDS: Final[Mapping[str, ErrorKind]] = {
    kind.code: kind
    for kind in (
        #         code                                transient  what to do
        ErrorKind(ErrorCode.OOM, False, "Reduce the batch size or the image size."),
        ErrorKind(
            ErrorCode.DATASET_NOT_FOUND,
            False,
            "Check that the data set is registered and that its storage can be reached.",
        ),
        ErrorKind(
            ErrorCode.INVALID_CONFIG, False, "Correct the values that the message names and create the job again."
        ),
        ErrorKind(ErrorCode.CHECKPOINT_UPLOAD_FAILED, True, "Check the checkpoint storage, then retry."),
        ErrorKind(
            ErrorCode.CHECKPOINT_NOT_USABLE,
            False,
            "The checkpoint to go on from is gone or is not what was uploaded: restore it, or create the job again.",
        ),
        ErrorKind(ErrorCode.TIMEOUT, False, "Check whether the run is stuck, or raise the limit."),
        ErrorKind(ErrorCode.STORAGE_LIMIT, False, "Keep fewer checkpoints and files, or raise the limit, then retry."),
        ErrorKind(ErrorCode.USER_STOPPED, False, "Nothing to do: somebody asked the run to stop."),
        ErrorKind(
            ErrorCode.PROCESS_DIED, True, "The trainer ended without a word; read the last log lines, then retry."
        ),
        ErrorKind(ErrorCode.UNKNOWN, False, "Read the error message and the last log lines."),
    )
}


def is_transient(error_code: str | None) -> bool:
    """Codes that we do not know are none of ours to try again."""
    kind = ERROR_KINDS.get(error_code or "")
    return kind is not None and kind.transient


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NON_FINITE: Final[Mapping[str, float]] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def metric_value(value: object) -> float:
    """A number, or one of the strings "NaN", "Infinity", "-Infinity", as a float.

    Raises ValueError for anything else: a boolean is not a metric, and "1.5" is text.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f'must be a number or one of "NaN", "Infinity", "-Infinity", not {type(value).__name__}')
    if isinstance(value, str):
        if value not in _NON_FINITE:
            raise ValueError(f'must be a number or one of "NaN", "Infinity", "-Infinity", not {value[:40]!r}')
        return _NON_FINITE[value]
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("is too large for a 64-bit float") from error


def number_text(value: float) -> float | str:
    """A float as JSON can carry it: non-finite ones become the strings that metric_value reads."""
    if value == value and value not in (math.inf, -math.inf):
        return value
    return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")


def _metric_name(name: str) -> str:
    if not name or len(name) > METRIC_NAME_LENGTH_MAX:
        raise ValueError(f"a metric's name has 1 to {METRIC_NAME_LENGTH_MAX} characters, this one has {len(name)}")
    if any(character < " " or character == "\x7f" for character in name):
        raise ValueError("a metric's name has no control characters")
    if _SURROGATE.search(name):
        raise ValueError("a metric's name is not valid Unicode")
    return name


def _printable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    return text


MetricName = Annotated[str, AfterValidator(_metric_name)]
METRIC_VALUE_SCHEMA: Final = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
MetricValue = Annotated[
    float,
    BeforeValidator(metric_value),
    PlainSerializer(number_text, return_type=float | str, when_used="json"),
    WithJsonSchema(METRIC_VALUE_SCHEMA),
]
Metrics = Annotated[dict[MetricName, MetricValue], Field(max_length=METRICS_PER_CALL_MAX)]
Text = Annotated[str, AfterValidator(_printable), Field(max_length=TEXT_LENGTH_MAX)]
Epoch = Annotated[int, Field(ge=0, le=EPOCH_MAX, strict=True)]
Step = Annotated[int, Field(ge=0, le=STEP_MAX, strict=True)]
JsonObject = dict[str, Any]


def storable(value: Any) -> Any:
    """``value`` as it is. Raises ValueError for JSON that parses but that Postgres' jsonb or UTF-8 cannot hold."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and "\x00" in item:
            raise ValueError("must not contain the character U+0000, neither in names nor in values")
        if isinstance(item, str) and not item.isascii() and _SURROGATE.search(item):
            raise ValueError("holds text that is not valid Unicode")
        if isinstance(item, int) and not -(2**63) <= item < 2**64:
            raise ValueError("holds an integer of more than 64 bits")
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("holds a number that is not finite")
        if isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple)):
            waiting += item
    return value


StorableObject = Annotated[JsonObject, AfterValidator(storable)]
"""Free JSON of a request. Events have the plain JsonObject: what is in the log is read as it is."""


def _with_text(value: Any) -> Any:
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, Mapping):
        return {key: _with_text(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_with_text(item) for item in value]
    return value


def json_bytes(value: Any) -> bytes:
    """JSON with non-finite floats as strings (orjson alone would write them as null and lose them)."""
    return orjson.dumps(_with_text(value))


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds and a Z: ``2025-11-20T10:30:00.123456Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
