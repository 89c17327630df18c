"""An event as replay hands it out, and how a record of the log becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from training_sdk import documents, upcasters, wire

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
JOB_ID_DIGITS_MAX: Final = 18
INT32_MAX: Final = 2**31 - 1
BLOCK: Final = 4_096


class MalformedRecord(ValueError):
    """A record of the log that is no event; the message says where it stands and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What stands in the log. ``topic`` is the logical name, ``append_time`` the broker's."""

    topic: str
    partition: int
    offset: int
    append_time: datetime
    key: bytes | None
    headers: Sequence[tuple[str, bytes]]
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event, with its place in the log. Of a record that is no event, all but place and ``record`` is None.

    ``time`` is when it happened (the sender's clock), ``append_time`` when the broker took it. ``version`` is the one
    that was written; ``data`` are those of the newest version. ``problem`` says why a record is no event.
    """

    record: Record
    id: str | None = None
    type: str | None = None
    version: int | None = None
    job_id: int | None = None
    session: str | None = None
    seq: int | None = None
    attempt: int | None = None
    rank: int | None = None
    time: datetime | None = None
    source: str | None = None
    data: dict[str, Any] | None = None
    problem: str | None = None

    @property
    def topic(self) -> str:
        return self.record.topic

    @property
    def partition(self) -> int:
        return self.record.partition

    @property
    def offset(self) -> int:
        return self.record.offset

    @property
    def append_time(self) -> datetime:
        return self.record.append_time

    @property
    def wire_name(self) -> str | None:
        """The type with its version, as it was written: ``training.metrics.reported.v1``."""
        return None if self.type is None else f"{self.type}.v{self.version}"


def append_time(timestamp_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=timestamp_ms)


def event_of(record: Record) -> Event:
    """The record as an event; what is wrong with one that is none stands in ``problem``. Never raises.

    A type that this version of the SDK does not know is an event, too: its data are as they were written.
    """
    try:
        message = wire.wire_event(record.topic, record.key, record.headers, record.value)
        name, version = split_type(message.type)
        job_id = _job_id(message)
        time = _time(message)
        data = _data(message)
        if max(message.attempt, message.rank) > INT32_MAX:
            raise ValueError(f"attempt {message.attempt}, rank {message.rank}: one of them is out of range")
    except ValueError as error:
        return Event(record=record, problem=str(error))
    return Event(
        record=record,
        id=message.id,
        type=name,
        version=version,
        job_id=job_id,
        session=message.session,
        seq=message.seq,
        attempt=message.attempt,
        rank=message.rank,
        time=time,
        source=message.source,
        data=data,
    )


def split_type(type_name: str) -> tuple[str, int]:
    """Name and version of ``training.log.written.v1``. Raises ValueError."""
    name, separator, version = type_name.rpartition(".v")
    if not (separator and name and version.isascii() and version.isdigit() and len(version) <= 6):
        raise ValueError(f"event type {type_name[:120]!r} names no version; wanted e.g. 'training.log.written.v1'")
    return name, int(version)


def is_job_id(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= JOB_ID_DIGITS_MAX


def _job_id(message: wire.WireEvent) -> int | None:
    if message.topic not in wire.JOB_TOPICS:
        return None
    if not is_job_id(message.key):
        raise ValueError(f"key {message.key[:60]!r} of topic {message.topic} is not a job id")
    return int(message.key)


def _time(message: wire.WireEvent) -> datetime:
    try:
        return documents.read_time(message.time)
    except ValueError as error:
        raise ValueError(f"ce_time {message.time[:60]!r} is not RFC 3339") from error


def _data(message: wire.WireEvent) -> dict[str, Any]:
    try:
        document = documents.read_json(message.data, message.topic)
    except ValueError as error:
        raise ValueError(f"the value is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"data of {message.type[:120]} is no JSON object")
    return upcasters.newest(message.type, document)


class Seen:
    """The numbers seen of each session and topic: one bit a number, whatever is left out between them.

    The same rule as the service's session marks. Those keep gaps and give up at a thousand, which suits a log that is
    read whole; a reader that asks for one type of event sees gaps everywhere.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, str], dict[int, int]] = {}

    def is_new(self, session: str, topic: str, seq: int) -> bool:
        """Whether this number comes for the first time, which it then has."""
        blocks = self._blocks.setdefault((session, topic), {})
        number, bit = divmod(seq, BLOCK)
        seen = blocks.get(number, 0)
        if seen >> bit & 1:
            return False
        blocks[number] = seen | 1 << bit
        return True
