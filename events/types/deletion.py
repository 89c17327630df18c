"""A job that nobody wants to see any more: hidden, shown again, erased."""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import Fact, Text


class JobDeleted(Fact):
    """Hidden from lists, and nothing may be asked of it. Everything is kept until it is restored or purged."""

    requested_by: Text
    reason: Text | None = Field(default=None, description="for people")


class JobRestored(Fact):
    requested_by: Text
    reason: Text | None = Field(default=None, description="for people")


class JobPurged(Fact):
    """Everything about the job is to be erased but this. Stands on every topic that may hold something of it."""

    requested_by: Text
    reason: Text | None = Field(default=None, description="kept for ever: no place for what is to be erased")
