from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.dedupe import GAPS_MAX, SessionMarks, TooManyGaps


@given(st.lists(st.integers(min_value=1, max_value=60), max_size=200))
def test_every_number_counts_exactly_once_in_whatever_order(numbers: list[int]) -> None:
    marks, accepted = SessionMarks(), list[int]()
    for number in numbers:
        assert marks.seen(number) == (number in accepted)
        marks, new = marks.accept(number)
        if new:
            accepted.append(number)
    assert sorted(accepted) == sorted(set(numbers))
    assert marks.high == max(numbers, default=0)
    assert marks.missing == marks.high - len(set(numbers))


def test_gaps_close_from_both_ends_and_in_the_middle() -> None:
    marks, _ = SessionMarks().accept(10)
    assert marks.gaps == ((1, 9),)
    for number in (1, 9, 5):
        marks, new = marks.accept(number)
        assert new
    assert marks.gaps == ((2, 4), (6, 8))


def test_a_sender_that_skips_all_the_time_is_refused() -> None:
    marks = SessionMarks()
    for number in range(2, 2 * GAPS_MAX + 1, 2):
        marks, _ = marks.accept(number)
    with pytest.raises(TooManyGaps, match="gap number 1001"):
        marks.accept(2 * GAPS_MAX + 2)
