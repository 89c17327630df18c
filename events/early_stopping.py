"""The settings of early stopping, as ``config["early_stopping"]`` of a job gives them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from events.types.vocabulary import EPOCH_MAX, METRIC_NAME_LENGTH_MAX, Epoch, JsonObject, MetricName

METRIC_DEFAULT: Final = "val_loss"
PATIENCE_DEFAULT: Final = 10
LESS_IS_BETTER: Final = ("loss", "error")
"""A metric whose name ends so is minimized, where no mode is given; every other one is maximized."""

Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def _nulls_allowed(schema: JsonObject) -> None:
    """A null is as good as a key that is left out; the defaults that depend on other keys are null."""
    for name, field in schema["properties"].items():
        words = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
        branches = field.pop("anyOf", [dict(field)])
        if {"type": "null"} not in branches:
            branches.append({"type": "null"})
        field.clear()
        field |= {"anyOf": branches, **words, **({"default": None} if name in ("metric", "mode", "patience") else {})}


class EarlyStopping(BaseModel):
    """When the service ends a run by itself: no improvement for too long, the target reached, a loss that diverges."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_nulls_allowed)

    enabled: Annotated[bool, Field(strict=True)] = Field(default=True, description="Whether the service watches it.")
    metric: MetricName = Field(
        default=METRIC_DEFAULT,
        min_length=1,
        max_length=METRIC_NAME_LENGTH_MAX,
        description="The metric that is watched: mAP50, the framework's own name such as metrics/mAP50(B), or either "
        "with its phase, as val/mAP50. Without a phase it is validation's, where there is one. By default the job's "
        f"primary_metric, else {METRIC_DEFAULT}.",
    )
    mode: Literal["max", "min"] = Field(
        default="min",
        description="Whether a larger or a smaller value of it is better. By default min for a name that ends in loss "
        "or error, else max.",
    )
    patience: Annotated[int, Field(ge=1, le=EPOCH_MAX, strict=True)] | None = Field(
        default=None,
        description=f"Epochs without improvement before the stop. By default {PATIENCE_DEFAULT}, or none where a "
        "target is set.",
    )
    min_delta: Annotated[Finite, Field(ge=0)] = Field(
        default=0.0, description="An improvement is one by more than this."
    )
    warmup_epochs: Epoch = Field(
        default=0, description="Epochs at the start that do not count; a loss that is NaN ends the run in them, too."
    )
    target: Finite | None = Field(default=None, description="Stop as soon as the metric is as good as this.")

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        named = {key: value for key, value in given.items() if value is not None}
        less = str(named.get("metric", METRIC_DEFAULT)).endswith(LESS_IS_BETTER)
        defaults: JsonObject = {"mode": "min" if less else "max"}
        if "target" not in named:
            defaults["patience"] = PATIENCE_DEFAULT
        return {**defaults, **named}


OFF: Final = EarlyStopping(enabled=False)


def read_settings(given: JsonObject | None) -> tuple[EarlyStopping, tuple[str, ...]]:
    """The settings, and for each key that makes no sense why it is left out. Never raises.

    The log holds what somebody's trainer sent: only the API can refuse.
    """
    if given is None:
        return OFF, ()
    try:
        return EarlyStopping.model_validate(given), ()
    except ValidationError as error:
        problems = {str(fault["loc"][0]): fault["msg"] for fault in error.errors() if fault["loc"]}
    ignored = tuple(f"{key} is left out: {message}" for key, message in problems.items())
    rest = {key: value for key, value in given.items() if key not in problems}
    # Whether it is wanted at all cannot be known then.
    return OFF if "enabled" in problems else EarlyStopping.model_validate(rest), ignored


def early_stopping_of(config: JsonObject) -> JsonObject | None:
    """What a job's config asks for, with its primary metric where it names no other; None where it asks for nothing."""
    given = config.get("early_stopping")
    if not isinstance(given, dict):
        return None
    primary, mode = config.get("primary_metric"), config.get("primary_metric_mode")
    named = {key: value for key, value in given.items() if value is not None}
    if "metric" in named or not isinstance(primary, str):
        return given
    return {"metric": primary, **({"mode": mode} if mode in ("max", "min") else {}), **named}
