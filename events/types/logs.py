"""Log lines, in batches."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

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


class LogWritten(Fact):
    lines: list[LogLine] = Field(max_length=LOG_LINES_PER_EVENT_MAX)
