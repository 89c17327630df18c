"""A job that nobody wants to see any more: hidden, shown again."""

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
