"""Data sets that may be trained on."""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import Fact, JsonObject, Text


class AnnotationSummary(Fact):
    file: Text
    classes: list[str]
    total_annotations: int = Field(ge=0)


class Splits(Fact):
    train: int = Field(default=0, ge=0)
    val: int = Field(default=0, ge=0)
    test: int = Field(default=0, ge=0)


class DatasetRegistered(Fact):
    dataset_id: int
    external_id: Text | None = Field(default=None, description="the UUID that DICE gives")
    name: Text
    description: str | None = None
    task_types: list[str]
    total_images: int = Field(ge=0)
    splits: Splits
    annotations: dict[str, AnnotationSummary]
    storage_path: Text
    split_strategy: JsonObject | None = None
    version: int | None = None
    warnings: list[str] = Field(default_factory=list)
