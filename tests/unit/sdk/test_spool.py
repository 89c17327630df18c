from __future__ import annotations

from pathlib import Path

from training_sdk import wire
from training_sdk.delivery import spool as spool_module
from training_sdk.delivery.spool import Sender, Spool, State
from training_sdk.wire import WireEvent

SENDER = Sender("25", "test", 1, 0, "abc")


def event(seq: int, data: bytes = b"{}", topic: str = wire.JOBS) -> WireEvent:
    return WireEvent(
        topic=topic,
        key="25",
        type=wire.PROGRESS_REPORTED,
        time="2025-11-20T10:30:00.000000Z",
        source="test",
        attempt=1,
        rank=0,
        session="abc",
        seq=seq,
        data=data,
    )


def seqs(spool: Spool) -> list[int]:
    unsent = spool.unsent()
    return [] if unsent is None else [event.seq for event in unsent.events]


def test_the_same_bytes_under_the_same_number_come_back_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SENDER)
    written = [event(1, b'{"a": 1}'), event(2, b'{"b": "\xc3\xa9"}')]
    spool.append(written, State(seqs={wire.JOBS: 2}, ring=640), durable=True)
    spool.close()
    again = Spool(tmp_path, SENDER)
    unsent = again.unsent()
    assert unsent is not None and unsent.events == written
    assert again.state.seqs == {wire.JOBS: 2} and again.state.ring == 640
    again.close()


def test_a_torn_frame_at_the_end_is_cut_off_and_the_rest_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SENDER)
    spool.append([event(1)], State(ring=10), durable=False)
    spool.append([event(2)], State(ring=20), durable=False)
    spool.close()
    segment = tmp_path / "segment-00000001.log"
    whole = segment.stat().st_size
    with segment.open("r+b") as file:
        file.truncate(whole - 3)
    again = Spool(tmp_path, SENDER)
    assert seqs(again) == [1] and again.state.ring == 10 and again.torn_bytes > 0
    again.append([event(2)], State(ring=20), durable=False)
    assert seqs(again) == [1, 2]
    again.close()


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SENDER)
    spool.append([event(1, b'{"value": 1}')], State(ring=10), durable=False)
    spool.close()
    segment = tmp_path / "segment-00000001.log"
    raw = bytearray(segment.read_bytes())
    raw[raw.index(b'"value": 1') + 9] ^= 1
    segment.write_bytes(raw)
    again = Spool(tmp_path, SENDER)
    assert seqs(again) == [] and again.state.ring == 0
    again.close()


def test_acknowledged_events_are_not_sent_again_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SENDER)
    spool.append([event(1)], State(), durable=False)
    unsent = spool.unsent()
    assert unsent is not None
    spool.append([event(2)], State(), durable=False)
    spool.forget(unsent)
    spool.close()
    again = Spool(tmp_path, SENDER)
    assert seqs(again) == [2] and not again.all_sent
    again.close()


def test_full_segments_are_followed_by_new_ones_and_deleted_when_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SENDER)
    data = b'"' + b"x" * 900_000 + b'"'
    for seq in range(1, 16):
        spool.append([event(seq, data)], State(seqs={wire.JOBS: seq}), durable=False)
    assert len(list(tmp_path.glob("segment-*.log"))) == 3
    sent: list[int] = []
    while (unsent := spool.unsent()) is not None:
        sent += [event.seq for event in unsent.events]
        spool.forget(unsent)
    assert sent == list(range(1, 16)) and spool.all_sent
    assert [path.name for path in tmp_path.glob("segment-*.log")] == ["segment-00000003.log"]
    spool.close()
    again = Spool(tmp_path, SENDER)
    assert again.state.seqs == {wire.JOBS: 15} and again.all_sent
    again.close()


def test_the_state_outlives_the_segments_that_wrote_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SENDER)
    spool.append([event(1, b'"' + b"x" * (spool_module.SEGMENT_BYTES + 1) + b'"')], State(seqs={"t": 9}), durable=False)
    while (unsent := spool.unsent()) is not None:
        spool.forget(unsent)
    spool._roll()
    while (unsent := spool.unsent()) is not None:
        spool.forget(unsent)
    spool.close()
    again = Spool(tmp_path, SENDER)
    assert again.state.seqs == {"t": 9}
    again.close()
