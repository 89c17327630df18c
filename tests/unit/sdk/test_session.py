from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from training_sdk import encoding, wire
from training_sdk.delivery.packer import Draft
from training_sdk.delivery.ring import LIFECYCLE, LOG, METRIC
from training_sdk.delivery.session import About, Session, SessionInUse
from training_sdk.wire import WireEvent


def about(**changes: Any) -> About:
    given: dict[str, Any] = {
        "job_id": 25,
        "attempt": 2,
        "rank": 0,
        "session": "abc",
        "source": "test",
        "opened": {"sender": "sdk", "total_epochs": 5},
        "pid": os.getpid(),
        "created": 1.0,
    }
    return About(**{**given, **changes})


def metrics(step: int) -> bytes:
    return encoding.metrics_call(1, "train", {"loss": 0.5}, step, encoding.Tensors())


def lifecycle(name: str, **data: Any) -> bytes:
    return encoding.event_call(wire.JOBS, name, data)


def spooled(session: Session) -> list[WireEvent]:
    unsent = session.spool.unsent(bytes_max=2**40, events_max=10**9)
    return [] if unsent is None else unsent.events


def pump_all(session: Session, **options: Any) -> None:
    while session.pump(**options):
        continue


def test_the_first_event_of_every_topic_is_session_opened(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about())
    session.post(metrics(0), METRIC)
    session.post(lifecycle(wire.JOB_STARTED, pid=1), LIFECYCLE)
    pump_all(session)
    session.close_events("sdk")
    events = spooled(session)
    for topic in (wire.METRICS, wire.JOBS):
        of_topic = [event for event in events if event.topic == topic]
        assert of_topic[0].type == wire.SESSION_OPENED and of_topic[0].seq == 1
        assert orjson.loads(of_topic[0].data) == {"sender": "sdk", "total_epochs": 5}
        assert [event.seq for event in of_topic] == list(range(1, len(of_topic) + 1))
    assert events[-1].type == wire.SESSION_CLOSED
    assert orjson.loads(events[-1].data) == {
        "session": "abc",
        "last_seq": {wire.METRICS: 2, wire.JOBS: 3},
        "closed_by": "sdk",
    }
    assert (events[-1].key, events[-1].attempt, events[-1].seq) == ("25", 2, 3)
    session.delete()


def test_a_session_that_said_nothing_can_be_closed_and_proved_empty(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about())
    session.close_events("supervisor")
    session.close_events("supervisor")
    assert [(event.type, event.seq) for event in spooled(session)] == [
        (wire.SESSION_OPENED, 1),
        (wire.SESSION_CLOSED, 2),
    ]
    session.delete()


def test_a_call_is_numbered_once_however_often_the_folder_is_opened(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about())
    for step in range(10):
        session.post(metrics(step), METRIC)
    pump_all(session)
    for step in range(10, 15):
        session.post(metrics(step), METRIC)
    before = spooled(session)
    session.let_go()  # the process dies here: five calls are in the ring only
    for _ in range(3):
        found = Session.recover(session.folder)
        pump_all(found, recovering=True)
        events = spooled(found)
        assert events[: len(before)] == before
        steps = [step for event in events[1:] for step in orjson.loads(event.data)["steps"]]
        assert steps == list(range(15))
        found.let_go()


def test_a_folder_in_use_cannot_be_taken_over(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about())
    with pytest.raises(SessionInUse):
        Session.recover(session.folder)
    session.let_go()
    Session.recover(session.folder).let_go()


def test_a_full_ring_drops_metrics_says_so_and_keeps_lifecycle_in_order(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about(), ring_bytes=4096)
    accepted = sum(session.post(metrics(step), METRIC) for step in range(100))
    assert 10 < accepted < 100
    for epoch in range(60):  # more than the ring's reserve: the rest goes to a file
        assert session.post(lifecycle(wire.PROGRESS_REPORTED, epoch=epoch, total_epochs=60, phase="train"), LIFECYCLE)
    assert (session.folder / "overflow.log").stat().st_size > 0
    pump_all(session)
    events = spooled(session)
    epochs = [orjson.loads(event.data)["epoch"] for event in events if event.type == wire.PROGRESS_REPORTED]
    assert epochs == list(range(60))
    dropped = [orjson.loads(event.data) for event in events if event.type == wire.EVENTS_DROPPED]
    assert [(data["topic"], data["count"]) for data in dropped] == [(wire.METRICS, 100 - accepted)]
    points = sum(len(orjson.loads(event.data)["times"]) for event in events if event.type == wire.METRICS_REPORTED)
    assert points == accepted
    session.delete()


