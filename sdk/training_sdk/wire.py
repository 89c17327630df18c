"""The protocol of the log: names of topics and event types, message headers, partition of a key.

Standard library only, because everybody imports it: the SDK that writes, `events/` that types, the replay that reads.
A record is a CloudEvents 1.0 event in the Kafka protocol binding's binary content mode: attributes are headers with the
prefix ``ce_``, the value is the JSON data and nothing else, the key is the job id (or data set id) in decimal digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PARTITIONS: Final = 12
"""Partitions of every topic, for ever: another number would move every key to another partition."""

JOBS: Final = "training.jobs"
METRICS: Final = "training.metrics"
LOGS: Final = "training.logs"
SYSTEM: Final = "training.system"
DATASETS: Final = "training.datasets"
MODELS: Final = "training.models"
DEAD_LETTER: Final = "training.deadletter"

JOB_TOPICS: Final = (JOBS, METRICS, LOGS, SYSTEM)
"""The topics that a trainer's session writes."""

SPEC_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/json"
REDRIVEN_FROM: Final = "ce_redrivenfrom"
"""Header of a record that an operator sent again: ``topic/partition/offset`` of the dead letter it is a copy of."""

SESSION_OPENED: Final = "training.session.opened.v2"
SESSION_CLOSED: Final = "training.session.closed.v1"
EVENTS_DROPPED: Final = "training.events.dropped.v1"
JOB_STARTED: Final = "training.job.started.v1"
PROGRESS_REPORTED: Final = "training.progress.reported.v1"
ARTIFACT_SAVED: Final = "training.artifact.saved.v1"
CHECKPOINT_SAVED: Final = "training.checkpoint.saved.v2"
JOB_COMPLETED: Final = "training.job.completed.v1"
JOB_FAILED: Final = "training.job.failed.v1"
JOB_STOPPED: Final = "training.job.stopped.v1"
PROCESS_EXITED: Final = "training.process.exited.v1"
LIMIT_EXCEEDED: Final = "training.limit.exceeded.v1"
METRICS_REPORTED: Final = "training.metrics.reported.v1"
LOG_WRITTEN: Final = "training.log.written.v1"
HEARTBEAT_SENT: Final = "training.heartbeat.sent.v1"
SYSTEM_SAMPLED: Final = "training.system.sampled.v1"

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_SOURCES: Final = ("trainer", "sdk", "system")
PHASES: Final = ("train", "val", "test")
ARTIFACT_KINDS: Final = ("plot", "prediction", "model", "file")
ERROR_CODES: Final = (
    "OOM",
    "DATASET_NOT_FOUND",
    "INVALID_CONFIG",
    "CHECKPOINT_UPLOAD_FAILED",
    "CHECKPOINT_NOT_USABLE",
    "STORAGE_LIMIT",
    "TIMEOUT",
    "USER_STOPPED",
    "PROCESS_DIED",
    "UNKNOWN",
)

RECORD_BYTES_MAX: Final = 1_000_000
"""Largest value of a record; the broker's default ``message.max.bytes`` is a little above it."""

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireEvent:
    """One event as it travels: the envelope's attributes and the encoded data.

    ``session`` is one sender process of one job, attempt and rank; ``seq`` counts up from 1 per session and topic, so
    ``id`` is the same however often the event is sent again. ``time`` is RFC 3339 in UTC.
    """

    topic: str
    key: str
    type: str
    time: str
    source: str
    attempt: int
    rank: int
    session: str
    seq: int
    data: bytes

    @property
    def id(self) -> str:
        return event_id(self.session, self.topic, self.seq)

    def headers(self) -> Headers:
        return [
            ("ce_specversion", SPEC_VERSION.encode()),
            ("ce_id", self.id.encode()),
            ("ce_source", self.source.encode()),
            ("ce_type", self.type.encode()),
            ("ce_time", self.time.encode()),
            ("ce_subject", self.key.encode()),
            ("content-type", CONTENT_TYPE.encode()),
            ("ce_attempt", str(self.attempt).encode()),
            ("ce_rank", str(self.rank).encode()),
            ("ce_session", self.session.encode()),
            ("ce_seq", str(self.seq).encode()),
        ]


class MalformedHeaders(ValueError):
    """The record's headers are not those of an event of ours."""


def event_id(session: str, topic: str, seq: int) -> str:
    return f"{session}:{topic}:{seq}"


def wire_event(topic: str, key: bytes | None, headers: Iterable[tuple[str, bytes]], value: bytes | None) -> WireEvent:
    """Read a record back. ``topic`` is the logical name.

    Raises MalformedHeaders with the name of the attribute that is missing or wrong.
    """
    if key is None:
        raise MalformedHeaders("the record has no key; the key is the job id")
    if value is None:
        raise MalformedHeaders("the record has no value (a tombstone); the value is the JSON data")
    found: dict[str, str] = {}
    try:
        for name, raw in headers:
            # Kafka allows a header without a value; it says as much as none.
            found[name] = (raw or b"").decode("utf-8")
        key_text = key.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedHeaders(f"key or header is not text: {error}") from error

    def text(name: str) -> str:
        if not found.get(name):
            raise MalformedHeaders(f"header {name} is missing")
        return found[name]

    def number(name: str, smallest: int) -> int:
        raw = text(name)
        if not (raw.isascii() and raw.isdigit() and len(raw) <= 18) or int(raw) < smallest:
            raise MalformedHeaders(f"header {name} is {raw[:40]!r}, wanted an integer of at least {smallest}")
        return int(raw)

    if text("ce_specversion") != SPEC_VERSION:
        raise MalformedHeaders(f"header ce_specversion is {found['ce_specversion'][:40]!r}, wanted {SPEC_VERSION!r}")
    event = WireEvent(
        topic=topic,
        key=key_text,
        type=text("ce_type"),
        time=text("ce_time"),
        source=text("ce_source"),
        attempt=number("ce_attempt", 0),
        rank=number("ce_rank", 0),
        session=text("ce_session"),
        seq=number("ce_seq", 1),
        data=value,
    )
    if text("ce_id") != event.id:
        raise MalformedHeaders(f"header ce_id is {found['ce_id'][:80]!r}, wanted {event.id!r}")
    if text("ce_subject") != key_text:
        raise MalformedHeaders(f"header ce_subject is {found['ce_subject'][:40]!r} but the key is {key_text[:40]!r}")
    return event


def partition_of(key: bytes, partitions: int = PARTITIONS) -> int:
    """The partition that Kafka's own default partitioner gives a key: murmur2, made positive, modulo partitions.

    Formula and seed: ``org.apache.kafka.common.utils.Utils.murmur2``. Computed here so that no client library's
    default decides where a job's events lie.
    """
    mask = 0xFFFFFFFF
    multiplier, rotate = 0x5BD1E995, 24
    length = len(key)
    state = (0x9747B28C ^ length) & mask
    for start in range(0, length - length % 4, 4):
        block = int.from_bytes(key[start : start + 4], "little")
        block = (block * multiplier) & mask
        block ^= block >> rotate
        block = (block * multiplier) & mask
        state = ((state * multiplier) & mask) ^ block
    tail = key[length - length % 4 :]
    if tail:
        state ^= int.from_bytes(tail, "little")
        state = (state * multiplier) & mask
    state ^= state >> 13
    state = (state * multiplier) & mask
    state ^= state >> 15
    return (state & 0x7FFFFFFF) % partitions
