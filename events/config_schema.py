"""What a job's configuration may hold: the platform's own keys, and how a trainer's JSON Schema is completed by them.

A schema describes ``{"config": {...}, "advanced_config": {...}}``, the two parts of a job as its creator sends them.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from events.early_stopping import EarlyStopping
from events.types.vocabulary import JsonObject

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PARTS: Final = ("config", "advanced_config")
Mode = Literal["min", "max"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Limits(BaseModel):
    """What a run may use; beyond it, it is stopped."""

    model_config = ConfigDict(extra="forbid")

    max_seconds: Finite | None = Field(default=None, gt=0, description="Seconds of training.")
    max_memory_bytes: int | None = Field(default=None, ge=1, description="Bytes of memory of the run's processes.")
    max_storage_bytes: int | None = Field(default=None, ge=1, description="Bytes of the run's folder and checkpoints.")


class PlatformConfig(BaseModel):
    """Keys of ``config`` that the platform itself reads; trainers leave them alone."""

    early_stopping: EarlyStopping | None = Field(default=None, description="Early stopping by the service.")
    limits: Limits | None = Field(default=None, description="Limits of the run.")
    max_retries: int = Field(default=3, ge=0, le=10, description="New attempts after a transient failure.")
    split_strategy: JsonObject | None = Field(
        default=None, description="How pictures without a split are divided: ratio, stratified or k-fold, by a seed."
    )
    primary_metric: str | None = Field(default=None, max_length=250, description="The metric that the best epoch has.")
    primary_metric_mode: Mode = Field(default="max", description="Whether a larger or a smaller value of it is better.")
    custom_prompts: list[str] | None = Field(default=None, description="Prompts of models that take any.")
    augmentation: JsonObject | None = Field(default=None, description="Free settings for trainers that read them.")


PLATFORM_KEYS: Final = frozenset(PlatformConfig.model_fields)


class GeneralConfig(BaseModel):
    """Parameters that every trainer knows, as far as they can be judged without knowing the trainer."""

    imgsz: int | None = Field(default=None, ge=8, le=16_384)
    epochs: int | None = Field(default=None, ge=1, le=10_000_000)
    batch: int | None = Field(default=None, ge=1, le=1_000_000)
    lr0: Finite | None = Field(default=None, gt=0, le=1_000)
    optimizer: str | None = Field(default=None, max_length=250)
    augment: bool | None = None
    workers: int | None = Field(default=None, ge=0, le=1_024)


def schema_of(title: str, config: type[BaseModel], advanced: type[BaseModel]) -> JsonObject:
    """One JSON Schema of both parts, from their pydantic models."""
    schema: JsonObject = {"$schema": DIALECT, "title": title, "type": "object", "properties": {}}
    definitions: JsonObject = {}
    for part, kind in zip(PARTS, (config, advanced), strict=True):
        found = kind.model_json_schema()
        definitions |= found.pop("$defs", {})
        schema["properties"][part] = found
    schema["additionalProperties"] = False
    if definitions:
        schema["$defs"] = definitions
    return schema


class _Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


def with_platform_keys(schema: JsonObject) -> JsonObject:
    """A trainer's schema that also knows the platform's keys. The platform's word on its own keys counts."""
    whole = copy.deepcopy(schema)
    ours = _platform_schema()
    part = whole.setdefault("properties", {}).setdefault("config", {"type": "object"})
    part["properties"] = {**part.get("properties", {}), **ours["properties"]["config"]["properties"]}
    whole["$defs"] = {**whole.get("$defs", {}), **ours["$defs"]}
    return whole


@cache
def _platform_schema() -> JsonObject:
    return schema_of("platform", PlatformConfig, _Anything)


@cache
def general_schema() -> JsonObject:
    """For a model that nobody registered: the common parameters and the platform's keys; others may be anything."""
    return with_platform_keys(schema_of("any trainer", GeneralConfig, _Anything))


def default_values(schema: JsonObject, part: str) -> dict[str, Any]:
    """What a part's parameters are when nobody gives them."""
    properties = schema.get("properties", {}).get(part, {}).get("properties", {})
    return {name: value["default"] for name, value in properties.items() if "default" in value}
