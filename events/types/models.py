"""Models that a trainer offers, and what operators did with dead letters."""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import Fact, JsonObject, Text


class ModelRegistered(Fact):
    name: Text
    framework: Text
    task_types: list[str]
    description: str | None = None
    capability: JsonObject = Field(default_factory=dict)


class DeadLetterRedriven(Fact):
    projection: Text
    topic: Text
    partition: int
    offset: int
    reason: Text
    by: Text


class DeadLetterDiscarded(DeadLetterRedriven):
    pass