def test_what_lies_aside_survives_the_process(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about(), ring_bytes=4096)
    for epoch in range(80):
        session.post(lifecycle(wire.PROGRESS_REPORTED, epoch=epoch, total_epochs=80, phase="train"), LIFECYCLE)
    session.let_go()
    with (session.folder / "overflow.log").open("ab") as file:
        file.write(b"\x40\x00\x00\x00torn")
    found = Session.recover(session.folder)
    pump_all(found, recovering=True)
    epochs = [orjson.loads(event.data)["epoch"] for event in spooled(found) if event.type == wire.PROGRESS_REPORTED]
    assert epochs == list(range(80)) and found.drained
    found.delete()


def test_a_spool_at_its_cap_keeps_lifecycle_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about())
    session.spool.bytes_max = 0
    for step in range(7):
        session.post(metrics(step), METRIC)
    session.post(encoding.log_call("line", "INFO", "trainer", {}, 100), LOG)
    session.post(lifecycle(wire.JOB_STARTED, pid=1), LIFECYCLE)
    pump_all(session)
    events = spooled(session)
    assert wire.JOB_STARTED in [event.type for event in events]
    dropped = [orjson.loads(event.data) for event in events if event.type == wire.EVENTS_DROPPED]
    assert {data["topic"]: data["count"] for data in dropped} == {wire.METRICS: 7, wire.LOGS: 1}
    session.delete()


def test_a_full_disk_drops_metrics_and_gives_its_reserve_to_lifecycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session.create(tmp_path, about())
    reserve = session.folder / "reserve.bin"
    assert reserve.stat().st_size > 0
    written = os.pwrite

    def full_disk(descriptor: int, data: bytes, offset: int) -> int:
        if reserve.exists():
            written(descriptor, data[: len(data) // 2], offset)  # a part got through before the disk was full
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(descriptor, data, offset)

    session.post(metrics(1), METRIC)
    session.post(lifecycle(wire.JOB_FAILED, error_code="OOM", error_message="x"), LIFECYCLE)
    monkeypatch.setattr(os, "pwrite", full_disk)
    pump_all(session)
    monkeypatch.undo()
    names = [event.type for event in spooled(session)]
    assert wire.JOB_FAILED in names and wire.EVENTS_DROPPED in names and wire.METRICS_REPORTED not in names
    session.delete()


def test_a_disk_that_takes_nothing_leaves_lifecycle_in_the_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session.create(tmp_path, about())

    def full_disk(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    session.post(lifecycle(wire.JOB_FAILED, error_code="OOM", error_message="x"), LIFECYCLE)
    monkeypatch.setattr(os, "pwrite", full_disk)
    with pytest.raises(OSError, match="No space left"):
        session.pump()
    monkeypatch.undo()
    pump_all(session)
    assert [event.type for event in spooled(session)] == [wire.SESSION_OPENED, wire.JOB_FAILED]
    session.delete()


def test_an_event_that_waits_for_uploads_keeps_waiting_in_the_spool(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about())
    session.post(encoding.event_call(wire.JOBS, wire.JOB_COMPLETED, {}, after_uploads=True), LIFECYCLE)
    pump_all(session)
    assert spooled(session) == []
    session.let_go()
    found = Session.recover(session.folder)
    saved = Draft(wire.JOBS, wire.CHECKPOINT_SAVED, "2025-11-20T10:30:00.000000Z", b"{}", upload=1)
    found.pump([saved], recovering=True)
    found.release()
    found.release()
    names = [event.type for event in spooled(found)]
    assert names == [wire.SESSION_OPENED, wire.CHECKPOINT_SAVED, wire.JOB_COMPLETED]
    assert found.spool.state.announced == 1
    found.delete()


def test_a_complaint_is_made_once_and_is_a_line_of_source_sdk(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about())
    for step in range(3):
        session.post(encoding.metrics_call(1, "train", {"loss": "high"}, step, encoding.Tensors()), METRIC)
        pump_all(session)
    lines = [line for event in spooled(session)[1:] for line in orjson.loads(event.data)["lines"]]
    assert [(line["source"], line["level"]) for line in lines] == [("sdk", "WARNING")]
    assert "'loss' is 'high'" in lines[0]["message"]
    session.delete()


def test_a_damaged_record_does_not_hold_up_the_others(tmp_path: Path) -> None:
    session = Session.create(tmp_path, about())
    session.post(metrics(0), METRIC)
    session.post(b'["m", 1.0, 1, "tr', METRIC)
    session.post(metrics(1), METRIC)
    pump_all(session)
    assert [step for event in spooled(session)[1:] for step in orjson.loads(event.data)["steps"]] == [0, 1]
    session.delete()
