"""Throughput and ages: said when they are known, and never of another version."""

from __future__ import annotations

from api.operations.lag import _age_s, _first_unapplied
from api.operations.throughput import WINDOW_S, Sample, Throughput
from events.envelope import Position
from training_sdk.wire import JOBS, LOGS


def test_throughput_is_what_two_looks_differ_by_within_the_window() -> None:
    looks = Throughput()
    assert looks.per_second("jobs") is None
    looks.note("jobs", Sample(100.0, "jobs_v1_1", 1_000))
    assert looks.per_second("jobs") is None
    looks.note("jobs", Sample(105.0, "jobs_v1_1", 1_500))
    assert looks.per_second("jobs") == 100.0
    for second in range(int(WINDOW_S) + 10):
        looks.note("jobs", Sample(106.0 + second, "jobs_v1_1", 1_500))
    assert looks.per_second("jobs") == 0.0
    looks.note("jobs", Sample(200.0, "jobs_v2_1", 7))
    assert looks.per_second("jobs") is None, "another version counts from its own beginning"


def test_the_age_is_that_of_the_oldest_record_or_unknown() -> None:
    rows = [{"topic": JOBS, "partition": 0, "next_offset": 5}, {"topic": JOBS, "partition": 1, "next_offset": 9}]
    ends = {(JOBS, 0): 7, (JOBS, 1): 9, (JOBS, 2): 1, (LOGS, 0): 50}
    behind = _first_unapplied(rows, ends, JOBS)
    assert behind == {Position(JOBS, 0, 5): 2, Position(JOBS, 2, 0): 1}
    times = {Position(JOBS, 0, 5): 90.0, Position(JOBS, 2, 0): 70.0}
    assert _age_s(behind, times, 100.0) == 30.0
    assert _age_s(behind, {Position(JOBS, 0, 5): 90.0}, 100.0) is None, "the other one may be older"
    assert _age_s({}, {}, 100.0) == 0.0
