"""An event in memory: the envelope's attributes beside typed data, and where in the log it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from events.types.vocabulary import Fact

Data = TypeVar("Data", bound=Fact, covariant=True)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the log. ``topic`` is the logical name."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a Kafka client hands over. ``timestamp_ms`` is the broker's append time."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: Sequence[tuple[str, bytes]]
    value: bytes | None

    @property
    def position(self) -> Position:
        return Position(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[Data]):
    """``time`` is when it happened (the sender's clock), ``append_time`` when the broker took it.

    ``position`` and ``append_time`` are None for an event that waits in the outbox.
    """

    topic: str
    key: str
    type: str
    time: datetime
    source: str
    attempt: int
    rank: int
    session: str
    seq: int | None
    data: Data
    position: Position | None = None
    append_time: datetime | None = None

    @property
    def job_id(self) -> int:
        return int(self.key)
