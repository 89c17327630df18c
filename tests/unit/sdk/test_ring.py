from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_sdk.delivery.ring import HEADER_BYTES, LIFECYCLE, METRIC, Ring, RingError


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", 4096)
    for text in (b"one", b"", b"three"):
        assert ring.append(text, METRIC)
    payloads, position = ring.read(0, 4096)
    assert payloads == [b"one", b"", b"three"]
    assert position == ring.head
    ring.close()


def test_the_blocks_of_the_file_exist_before_the_first_write(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", 65536)
    assert (tmp_path / "ring").stat().st_blocks * 512 >= HEADER_BYTES + 65536
    ring.close()


def test_another_process_reads_what_was_appended(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", 4096)
    ring.append(b"left behind", METRIC)
    ring.count_dropped(METRIC)
    found = Ring.open(tmp_path / "ring")
    assert found.read(0, 4096, check=True) == ([b"left behind"], ring.head)
    assert found.dropped(METRIC) == 1
    ring.close()
    found.close()


@given(sizes=st.lists(st.integers(0, 700), max_size=60), budget=st.integers(1, 3000))
def test_records_survive_any_number_of_turns_around_the_ring(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], budget: int
) -> None:
    ring = Ring.create(tmp_path_factory.mktemp("ring") / "ring", 4096)
    position = 0
    for number, size in enumerate(sizes):
        written = bytes([number % 251]) * size
        assert ring.append(written, METRIC)
        payloads: list[bytes] = []
        while position < ring.head:
            some, position = ring.read(position, budget, check=True)
            payloads += some
        assert payloads == [written]
        ring.tail = position
    ring.close()


def test_a_full_ring_refuses_metrics_and_still_has_room_for_lifecycle(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", 4096)
    metrics = 0
    while ring.append(b"m" * 100, METRIC):
        metrics += 1
    assert 20 < metrics < 4096 // 100
    assert ring.append(b"the end", LIFECYCLE)
    payloads, _ = ring.read(0, 10_000)
    assert payloads[-1] == b"the end" and len(payloads) == metrics + 1
    ring.close()


def test_reading_ends_before_a_damaged_record(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", 4096)
    ring.append(b"good", METRIC)
    ring.append(b"damaged", METRIC)
    head = ring.head
    ring.close()
    raw = bytearray((tmp_path / "ring").read_bytes())
    at = raw.index(b"damaged")
    raw[at : at + 1] = b"D"
    (tmp_path / "ring").write_bytes(raw)
    found = Ring.open(tmp_path / "ring")
    assert found.read(0, 4096, check=True) == ([b"good"], head)
    found.close()


def test_a_file_that_is_no_ring_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ring").write_bytes(b"x" * 10_000)
    with pytest.raises(RingError, match="not a ring"):
        Ring.open(tmp_path / "ring")


def test_a_record_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", 4 * 1024 * 1024)
    assert not ring.append(b"x" * (512 * 1024 + 1), LIFECYCLE)
    ring.close()
