"""Metrics travel in columns: one event holds up to some hundreds of points."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from events.types.vocabulary import (
    METRIC_VALUE_SCHEMA,
    METRICS_PER_CALL_MAX,
    POINTS_PER_EVENT_MAX,
    Epoch,
    Fact,
    MetricName,
    Step,
    Text,
    metric_value,
    number_text,
)


def _column(values: object) -> list[float | None]:
    if not isinstance(values, list):
        raise ValueError("a column is a list")
    if set(map(type, values)) == {float}:
        return values  # nearly every column: a look at the types alone, because there are millions of values
    return [None if value is None else metric_value(value) for value in values]


def _column_text(values: list[float | None]) -> list[float | str | None]:
    return [None if value is None else number_text(value) for value in values]


MetricColumn = Annotated[
    list[float | None],
    BeforeValidator(_column),
    PlainSerializer(_column_text, return_type=list[float | str | None], when_used="json"),
    WithJsonSchema({"type": "array", "items": {"anyOf": [*METRIC_VALUE_SCHEMA["anyOf"], {"type": "null"}]}}),
]


class MetricsReported(Fact):
    """One phase, one row per reporting call. All columns have the same length.

    A step of null is a report made for the epoch as a whole; a value of null means that the call did not have that
    metric.
    """

    phase: Text
    steps: list[Step | None] = Field(max_length=POINTS_PER_EVENT_MAX)
    epochs: list[Epoch | None] = Field(max_length=POINTS_PER_EVENT_MAX)
    times: list[float] = Field(max_length=POINTS_PER_EVENT_MAX, description="Unix seconds at which the call was made")
    values: dict[MetricName, MetricColumn] = Field(max_length=METRICS_PER_CALL_MAX)

    @model_validator(mode="after")
    def _columns_match(self) -> Self:
        rows = len(self.times)
        lengths = {"steps": len(self.steps), "epochs": len(self.epochs)}
        lengths.update({name: len(column) for name, column in self.values.items()})
        for name, length in lengths.items():
            if length != rows:
                raise ValueError(f"column {name!r} has {length} rows, times has {rows}")
        return self
