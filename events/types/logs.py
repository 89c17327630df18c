"""Log lines, in batches."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field, field_validator

from events.types.vocabulary import (
    LOG_LINES_PER_EVENT_MAX,
    LOG_MESSAGE_LENGTH_MAX,
    Fact,
    JsonObject,
    LogLevel,
    LogSource,
)


class LogLine(Fact):
    level: LogLevel
    message: str = Field(max_length=LOG_MESSAGE_LENGTH_MAX)
    timestamp: datetime
    source: LogSource = LogSource.TRAINER
    metadata: JsonObject | None = None

    @field_validator("timestamp")
    @classmethod
    def _aware(cls, timestamp: datetime) -> datetime:
        """A time without a zone is UTC: what many programs write."""
        return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


class LogWritten(Fact):
    lines: list[LogLine] = Field(max_length=LOG_LINES_PER_EVENT_MAX)
