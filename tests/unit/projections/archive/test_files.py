"""What a record is filed under, and that a file gives it back byte for byte."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import BufferReader

from events.envelope import Record
from projections.archive.archiver import Waiting
from projections.archive.files import files_of
from projections.archive.ledger import Part
from projections.archive.parquet import (
    NotAFile,
    _row_groups,
    day_of,
    event_of,
    from_parquet,
    job_of,
    to_parquet,
)
from projections.archive.ranges import count_of, ranges_of
from tests.builders import event, metrics_reported, record, session_opened
from training_sdk.replay.columns import ROW_GROUP_BYTES_MAX, ROW_GROUP_ROWS_MAX, UNREADABLE, parse_key
from training_sdk.wire import LOGS, METRICS

MIDNIGHT_MS = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp() * 1000)


def metric(offset: int, *, job_id: int = 25, timestamp_ms: int = MIDNIGHT_MS) -> Record:
    fact = metrics_reported({"loss": [0.5]}, first_step=offset)
    placed = record(event(fact, job_id=job_id, seq=offset + 1), offset=offset, timestamp_ms=timestamp_ms)
    return replace(placed, partition=3)


def part_of(records: list[Record]) -> Part:
    first, last = records[0], records[-1]
    return Part(
        topic=first.topic,
        partition=first.partition,
        first_offset=first.offset,
        next_offset=last.offset + 1,
        records=len(records),
        state="writing",
    )


anything = st.builds(
    Record,
    topic=st.just(METRICS),
    partition=st.integers(0, 11),
    offset=st.integers(0, 2**62),
    timestamp_ms=st.integers(-1, 4_102_444_800_000),
    key=st.none() | st.binary(max_size=20),
    headers=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.none() | st.binary(max_size=9))
    ),
    value=st.none() | st.binary(max_size=50),
)


@settings(deadline=None)
@given(st.lists(anything, max_size=5))
def test_whatever_stands_in_the_log_comes_back_byte_for_byte(records: list[Record]) -> None:
    file = from_parquet(to_parquet(records, {"a": len(records)}, [[3, 5]]))
    assert file.records == [replace(found, headers=list(found.headers)) for found in records]
    assert (dict(file.part), file.forgotten) == ({"a": len(records)}, [[3, 5]])


@settings(deadline=None)
@given(st.lists(anything, max_size=3))
def test_the_same_records_are_the_same_bytes(records: list[Record]) -> None:
    assert to_parquet(records, {}, []) == to_parquet(list(records), {}, [])


def test_what_headers_say_stands_in_columns() -> None:
    table = pq.read_table(BufferReader(to_parquet([metric(7)], {}, [])))
    (row,) = table.to_pylist()
    assert (row["type"], row["version"], row["job_id"], row["seq"], row["attempt"], row["rank"]) == (
        *("training.metrics.reported", 1, 25),
        *(8, 1, 0),
    )
    assert row["time"] == datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert row["event_id"] == f"{row['session']}:training.metrics:8"


@pytest.mark.parametrize(
    "change",
    [
        {"key": None},
        {"value": None},
        {"headers": []},
        {"headers": [("ce_type", None)]},
        {"headers": [("ce_type", b"\xff")]},
        {"topic": LOGS},  # its type does not belong there
    ],
)
def test_what_is_no_event_of_ours_is_unreadable_and_kept(change: dict[str, object]) -> None:
    odd = replace(metric(7), **change)  # type: ignore[arg-type]
    assert event_of(odd) == UNREADABLE
    content = to_parquet([odd], {}, [])
    assert from_parquet(content).records == [odd]
    (row,) = pq.read_table(BufferReader(content)).to_pylist()
    assert all(row[name] is None for name in ("event_id", "type", "version", "job_id", "session", "seq", "time"))


def test_numbers_and_times_that_no_column_can_hold_are_null_and_cost_nothing() -> None:
    odd = metric(7)
    headers = {**dict(odd.headers), "ce_attempt": b"99999999999", "ce_time": b"yesterday"}
    odd = replace(odd, headers=list(headers.items()))
    content = to_parquet([odd], {}, [])
    assert from_parquet(content).records == [odd]
    (row,) = pq.read_table(BufferReader(content)).to_pylist()
    assert (row["attempt"], row["time"], row["type"]) == (None, None, "training.metrics.reported")


def test_a_record_is_filed_under_the_day_it_was_appended_in_utc() -> None:
    assert day_of(metric(7)) == date(2026, 11, 25)
    assert day_of(metric(7, timestamp_ms=MIDNIGHT_MS - 1)) == date(2026, 11, 24)


def test_a_part_is_one_file_a_type_and_day_all_under_its_range() -> None:
    opened = replace(record(event(session_opened(), topic=METRICS), offset=4, timestamp_ms=MIDNIGHT_MS), partition=3)
    records = [opened, metric(5, timestamp_ms=MIDNIGHT_MS - 1), metric(6), metric(7)]
    made = files_of(part_of(records), records, set())
    names = [parse_key(file.kept.key) for file in made]
    assert [(name.event, str(name.day)) for name in names] == [
        ("training.metrics.reported.v1", "2026-11-24"),
        ("training.metrics.reported.v1", "2026-11-25"),
        ("training.session.opened.v2", "2026-11-25"),
    ]
    assert {(name.partition, name.first_offset, name.next_offset) for name in names} == {(3, 4, 8)}
    assert [file.kept.rows for file in made] == [1, 2, 1]
    # Each says which files belong together: whoever finds one knows what is missing.
    for file in made:
        assert from_parquet(file.content).part == {other.kept.key: other.kept.rows for other in made}


def test_records_of_a_forgotten_job_are_left_out_and_counted() -> None:
    records = [metric(4), metric(5, job_id=26), metric(6), metric(7)]
    (made,) = files_of(part_of(records), records, {25})
    assert [found.offset for found in from_parquet(made.content).records] == [5]
    assert made.kept.forgotten == [[4, 5], [6, 8]]
    assert (made.kept.rows, made.kept.records, made.kept.job_ids) == (1, 4, [26])


def test_a_record_that_cannot_be_read_belongs_to_the_job_of_its_key() -> None:
    assert job_of(replace(metric(4), value=None)) == 25
    assert job_of(replace(metric(4), key=b"yolo11n")) is None


def test_ranges() -> None:
    assert ranges_of([5, 3, 4, 9], [[6, 8]]) == [[3, 8], [9, 10]]
    assert count_of(ranges_of([5, 3, 4, 4])) == 3
    assert ranges_of([]) == []


def test_bytes_that_are_no_file_are_refused() -> None:
    content = to_parquet([metric(1)], {}, [])
    for broken in (b"", b"PAR1", content[:-9], content[:40] + b"x" * 40 + content[80:]):
        with pytest.raises(NotAFile):
            from_parquet(broken)


def test_row_groups_are_small_enough_for_a_reader() -> None:
    assert list(_row_groups([1] * (ROW_GROUP_ROWS_MAX + 1))) == [
        (0, ROW_GROUP_ROWS_MAX),
        (ROW_GROUP_ROWS_MAX, ROW_GROUP_ROWS_MAX + 1),
    ]
    assert list(_row_groups([ROW_GROUP_BYTES_MAX, 1, ROW_GROUP_BYTES_MAX + 1, 1])) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert list(_row_groups([])) == []


def test_a_place_is_due_when_one_record_waited_long_enough_or_many_wait() -> None:
    waiting, place = Waiting(age_s=600, records_max=100), (LOGS, 3)
    assert waiting.due({}, {place: 1}, 0.0) == []
    assert waiting.due({}, {place: 99}, 599.0) == []
    assert waiting.due({}, {place: 99}, 600.0) == [place]
    assert waiting.due({}, {place: 100}, 300.0) == [place]
    waiting.done(place)
    assert waiting.due({place: 99}, {place: 100}, 601.0) == []
    assert waiting.due({place: 100}, {place: 100}, 1300.0) == []
    assert waiting.due({place: 100}, {place: 101}, 1301.0) == []
