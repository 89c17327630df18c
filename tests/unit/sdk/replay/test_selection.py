from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from training_sdk.replay.event import Record
from training_sdk.replay.selection import TOPICS, milliseconds, moment, select
from training_sdk.wire import JOB_TOPICS, JOBS, LOGS, METRICS, PARTITIONS, partition_of

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def record(**fields: Any) -> Record:
    given = {"topic": LOGS, "partition": 3, "offset": 7, "append_time": NOON, "key": b"25", "value": b"{}"}
    headers = ((("ce_type", b"training.log.written.v1")),)
    return Record(**{**given, "headers": headers, **fields})


def test_without_arguments_everything_is_wanted() -> None:
    selection = select()
    assert selection.topics == TOPICS
    assert selection.partitions(LOGS) == list(range(PARTITIONS))
    assert selection.wants_record(record())


def test_a_job_is_in_one_partition_of_the_topics_of_jobs() -> None:
    selection = select(job_ids=25)
    assert selection.topics == JOB_TOPICS
    assert selection.partitions(JOBS) == [partition_of(b"25")]
    assert selection.wants_record(record()) and not selection.wants_record(record(key=b"26"))
    assert len(select(job_ids=range(100)).partitions(JOBS)) == PARTITIONS


def test_types_have_a_version_or_not() -> None:
    assert select(types="training.log.written").wants_record(record())
    assert select(types=["training.log.written.v1"]).wants_record(record())
    assert not select(types="training.log.written.v2").wants_record(record())
    assert not select(types="training.log").wants_record(record())


@pytest.mark.parametrize("headers", [(), (("ce_type", None),), (("ce_type", b""),)])
def test_a_record_that_says_no_type_is_wanted(headers: Any) -> None:
    assert select(types="training.log.written").wants_record(record(headers=headers))


def test_times_include_the_first_and_not_the_last() -> None:
    assert select(since=NOON).wants_record(record())
    assert not select(until=NOON).wants_record(record())
    assert not select(since=NOON + timedelta(microseconds=1)).wants_record(record())
    selection = select(since=NOON, until=NOON + timedelta(days=1, hours=-12))
    days = [date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 25)]
    assert [selection.wants_day(day) for day in days] == [False, True, False]


def test_offsets_name_the_only_partitions_of_their_topic() -> None:
    selection = select(offsets={LOGS: {3: (7, 9), 4: (None, None)}})
    assert selection.topics == (LOGS,)
    assert selection.partitions(LOGS) == [3, 4]
    assert [selection.wants_record(record(offset=offset)) for offset in (6, 7, 8, 9)] == [False, True, True, False]
    assert select([LOGS, METRICS], offsets={LOGS: {3: (7, 9)}}).partitions(METRICS) == list(range(PARTITIONS))


@pytest.mark.parametrize(
    "given", ["2026-11-24T12:00:00Z", "2026-11-24T13:00:00+01:00", "2026-11-24 12:00", NOON.replace(tzinfo=None), NOON]
)
def test_a_time_without_a_zone_is_utc(given: Any) -> None:
    assert moment("since", given) == NOON


def test_a_day_is_its_first_moment() -> None:
    assert moment("since", "2026-11-24") == moment("since", date(2026, 11, 24)) == NOON - timedelta(hours=12)
    assert moment("since", datetime(2026, 11, 24, tzinfo=timezone(timedelta(hours=1)))).hour == 23


def test_the_first_millisecond_that_is_not_earlier() -> None:
    assert milliseconds(NOON) == int(NOON.timestamp()) * 1000
    assert milliseconds(NOON + timedelta(microseconds=1)) == int(NOON.timestamp()) * 1000 + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"topics": "metrics"}, "topic 'metrics' is not one of training.jobs"),
        ({"topics": "training.models", "job_ids": 25}, "training.models is not kept by job; leave out job_ids"),
        ({"job_ids": -1}, "job id -1 is no whole number"),
        ({"job_ids": ["25"]}, "job id '25' is no whole number"),
        ({"types": "log.written"}, "'log.written' is none of ours; wanted e.g. 'training"),
        ({"since": "yesterday"}, "since is 'yesterday', wanted a time like"),
        ({"until": 5}, "until is 5, wanted a time like"),
        ({"offsets": {LOGS: {12: (0, 1)}}}, "partition 12, wanted 0 to 11"),
        ({"offsets": {LOGS: {1: (5, 4)}}}, "5 to 4 of training.logs/1 are no range"),
        ({"offsets": {"logs": {1: (5, 6)}}}, "topic 'logs' is not one of"),
    ],
)
def test_an_argument_that_makes_no_sense_is_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(**arguments)
