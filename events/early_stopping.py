"""The settings of early stopping, as ``config["early_stopping"]`` of a job gives them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from events.types.vocabulary import EPOCH_MAX, Epoch, JsonObject, MetricName

METRIC_DEFAULT: Final = "val_loss"
PATIENCE_DEFAULT: Final = 10
LESS_IS_BETTER: Final = ("loss", "error")
"""A metric whose name ends so is minimized, where no mode is given; every other one is maximized."""

Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class EarlyStopping(BaseModel):
    """When the server ends a run by itself. A null is as good as a key that is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: Annotated[bool, Field(strict=True, description="false: no rule looks at the run")] = True
    metric: MetricName = Field(
        default=METRIC_DEFAULT,
        description="what is looked at: a canonical name (mAP50), the framework's own (metrics/mAP50(B)), or either "
        "with its phase (val/mAP50); without a phase that of validation, where there is one; the default is the job's "
        "primary_metric, else val_loss",
    )
    mode: Literal["max", "min"] = Field(
        default="min", description="what is better; the default is min for a name that ends in loss or error, else max"
    )
    patience: Annotated[int, Field(ge=1, le=EPOCH_MAX, strict=True)] | None = Field(
        default=None,
        description=f"epochs without a better value; the default is {PATIENCE_DEFAULT}, or none where a target is set",
    )
    min_delta: Annotated[Finite, Field(ge=0)] = Field(
        default=0.0, description="a value counts as better when it is better by more than this"
    )
    warmup_epochs: Epoch = Field(default=0, description="first epochs that are not judged (but for a loss that is NaN)")
    target: Finite | None = Field(default=None, description="the run ends when the metric reaches it")

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
