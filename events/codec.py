"""Bytes to events and back. What cannot be read is named, never guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import orjson
from pydantic import ValidationError

from events.envelope import Event, Record
from events.registry import BY_WIRE_NAME, event_type_of
from events.types.vocabulary import Fact, utc_text
from training_sdk import documents, upcasters, wire

DIGITS_MAX: Final = 18


class MalformedEvent(ValueError):
    """A record that is no event of ours; ``str()`` says why."""


def data_bytes(data: Fact) -> bytes:
    """The JSON that travels as a record's value: fields that are None are left out."""
    return orjson.dumps(data.model_dump(mode="json", exclude_none=True))


def encode(event: Event[Fact]) -> wire.WireEvent:
    """An event, ready to be sent. Raises ValueError when it has no seq yet."""
    if event.seq is None:
        raise ValueError(f"event {event.type} of session {event.session} has no seq; the sender gives it")
    return wire.WireEvent(
        topic=event.topic,
        key=event.key,
        type=event.type,
        time=utc_text(event.time),
        source=event.source,
        attempt=event.attempt,
        rank=event.rank,
        session=event.session,
        seq=event.seq,
        data=data_bytes(event.data),
    )


def wire_name(data: Fact) -> str:
    return event_type_of(type(data)).wire_name


def parse_data(type_name: str, topic: str, value: bytes) -> Fact:
    """The typed data of an event, of whatever version. Raises MalformedEvent."""
    event_type = BY_WIRE_NAME.get(type_name)
    if event_type is None:
        raise MalformedEvent(f"event type {type_name[:120]!r} is not known")
    if topic not in event_type.topics:
        raise MalformedEvent(f"event type {type_name} does not belong on topic {topic}")
    try:
        document = documents.read_json(value, topic)
    except ValueError as error:
        raise MalformedEvent(f"the value is not JSON: {error}") from error
    # What is no object is refused by the model.
    newest = upcasters.newest(type_name, document) if isinstance(document, dict) else document
    try:
        return event_type.model.model_validate(newest)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'data'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)[:5]
        )
        raise MalformedEvent(f"data of {type_name} is not valid: {problems}") from error


def parse_time(text: str) -> datetime:
    """RFC 3339 to an aware datetime. Raises MalformedEvent."""
    try:
        return documents.read_time(text)
    except ValueError as error:
        raise MalformedEvent(f"ce_time {text[:60]!r} is not RFC 3339") from error


def from_wire(message: wire.WireEvent) -> Event[Fact]:
    """A wire event with typed data. Raises MalformedEvent."""
    if message.topic in wire.JOB_TOPICS and not (
        message.key.isascii() and message.key.isdigit() and len(message.key) <= DIGITS_MAX
    ):
        raise MalformedEvent(f"key {message.key[:60]!r} of topic {message.topic} is not a job id")
    return Event(
        topic=message.topic,
        key=message.key,
        type=message.type,
        time=parse_time(message.time),
        source=message.source,
        attempt=message.attempt,
        rank=message.rank,
        session=message.session,
        seq=message.seq,
        data=parse_data(message.type, message.topic, message.data),
    )


def decode(record: Record) -> Event[Fact]:
    """A record of the log as an event with its position. Raises MalformedEvent."""
    try:
        message = wire.wire_event(record.topic, record.key, record.headers, record.value)
    except wire.MalformedHeaders as error:
        raise MalformedEvent(str(error)) from error
    event = from_wire(message)
    return Event(
        topic=event.topic,
        key=event.key,
        type=event.type,
        time=event.time,
        source=event.source,
        attempt=event.attempt,
        rank=event.rank,
        session=event.session,
        seq=event.seq,
        data=event.data,
        position=record.position,
        append_time=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
    )
