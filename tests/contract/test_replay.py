"""The SDK reads what is in the log as the service does: every version, every sender's number, every odd byte."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.codec import MalformedEvent, decode
from events.dedupe import SessionMarks
from events.envelope import Record
from events.registry import EVENT_TYPES, EventType
from events.topics import TOPIC_NAMES
from tests.contract.test_events import every_type, golden_record
from training_sdk import upcasters
from training_sdk.replay import Event
from training_sdk.replay import Record as ReplayRecord
from training_sdk.replay.event import Seen, event_of
from training_sdk.replay.selection import TOPICS


def replayed(record: Record) -> Event:
    return event_of(
        ReplayRecord(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            append_time=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
            key=record.key,
            headers=record.headers,
            value=record.value,
        )
    )


def assert_same(record: Record, model: EventType) -> None:
    ours, theirs = replayed(record), decode(record)
    assert ours.problem is None
    assert model.model.model_validate(ours.data) == theirs.data
    assert ours.job_id == (theirs.job_id if theirs.topic in TOPIC_NAMES[:4] else None)
    assert ours.append_time == theirs.append_time and ours.wire_name == theirs.type
    for name in ("session", "seq", "attempt", "rank", "time", "source"):
        assert getattr(ours, name) == getattr(theirs, name), name


@every_type
def test_every_version_there_ever_was_reads_as_in_the_service(event_type: EventType) -> None:
    assert_same(golden_record(event_type), event_type)


@every_type
def test_odd_text_reads_as_in_the_service(event_type: EventType) -> None:
    record = golden_record(event_type)
    assert record.value is not None
    more = b'{"new": "a\\u0000b"' + (b"}" if record.value == b"{}" else b", ")
    odd = more if record.value == b"{}" else more + record.value[1:]
    assert_same(replace(record, value=odd), event_type)
    event = replayed(replace(record, value=odd))
    assert event.data is not None and event.data["new"] == "a\ufffdb"


def test_a_bare_nan_in_metrics_reads_as_in_the_service() -> None:
    event_type = next(kind for kind in EVENT_TYPES if kind.name == "training.metrics.reported")
    record = golden_record(event_type)
    value = b'{"phase": "train", "steps": [1], "epochs": [1], "times": [1.5], "values": {"loss": [NaN]}}'
    theirs, ours = decode(replace(record, value=value)).data, replayed(replace(record, value=value)).data
    assert ours is not None and ours["values"] == {"loss": ["NaN"]}
    assert str(event_type.model.model_validate(ours)) == str(theirs)


@pytest.mark.parametrize(
    "broken",
    [
        {"headers": []},
        {"key": None},
        {"key": b"\xff"},
        {"key": b"26"},
        {"value": None},
        {"value": b"{"},
        {"value": b"[1]"},
        {"value": b'{"epoch": NaN}'},
    ],
    ids=str,
)
def test_what_the_service_cannot_read_the_sdk_names_too(broken: dict[str, Any]) -> None:
    record = replace(golden_record(next(kind for kind in EVENT_TYPES if kind.topics == ("training.jobs",))), **broken)
    with pytest.raises(MalformedEvent):
        decode(record)
    event = replayed(record)
    assert event.problem and event.type is None and event.data is None
    assert (event.record.key, event.record.value) == (record.key, record.value)


def test_the_steps_between_versions_are_those_of_the_registry() -> None:
    assert {kind.wire_name: kind.step for kind in EVENT_TYPES if kind.step} == upcasters.STEPS


def test_the_topics_are_those_of_the_service() -> None:
    assert set(TOPICS) == set(TOPIC_NAMES)


@given(st.lists(st.integers(1, 40) | st.integers(4090, 4100), max_size=200))
def test_a_number_counts_once_by_the_rule_of_the_service(numbers: list[int]) -> None:
    marks, seen = SessionMarks(), Seen()
    for number in numbers:
        marks, new = marks.accept(number)
        assert seen.is_new("session", "training.logs", number) == new
