"""A session on a topic: every number that was sent is accounted for, and the verdict says so in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.jobs import ranges
from api.jobs.lines import DeadRecord, Drop, Found, line_of
from events.dedupe import SessionMarks
from events.envelope import Position
from training_sdk.wire import JOBS, METRICS, SYSTEM

PLACE = Position(METRICS, 9, 41)
AT_END = frozenset({"metrics", "early-stop"})
numbers = st.sets(st.integers(min_value=1, max_value=30))


def as_ranges(found: set[int]) -> ranges.Ranges:
    return ranges.without(((1, 30),), set(range(1, 31)) - found) if found else ()


def members(found: ranges.Ranges) -> set[int]:
    return {number for low, last in found for number in range(low, last + 1)}


@given(numbers, numbers, st.integers(min_value=0, max_value=31))
def test_ranges_are_sets(one: set[int], other: set[int], largest: int) -> None:
    mine, others = as_ranges(one), as_ranges(other)
    assert members(mine) == one
    assert members(ranges.in_both(mine, others)) == one & other
    assert members(ranges.without(mine, other)) == one - other
    assert members(ranges.up_to(mine, largest)) == {number for number in one if number <= largest}
    assert ranges.count(mine) == len(one)
    assert all(mine[n][1] + 1 < mine[n + 1][0] for n in range(len(mine) - 1))


def found(seen: SessionMarks, early_stop: SessionMarks | None = None, **fields: Any) -> Found:
    marks = {"metrics": seen, "early-stop": early_stop or seen}
    return Found(**{"topic": METRICS, "sent": 9, "marks": marks, "caught_up": AT_END, **fields})


@pytest.mark.parametrize(
    ("case", "verdict", "in_log", "missing", "words"),
    [
        (found(SessionMarks(9)), "complete", 9, (), ""),
        (found(SessionMarks(9, ((4, 5),))), "incomplete", 7, ((4, 5),), "numbers 4 to 5 are not in the log"),
        (found(SessionMarks(7)), "incomplete", 7, ((8, 9),), "8 to 9 are not in the log, which was read to its end"),
        (found(SessionMarks(7), caught_up=frozenset()), "pending", 7, ((8, 9),), "were not seen in the log yet"),
        # Applied by another read model of the topic: so it is in the log.
        (found(SessionMarks(7), SessionMarks(9), caught_up=frozenset()), "pending", 9, (), "not applied by metrics"),
        # An optional reader that is behind says nothing about the run.
        (found(SessionMarks(9), SessionMarks(2), caught_up=frozenset()), "complete", 9, (), ""),
        (found(SessionMarks(7), unsent=2), "pending", 7, ((8, 9),), "2 facts wait in the outbox"),
        (found(SessionMarks(7), sent=None), "not provable", 7, (), "never said its last number"),
        (found(SessionMarks(7), sent=None, goes_on=True), "pending", 7, (), "the sender goes on"),
        (found(SessionMarks(9), sent=5), "complete", 5, (), "numbers up to 9, more than the sender said"),
        (found(SessionMarks(), sent=0), "complete", 0, (), ""),
        (
            found(SessionMarks(9, ((4, 5),)), dead=[DeadRecord("metrics", PLACE, 4, "open")]),
            *("incomplete", 8, ((5, 5),), "number 4 is a dead letter of metrics at training.metrics/9/41 (open)"),
        ),
        (
            found(SessionMarks(9), drops=[Drop(PLACE, 6, None, None, 12, "the disk is full")]),
            *("incomplete", 9, (), "left 12 calls or lines out: the disk is full"),
        ),
    ],
)
def test_a_line(case: Found, verdict: str, in_log: int, missing: ranges.Ranges, words: str) -> None:
    line = line_of(case)
    assert (line.verdict, line.in_log, line.missing) == (verdict, in_log, missing)
    assert words in "; ".join(line.reasons)
    assert (line.reasons == ()) == (words == "")


def test_read_models_of_a_topic_are_judged_one_by_one() -> None:
    marks = {"jobs": SessionMarks(9), "checkpoints": SessionMarks(9, ((2, 2),)), "mlflow-runs": SessionMarks(3)}
    line = line_of(Found(topic=JOBS, sent=9, marks=marks))
    assert {one.read_model: (one.applied, str(one.verdict)) for one in line.models} == {
        "jobs": (9, "complete"),
        "checkpoints": (8, "incomplete"),
        "mlflow-runs": (3, "pending"),
    }
    assert (line.verdict, line.missing) == ("incomplete", ())
    assert line_of(Found(topic=SYSTEM, sent=2, marks={"system": SessionMarks(1)})).verdict == "pending"
