"""When a run that says nothing is lost, found, or gone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from events.job import Job, Session, Stop, StopKind
from events.lifecycle import JobState
from producers.commands import JudgeFound, JudgeGone, JudgeLost
from tests.builders import NOON
from trainers.launcher.plan import Lease
from trainers.launcher.silence import Judgement, Patience, Signs, held_elsewhere, judge

PATIENCE = Patience(heartbeat_s=120, http_s=900, give_up_s=86_400)
BEATS = {"s": Session(attempt=1, rank=0, sender="sdk")}


def verdict(
    state: JobState,
    *,
    silent_s: float,
    watched_s: float = 10**6,
    lost_s: float | None = None,
    run_lives: bool = False,
    how_it_ended: str | None = None,
    **fields: Any,
) -> Judgement | None:
    now = NOON + timedelta(days=30)
    lost_at = None if lost_s is None else now - timedelta(seconds=lost_s)
    given = {"id": 25, "attempt": 1, "state": state, "created_at": NOON, "updated_at": NOON, "lost_at": lost_at}
    return judge(
        Job.model_validate({**given, "sessions": BEATS, **fields}),
        Signs(now - timedelta(seconds=silent_s)),
        now - timedelta(seconds=watched_s),
        PATIENCE,
        now,
        run_lives=run_lives,
        how_it_ended=how_it_ended,
    )


@pytest.mark.parametrize("state", [JobState.STARTING, JobState.RUNNING])
def test_a_run_is_lost_after_two_minutes_of_silence(state: JobState) -> None:
    assert verdict(state, silent_s=119) is None
    found = verdict(state, silent_s=121)
    assert isinstance(found, JudgeLost) and "121 s" in found.reason and found.last_seen is not None


def test_a_run_that_sends_no_heartbeats_has_a_quarter_of_an_hour() -> None:
    for sessions in ({}, {"s": Session(attempt=1, rank=0, sender="outbox")}, {"s": BEATS["s"].model_copy()}):
        attempt = 2 if "s" in sessions and sessions["s"].sender == "sdk" else 1
        assert verdict(JobState.RUNNING, silent_s=899, sessions=sessions, attempt=attempt) is None
        assert isinstance(verdict(JobState.RUNNING, silent_s=901, sessions=sessions, attempt=attempt), JudgeLost)


def test_silence_before_the_watch_began_counts_for_nothing() -> None:
    assert verdict(JobState.RUNNING, silent_s=10_000, watched_s=119) is None
    assert isinstance(verdict(JobState.RUNNING, silent_s=10_000, watched_s=121), JudgeLost)


def test_what_changed_the_job_is_a_sign_of_life_too() -> None:
    now = NOON + timedelta(days=30)
    assert verdict(JobState.RUNNING, silent_s=10_000, updated_at=now - timedelta(seconds=60)) is None


def test_a_sign_of_life_after_it_was_lost_finds_it() -> None:
    assert isinstance(verdict(JobState.LOST, silent_s=10, lost_s=11), JudgeFound)
    assert verdict(JobState.LOST, silent_s=12, lost_s=11) is None


def test_a_lost_run_whose_process_is_known_to_be_over_ends() -> None:
    found = verdict(JobState.LOST, silent_s=500, lost_s=300, how_it_ended="its process ended with SIGKILL")
    assert isinstance(found, JudgeGone) and "SIGKILL" in found.reason


def test_nobody_waits_for_ever() -> None:
    assert verdict(JobState.LOST, silent_s=90_000, lost_s=86_399) is None
    assert isinstance(verdict(JobState.LOST, silent_s=90_000, lost_s=86_401), JudgeGone)


@pytest.mark.parametrize(("state", "kind"), [(JobState.STOPPING, StopKind.STOP), (JobState.PAUSING, StopKind.PAUSE)])
def test_a_run_that_was_told_to_end_and_says_nothing_is_gone_unless_somebody_has_its_process(
    state: JobState, kind: StopKind
) -> None:
    stop = Stop(kind=kind, requested_by="api", reason="enough", requested_at=NOON)
    assert isinstance(verdict(state, silent_s=121, stop=stop), JudgeGone)
    assert verdict(state, silent_s=119, stop=stop) is None
    assert verdict(state, silent_s=10_000, stop=stop, run_lives=True) is None


@pytest.mark.parametrize(
    "state", [JobState.PENDING, JobState.QUEUED, JobState.PAUSED, JobState.RETRYING, JobState.FAILED]
)
def test_where_nothing_runs_nothing_is_missed(state: JobState) -> None:
    assert verdict(state, silent_s=10**6) is None


def test_a_lease_is_somebody_elses_until_it_runs_out() -> None:
    lease = Lease(25, 1, "host/1", NOON + timedelta(seconds=5))
    assert held_elsewhere(lease, "host/2", NOON)
    assert not held_elsewhere(lease, "host/1", NOON)
    assert not held_elsewhere(lease, "host/2", NOON + timedelta(seconds=6))
    assert not held_elsewhere(None, "host/2", NOON)
