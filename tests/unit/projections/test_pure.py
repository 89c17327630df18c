from __future__ import annotations

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.core.chunks import CHUNK_POINTS_MAX, Points, Tail, cut, finite_range
from projections.core.logs import line_id
from projections.core.names import series_name
from projections.mlflow_mirror.names import mlflow_key
from projections.runtime.ceiling import BAD_IN_A_ROW_MAX, WINDOW_RECORDS, Ceiling, CeilingReached
from projections.runtime.failures import BadEvent, Failure, Unavailable, classify
from projections.runtime.watchdog import Watchdog


@given(st.lists(st.integers(min_value=1, max_value=2_500), max_size=8))
def test_points_fill_chunk_after_chunk_and_none_is_lost(sizes: list[int]) -> None:
    tail, stored = Tail(), dict[int, list[float]]()
    counted = iter(range(1_000_000))
    expected: list[float] = []
    for size in sizes:
        values = [float(next(counted)) for _ in range(size)]
        expected += values
        points = Points(values, values, values, values, [1] * size, values)
        for after, part in cut(points, tail):
            stored.setdefault(after.chunk, []).extend(part.values)
            tail = after
    assert [value for chunk in sorted(stored) for value in stored[chunk]] == expected
    assert all(len(chunk) == CHUNK_POINTS_MAX for number, chunk in stored.items() if number != max(stored))


def test_the_range_of_a_chunk_knows_finite_values_only() -> None:
    assert finite_range([2.0, float("nan"), -1.0, float("inf")]) == (-1.0, 2.0)
    assert finite_range([float("nan")]) == (None, None)


def test_series_are_named_by_phase_and_key() -> None:
    assert series_name("train", "loss") == "train/loss"
    assert series_name("val", "val/box_loss") == "val/box_loss"
    assert mlflow_key("val/metrics/mAP50(B)") == "val/metrics/mAP50_B_"


def test_numbers_of_log_lines_never_meet() -> None:
    places = [(p, offset, line) for p in range(12) for offset in range(5) for line in (0, 1, 999)]
    assert len({line_id(*place) for place in places}) == len(places)


def after(records: int, *, bad_every: int) -> Ceiling:
    ceiling = Ceiling()
    for number in range(records):
        ceiling = ceiling.after(bad=number % bad_every == 0)
    return ceiling


def test_a_few_bad_records_pass_and_many_stop_the_line() -> None:
    ceiling = Ceiling()
    for _ in range(BAD_IN_A_ROW_MAX):
        ceiling = ceiling.after(bad=True)
    with pytest.raises(CeilingReached, match="in a row"):
        ceiling.after(bad=True)
    with pytest.raises(CeilingReached, match="5%"):
        after(WINDOW_RECORDS, bad_every=15)
    after(5 * WINDOW_RECORDS, bad_every=40)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.ConnectionDoesNotExistError("gone"), Failure.TRANSIENT),
        (asyncpg.AdminShutdownError("restart"), Failure.TRANSIENT),
        (asyncpg.DeadlockDetectedError("again"), Failure.TRANSIENT),
        (ConnectionRefusedError(), Failure.TRANSIENT),
        (TimeoutError(), Failure.TRANSIENT),
        (Unavailable("mlflow"), Failure.TRANSIENT),
        (asyncpg.CharacterNotInRepertoireError("\\u0000"), Failure.BAD_EVENT),
        (asyncpg.NotNullViolationError("null"), Failure.BAD_EVENT),
        (BadEvent("refused"), Failure.BAD_EVENT),
        (asyncpg.UndefinedTableError("no table"), Failure.UNKNOWN),
        (KeyError("x"), Failure.UNKNOWN),
        (AssertionError(), Failure.UNKNOWN),
    ],
)
def test_failures_are_of_three_kinds(error: BaseException, kind: Failure) -> None:
    assert classify(error) is kind


def test_the_watchdog_barks_at_work_that_stands_still_and_at_nothing_else() -> None:
    watchdog, place = Watchdog(standstill_max_s=60), ("metrics", 3)
    assert watchdog.stuck({place: 5}, {place: 9}, 0) == []
    assert watchdog.stuck({place: 5}, {place: 12}, 59) == []
    assert watchdog.stuck({place: 5}, {place: 12}, 61) == ["metrics[3] stands at 5 of 12 for 61 s"]
    assert watchdog.stuck({place: 6}, {place: 12}, 62) == []
    assert watchdog.stuck({place: 12}, {place: 12}, 500) == []
    assert watchdog.stuck({place: 12}, {place: 13}, 501) == []
