"""Which part of the log is wanted: checked once, then asked of partitions, days, times, offsets and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Final, Literal

from training_sdk import documents, wire
from training_sdk.replay.event import EPOCH, Record

TOPICS: Final = (*wire.JOB_TOPICS, wire.DATASETS, wire.MODELS, wire.DEAD_LETTER)

Source = Literal["auto", "kafka", "archive"]
SOURCES: Final = ("auto", "kafka", "archive")

Moment = datetime | date | str
OffsetRange = tuple[int | None, int | None]
Offsets = Mapping[str, Mapping[int, OffsetRange]]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """``since`` is inclusive, ``until`` exclusive; both are append times. None and empty ask for everything."""

    topics: tuple[str, ...]
    job_ids: frozenset[int] | None = None
    types: frozenset[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    offsets: Mapping[str, Mapping[int, tuple[int, int | None]]] = field(default_factory=dict)

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic that may hold what is wanted."""
        wanted = set(range(wire.PARTITIONS))
        if self.job_ids is not None:
            wanted &= {wire.partition_of(str(job_id).encode()) for job_id in self.job_ids}
        if topic in self.offsets:
            wanted &= set(self.offsets[topic])
        return sorted(wanted)

    def range_of(self, topic: str, partition: int) -> tuple[int, int | None]:
        """First offset, and the one before which to end (None: wherever the log ends)."""
        return self.offsets.get(topic, {}).get(partition, (0, None))

    def wants_day(self, day: date) -> bool:
        return (self.since is None or day >= self.since.date()) and (
            self.until is None or datetime.combine(day, time.min, UTC) < self.until
        )

    def wants_type(self, wire_name: str) -> bool:
        """``wire_name`` has the version; the types asked for may have one or not."""
        return self.types is None or wire_name in self.types or wire_name.rpartition(".v")[0] in self.types

    def wants_record(self, record: Record) -> bool:
        """Whether a record of a wanted topic is wanted; one that says no type is, whatever the types."""
        if self.keys is not None and record.key not in self.keys:
            return False
        if (self.since is not None and record.append_time < self.since) or (
            self.until is not None and record.append_time >= self.until
        ):
            return False
        start, stop = self.range_of(record.topic, record.partition)
        if record.offset < start or (stop is not None and record.offset >= stop):
            return False
        if self.types is None:
            return True
        # Kafka allows a header without a value.
        name = next((value for name, value in record.headers if name == "ce_type"), None)
        return not name or self.wants_type(name.decode("utf-8", "replace"))

    @cached_property
    def keys(self) -> frozenset[bytes] | None:
        return None if self.job_ids is None else frozenset(str(job_id).encode() for job_id in self.job_ids)


def select(
    topics: str | Iterable[str] | None = None,
    job_ids: int | Iterable[int] | None = None,
    types: str | Iterable[str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    offsets: Offsets | None = None,
) -> Selection:
    """A selection of what was asked for. Raises ValueError naming the argument, its value and what it may be."""
    jobs = None if job_ids is None else frozenset([job_ids] if isinstance(job_ids, int) else job_ids)
    ranges = {
        topic: {number: _offset_range(topic, number, *given) for number, given in of_topic.items()}
        for topic, of_topic in (offsets or {}).items()
    }
    if topics is not None:
        named = tuple(dict.fromkeys([topics] if isinstance(topics, str) else topics))
    elif ranges:
        named = tuple(ranges)
    else:
        named = wire.JOB_TOPICS if jobs is not None else TOPICS
    for topic in (*named, *ranges):
        if topic not in TOPICS:
            raise ValueError(f"topic {topic!r} is not one of {', '.join(TOPICS)}")
        if jobs is not None and topic not in wire.JOB_TOPICS:
            raise ValueError(
                f"topic {topic} is not kept by job; leave out job_ids, or name {', '.join(wire.JOB_TOPICS)}"
            )
    for job_id in jobs or ():
        if isinstance(job_id, bool) or not isinstance(job_id, int) or not 0 <= job_id < 10**18:
            raise ValueError(f"job id {job_id!r} is no whole number from 0 to 10^18")
    return Selection(
        topics=named,
        job_ids=jobs,
        types=_types(types),
        since=None if since is None else moment("since", since),
        until=None if until is None else moment("until", until),
        offsets=ranges,
    )


def moment(name: str, given: Moment) -> datetime:
    """A point in time, in UTC; without a zone it is UTC, a day is its first moment. Raises ValueError."""
    try:
        if isinstance(given, str):
            given = documents.read_time(given.replace("Z", "+00:00"))
        elif not isinstance(given, datetime):
            given = datetime.combine(given, time.min)
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{name} is {given!r}, wanted a time like 2026-11-24, 2026-11-24T10:30:00Z or a datetime"
        ) from error


def milliseconds(of: datetime) -> int:
    """Unix milliseconds, rounded up: the first that is not before ``of``."""
    return -((EPOCH - of) // timedelta(milliseconds=1))


def _types(given: str | Iterable[str] | None) -> frozenset[str] | None:
    if given is None:
        return None
    names = frozenset([given] if isinstance(given, str) else given)
    for name in names:
        if not name.startswith("training."):
            raise ValueError(f"event type {name!r} is none of ours; wanted e.g. 'training.metrics.reported'")
    return names


def _offset_range(topic: str, partition: int, start: int | None, stop: int | None) -> tuple[int, int | None]:
    if not 0 <= partition < wire.PARTITIONS:
        raise ValueError(f"offsets of {topic} name partition {partition}, wanted 0 to {wire.PARTITIONS - 1}")
    first = start or 0
    if first < 0 or (stop is not None and stop < first):
        raise ValueError(
            f"offsets {start} to {stop} of {topic}/{partition} are no range; wanted (first, next) from 0 up"
        )
    return first, stop
