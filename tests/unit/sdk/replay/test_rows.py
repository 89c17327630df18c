from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import event as built
from tests.builders import log_written, metrics_reported, session_opened
from tests.builders import wire as wired
from training_sdk.replay import rows
from training_sdk.replay.event import Event, Record, event_of
from training_sdk.replay.rows import EVENT_SCHEMA, LINE_SCHEMA, batches, event_rows, joined, line_rows, point_batch

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def event(data: Any, offset: int = 0, **fields: Any) -> Event:
    message = wired(built(data))
    value = json.loads(message.data)
    value.update(fields)
    return event_of(
        Record(
            topic=message.topic,
            partition=9,
            offset=offset,
            append_time=NOON,
            key=message.key.encode(),
            headers=message.headers(),
            value=json.dumps(value).encode(),
        )
    )


def test_a_point_is_a_row_and_what_was_not_measured_is_none() -> None:
    two = metrics_reported({"loss": [0.5, None], "lr": [float("-inf"), 3]}, first_step=4)
    (batch,) = joined([point_batch(event(two))])
    frame = batch.to_pydict()
    assert list(zip(frame["name"], frame["step"], frame["value"], strict=True)) == [
        ("loss", 4, 0.5),
        ("lr", 4, float("-inf")),
        ("lr", 5, 3.0),
    ]
    assert set(frame["job_id"]) == {25} and set(frame["phase"]) == {"train"} and set(frame["append_time"]) == {NOON}


def test_names_are_those_of_metrics_with_or_without_their_phase() -> None:
    both = event(metrics_reported({"loss": [1.0], "lr": [2.0]}))
    for names in (["lr"], ["train/lr"]):
        assert point_batch(both, names)["name"].to_pylist() == ["lr"]
    assert point_batch(both, ["val/lr"])["name"].to_pylist() == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": [1]}, "column 'steps' has 1 rows, times has 2"),
        ({"steps": [1.5, 2]}, "column 'steps' holds what is no whole number"),
        ({"epochs": None}, "epochs is no list"),
        ({"times": ["noon", 1]}, "times holds what is no number of seconds"),
        ({"times": [1e300, 1]}, "Float value|out of bounds"),
        ({"values": {"loss": [1]}}, "column 'loss' has not the 2 rows"),
        ({"values": {"loss": [True, 1]}}, "value True is no number"),
        ({"values": {"loss": ["1.5", 1]}}, r"value '1\.5' is no number"),
        ({"phase": None}, "phase or values is missing"),
    ],
)
def test_columns_that_make_no_sense_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        point_batch(event(metrics_reported({"loss": [0.5, 0.25]}), **wrong))


def test_a_line_is_a_row() -> None:
    (batch,) = batches([line_rows(event(log_written("first", "second")))], LINE_SCHEMA)
    frame = batch.to_pydict()
    assert frame["message"] == ["first", "second"] and frame["line"] == [0, 1]
    assert frame["time"][0].tzinfo is not None
    with pytest.raises(ValueError, match="message of a line is no text"):
        line_rows(event(log_written(), lines=[{"level": "INFO", "timestamp": "2026-11-24T12:00:00Z"}]))


def test_what_is_no_event_keeps_its_bytes() -> None:
    headers = (("a", b"b"),)
    bad = event_of(
        Record(topic="training.jobs", partition=1, offset=2, append_time=NOON, key=b"x", headers=headers, value=b"?")
    )
    (batch,) = batches(map(event_rows, [bad, event(session_opened())]), EVENT_SCHEMA)
    first, second = batch.to_pylist()
    assert first["problem"] and first["type"] is None and first["data"] is None
    assert (first["key"], first["headers"], first["value"]) == (b"x", [{"name": "a", "value": b"b"}], b"?")
    assert second["problem"] is second["value"] is None and json.loads(second["data"])["sender"] == "sdk"


def test_batches_are_bounded_by_rows_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    ten = [event(log_written("a", "b"), offset) for offset in range(10)]
    monkeypatch.setattr(rows, "BATCH_ROWS_MAX", 6)
    assert [batch.num_rows for batch in batches(map(line_rows, ten), LINE_SCHEMA)] == [6, 6, 6, 2]
    monkeypatch.setattr(rows, "BATCH_BYTES_MAX", 1)
    assert [batch.num_rows for batch in batches(map(line_rows, ten), LINE_SCHEMA)] == [2] * 10
