"""Several attempts of one run make one series."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from api.metrics.series import Chunk, Resume, Window, _series, chunk_of

NONE = math.nan
ANEW, UNSAID = Resume(0, 0), Resume(None, None)


def array(values: Sequence[float], kind: str = "d") -> bytes:
    """As Postgres' array_send writes it."""
    oid = 701 if kind == "d" else 20
    head = struct.pack(">iiiii", 1, 0, oid, len(values), 1)
    return head + b"".join(struct.pack(f">i{kind}", 8, value) for value in values)


def chunk(attempt: int, first_offset: int, *points: tuple[float, float, float], until: int | None = None) -> Chunk:
    """Points of (step, epoch, value), each in a record of its own."""
    steps, epochs, values = ([point[column] for point in points] for column in range(3))
    offsets = [first_offset + number for number in range(len(points))]
    columns = {"steps": array(steps), "epochs": array(epochs), "times": array([0.0] * len(points))}
    row: dict[str, Any] = {**columns, "points_values": array(values), "log_offsets": array(offsets, "q")}
    return chunk_of({**row, "attempt": attempt}, until)


def read(chunks: list[Chunk], resumes: dict[int, Resume]) -> list[float]:
    values: list[float] = _series("train/loss", chunks, resumes, None).values.tolist()
    return values


def test_a_later_attempt_replaces_the_steps_that_it_writes_again() -> None:
    first = chunk(1, 0, (1, 1, 0.1), (2, 1, 0.2), (3, 2, 0.3))
    second = chunk(2, 9, (3, 2, 30), (4, 2, 40))
    assert read([first, second], {1: ANEW, 2: Resume(3, None)}) == [0.1, 0.2, 30, 40]


def test_a_later_attempt_replaces_the_epochs_that_it_reports_again() -> None:
    first = chunk(1, 0, (NONE, 1, 0.1), (NONE, 2, 0.2), (NONE, 3, 0.3))
    second = chunk(2, 9, (NONE, 3, 30))
    third = chunk(3, 20, (NONE, 3, 300), (NONE, 4, 400))
    assert read([first, second, third], {1: ANEW, 2: UNSAID, 3: UNSAID}) == [0.1, 0.2, 300, 400]


def test_one_attempt_may_report_an_epoch_twice_and_an_attempt_without_reports_replaces_none() -> None:
    first = [chunk(1, 0, (NONE, 1, 0.1), (NONE, 1, 0.2)), chunk(1, 5, (NONE, 1, 0.3))]
    assert read(first, {1: ANEW}) == [0.1, 0.2, 0.3]
    assert read(first, {1: ANEW, 2: Resume(5, None)}) == [0.1, 0.2, 0.3]


def test_what_a_later_attempt_never_reached_again_does_not_stay() -> None:
    whole = chunk(1, 0, *((NONE, epoch, epoch / 10) for epoch in range(1, 9)))
    again = chunk(2, 9, (NONE, 1, 10), (NONE, 2, 20))
    assert read([whole, again], {1: ANEW, 2: ANEW}) == [10, 20]
    assert read([whole], {1: ANEW, 2: Resume(None, 5)}) == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_steps_are_compared_by_epoch_where_no_step_was_said_and_stay_where_nothing_was() -> None:
    steps = chunk(1, 0, (1, 1, 0.1), (2, 1, 0.2), (3, 2, 0.3), (4, NONE, 0.4))
    assert sorted(read([steps], {2: Resume(None, 1)})) == [0.1, 0.2, 0.4]
    assert len(read([steps], {2: UNSAID})) == 4


def test_what_came_after_an_offset_is_not_there() -> None:
    points = ((1, 1, 0.1), (2, 1, 0.2), (3, 2, 0.3))
    assert read([chunk(1, 10, *points, until=11)], {}) == [0.1, 0.2]
    assert read([chunk(1, 10, *points, until=9)], {}) == []
    assert read([chunk(1, 10, *points, until=12)], {}) == [0.1, 0.2, 0.3]


def test_a_window_is_cut_out_before_it_is_sampled() -> None:
    points = chunk(1, 0, *((step, 1, float(step)) for step in range(1_000)))
    timed = points._replace(times=points.steps)
    seen = _series("train/loss", [timed], {}, 50, Window(100, 129))
    assert seen.values.tolist() == [float(step) for step in range(100, 130)]
    assert (seen.total_points, seen.sampled) == (30, False)
    wider = _series("train/loss", [timed], {}, 50, Window(100))
    assert wider.sampled and wider.values[0] == 100 and wider.values[-1] == 999 and len(wider.values) <= 50
    assert _series("train/loss", [timed], {}, None, Window(until=-1)).values.tolist() == []
