from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.guards import NESTING_MAX, nesting
from api.jobs.completeness import FINISHING_MAX_S, Evidence, visible_state
from api.live.cursor import BadCursor, Cursor
from api.live.messages import Frame, Update
from api.live.subscriber import FRAMES_MAX, Subscriber
from api.metrics.downsample import POINTS_MIN, downsample
from events.dedupe import SessionMarks
from events.envelope import Position
from events.job import Job, Session
from events.lifecycle import JobState
from tests.builders import NOON, SESSION
from training_sdk.wire import JOBS, LOGS, METRICS

floats = st.lists(st.floats(width=32), min_size=1, max_size=400)


@given(floats, st.integers(min_value=POINTS_MIN, max_value=100))
def test_down_sampling_keeps_ends_extremes_and_gaps_and_never_exceeds_its_limit(
    points: list[float], max_points: int
) -> None:
    values = numpy.array(points)
    kept = downsample(values, max_points)
    assert len(kept) <= max_points
    assert kept[0] == 0
    assert kept[-1] == len(points) - 1
    assert (numpy.diff(kept) > 0).all()
    assert (downsample(values, max_points) == kept).all()
    finite = values[numpy.isfinite(values)]
    if len(finite):
        assert finite.min() in values[kept]
        assert finite.max() in values[kept]
    if not numpy.isfinite(values).all():
        assert not numpy.isfinite(values[kept]).all()


def test_few_points_are_not_touched_and_a_senseless_limit_is_refused() -> None:
    assert downsample(numpy.arange(9.0), 9).tolist() == list(range(9))
    with pytest.raises(ValueError, match="max_points is 4"):
        downsample(numpy.arange(9.0), 4)


def ended(last_seq: dict[str, int] | None, **fields: object) -> Job:
    session = Session(attempt=1, rank=0, sender="sdk", last_seq=last_seq)
    known = {
        "id": 25,
        "created_at": NOON,
        "attempt": 1,
        "state": JobState.COMPLETED,
        "completed_at": NOON,
        "end_appended_at": NOON,
    }
    return Job.model_validate({**known, "sessions": {SESSION: session}, **fields})


LAST = {JOBS: 5, METRICS: 9, LOGS: 2}
ALL = {
    ("jobs", SESSION): SessionMarks(5),
    ("checkpoints", SESSION): SessionMarks(5),
    ("artifacts", SESSION): SessionMarks(5),
    ("metrics", SESSION): SessionMarks(9),
    ("logs", SESSION): SessionMarks(2),
}


def test_completed_is_shown_when_every_topic_is_applied_up_to_its_closing_number() -> None:
    assert visible_state(ended(LAST), Evidence(ALL), NOON).status == "completed"
    for behind in ALL:
        marks = {**ALL, behind: SessionMarks(1)}
        assert visible_state(ended(LAST), Evidence(marks), NOON).state == "finishing"
    gap = {**ALL, ("metrics", SESSION): SessionMarks(9, ((4, 4),))}
    assert visible_state(ended(LAST), Evidence(gap), NOON).state == "finishing"
    assert visible_state(ended(None), Evidence(ALL), NOON).state == "finishing"
    assert visible_state(ended(LAST), Evidence(ALL, 3), NOON).status == "running"


LATER = NOON + timedelta(seconds=FINISHING_MAX_S + 1)


@pytest.mark.parametrize(
    ("last_seq", "changed", "more", "integrity"),
    [
        (LAST, {}, {}, "complete"),
        (None, {}, {}, "not provable"),
        (LAST, {("metrics", SESSION): SessionMarks(7)}, {}, "pending"),
        (LAST, {}, {"waiting_rows": 1}, "pending"),
        # The log was read to its end, by this read model or by another one only.
        (LAST, {("metrics", SESSION): SessionMarks(7)}, {"caught_up": {"metrics"}}, "incomplete"),
        (LAST, {("metrics", SESSION): SessionMarks(7)}, {"caught_up": {"jobs", "logs"}}, "pending"),
        (LAST, {("metrics", SESSION): SessionMarks(9, ((4, 4),))}, {}, "incomplete"),
        (LAST, {}, {"dropped": 3}, "incomplete"),
        # What is missing in the other read models of the topic counts, too.
        (LAST, {("artifacts", SESSION): SessionMarks(5, ((2, 3),))}, {}, "incomplete"),
        (None, {}, {"dropped": 3}, "incomplete"),
    ],
)
def test_what_is_not_complete_is_shown_after_a_while_and_says_why(
    last_seq: dict[str, int] | None, changed: dict[tuple[str, str], SessionMarks], more: dict[str, Any], integrity: str
) -> None:
    evidence = Evidence({**ALL, **changed}, **more)
    visible = visible_state(ended(last_seq), evidence, LATER)
    assert (visible.status, visible.integrity) == ("completed", integrity)
    assert visible_state(ended(last_seq), evidence, NOON).ended == (integrity == "complete")


def test_a_fact_of_the_outbox_that_was_passed_over_is_missing() -> None:
    job = ended(LAST)
    outbox = Session(attempt=0, rank=0, sender="outbox")
    job = job.model_copy(update={"sessions": {**job.sessions, "0b": outbox}})
    assert visible_state(job, Evidence({**ALL, ("jobs", "0b"): SessionMarks(3)}), LATER).integrity == "complete"
    passed_over = {**ALL, ("checkpoints", "0b"): SessionMarks(3, ((2, 2),))}
    assert visible_state(job, Evidence(passed_over), LATER).integrity == "incomplete"


def test_a_run_that_goes_on_is_shown_as_it_is() -> None:
    running = ended(None, state=JobState.LOST, completed_at=None)
    assert visible_state(running, Evidence(), NOON).status == "running"


@given(st.integers(min_value=0, max_value=NESTING_MAX + 20))
def test_nesting_is_counted_up_to_its_limit(depth: int) -> None:
    document: object = 1
    for level in range(depth):
        document = [document] if level % 2 else {"inner": document}
    assert nesting(document) == min(depth, NESTING_MAX + 1)


def update(offset: int, seq: int, slot: str | None = None) -> Update:
    frame = Frame("metrics" if slot else "log", b'{"n":%d}' % seq, slot=slot)
    return Update(25, Position(METRICS, 3, offset), SESSION, seq, (frame,))


@given(st.lists(st.integers(min_value=1, max_value=30), max_size=60))
def test_a_cursor_passes_every_number_once_and_reads_back(seqs: list[int]) -> None:
    cursor, passed = Cursor(25), list[int]()
    for offset, seq in enumerate(seqs):
        if cursor.accept(update(offset, seq)):
            passed.append(seq)
        cursor = Cursor.decode(cursor.encode().decode(), 25)
    assert sorted(passed) == sorted(set(seqs))


@pytest.mark.parametrize("text", ["", "x", "e30=", "\u00e4", "bnVsbA==", "W10="])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursor.decode(text, 25)


def test_a_cursor_of_another_job_is_refused() -> None:
    with pytest.raises(BadCursor, match="belongs to job 25"):
        Cursor.decode(Cursor(25).encode().decode(), 26)


def test_a_slow_plain_client_is_shown_the_newest_point_of_a_phase() -> None:
    subscriber = Subscriber(25)
    for seq in range(1, 500):
        subscriber.offer(update(seq, seq, slot="metrics/train"))
    assert subscriber.take() == ['{"type":"metrics","data":{"n":499}}']


def test_a_slow_full_client_is_told_what_it_missed_within_a_bound() -> None:
    subscriber = Subscriber(25, full=True, cursor=Cursor(25))
    for seq in range(1, FRAMES_MAX + 101):
        subscriber.offer(update(seq, seq))
    texts = subscriber.take()
    assert len(texts) == FRAMES_MAX + 1
    assert texts[0] == '{"type":"gap","data":{"frames":100}}'
    assert f'{{"n":{FRAMES_MAX + 100}}}' in texts[-1]


def test_held_updates_come_after_what_catching_up_brought_and_only_once() -> None:
    subscriber = Subscriber(25, full=True, cursor=Cursor(25))
    subscriber.hold()
    for seq in (3, 4):
        subscriber.offer(update(seq, seq))
    assert subscriber.cursor is not None
    for seq in (1, 2, 3):
        found = update(seq, seq)
        assert subscriber.cursor.accept(found)
        subscriber.put(found.frames[0])
    subscriber.release()
    assert [text.split('"data":')[1][:7] for text in subscriber.take()] == [f'{{"n":{n}}}' for n in (1, 2, 3, 4)]
