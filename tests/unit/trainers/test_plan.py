"""What the launcher does next, from what should run and what runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.job import Job, Stop, StopKind
from events.lifecycle import JobState
from tests.builders import NOON
from trainers.launcher.backend import Run, RunState
from trainers.launcher.plan import EndStopped, Launch, Lease, Queue, Retry, StartAgain, TakeOver, Terminate, plan

ME, OTHER = "host/1", "host/2"


def job(job_id: int, state: JobState = JobState.PENDING, **fields: object) -> Job:
    known = {"id": job_id, "state": state, "created_at": NOON + timedelta(seconds=job_id), "framework": "ultralytics"}
    return Job.model_validate({**known, "attempt": 0 if state in (JobState.PENDING, JobState.QUEUED) else 1, **fields})


def run(job_id: int, state: RunState = RunState.SUPERVISED, attempt: int = 1) -> Run:
    return Run(job_id, attempt, state, Path("runs"))


def lease(job_id: int, launcher: str, seconds: float) -> Lease:
    return Lease(job_id, 1, launcher, NOON + timedelta(seconds=seconds))


def test_the_oldest_job_gets_the_free_slot_and_the_others_are_queued_once() -> None:
    jobs = [job(3), job(1), job(2, JobState.QUEUED)]
    assert plan(jobs, {}, [], 1, ME, NOON) == [
        Launch(1, 1, "attempt 1: a slot is free"),
        Queue(3, "waits for one of 1 slots"),
    ]


def test_a_running_job_holds_its_slot() -> None:
    running = job(1, JobState.RUNNING)
    assert plan([running, job(2, JobState.QUEUED)], {}, [run(1)], 1, ME, NOON) == []
    assert plan([running, job(2)], {}, [run(1)], 2, ME, NOON) == [Launch(2, 1, "attempt 1: a slot is free")]


def test_a_run_whose_job_ended_holds_its_slot_while_its_process_is_there() -> None:
    assert plan([job(2, JobState.QUEUED)], {}, [run(1)], 1, ME, NOON) == []


def test_a_run_that_ended_and_is_still_shipped_holds_no_slot_and_keeps_its_job_from_a_second_attempt() -> None:
    shipping = [run(1, RunState.SHIPPING)]
    jobs = [job(1, JobState.QUEUED, attempt=1), job(2, JobState.QUEUED)]
    assert plan(jobs, {}, shipping, 1, ME, NOON) == [Launch(2, 1, "attempt 1: a slot is free")]
    assert plan([job(1, JobState.RUNNING)], {}, shipping, 1, ME, NOON) == []
    assert plan([job(1, JobState.STARTING)], {}, shipping, 1, ME, NOON) == []


def test_a_job_for_a_trainer_run_by_hand_is_left_alone() -> None:
    assert plan([job(1, launch=False)], {}, [], 1, ME, NOON) == []


def test_what_another_launcher_holds_is_left_alone_until_its_lease_runs_out() -> None:
    assert plan([job(1)], {1: lease(1, OTHER, 5)}, [], 1, ME, NOON) == []
    assert plan([job(1)], {1: lease(1, OTHER, -1)}, [], 1, ME, NOON) == [Launch(1, 1, "attempt 1: a slot is free")]
    abandoned = [run(1, RunState.ABANDONED)]
    running = job(1, JobState.RUNNING)
    assert plan([running], {1: lease(1, OTHER, 5)}, abandoned, 1, ME, NOON) == []
    assert plan([running], {1: lease(1, ME, 5)}, abandoned, 1, ME, NOON) == [TakeOver(1, 1)]


def test_a_launch_that_was_recorded_but_never_happened_is_done_again() -> None:
    starting = job(1, JobState.STARTING)
    assert plan([starting], {1: lease(1, OTHER, -1)}, [], 1, ME, NOON) == [StartAgain(1, 1)]
    assert plan([starting], {1: lease(1, OTHER, 9)}, [], 1, ME, NOON) == []
    assert plan([starting], {}, [run(1)], 1, ME, NOON) == []


def test_a_stop_is_passed_on_once() -> None:
    stop = Stop(requested_by="api", reason="enough", requested_at=NOON)
    stopping = job(1, JobState.STOPPING, stop=stop)
    assert plan([stopping], {}, [run(1)], 1, ME, NOON) == [Terminate(1, 1, "stop requested by api")]
    told = job(1, JobState.STOPPING, stop=stop.model_copy(update={"signalled_at": NOON}))
    assert plan([told], {}, [run(1)], 1, ME, NOON) == []


def test_a_stop_before_any_process_was_there_ends_the_job() -> None:
    stop = Stop(requested_by="api", reason="enough", requested_at=NOON)
    stopping = job(1, JobState.STOPPING, stop=stop)
    ended = [EndStopped(1, 1, "stop requested by api before it started")]
    assert plan([stopping], {}, [], 1, ME, NOON) == ended
    assert plan([stopping], {1: lease(1, OTHER, -1)}, [], 1, ME, NOON) == ended
    # Another launcher may have its process; a trainer that reported ends by itself; one run by hand is nobody's.
    assert plan([stopping], {1: lease(1, OTHER, 5)}, [], 1, ME, NOON) == []
    assert plan([job(1, JobState.STOPPING, stop=stop, started_session="s")], {}, [], 1, ME, NOON) == []
    assert plan([job(1, JobState.STOPPING, stop=stop, launch=False)], {}, [], 1, ME, NOON) == []


def test_a_pause_before_any_process_was_there_ends_the_attempt() -> None:
    pause = Stop(kind=StopKind.PAUSE, requested_by="api", reason="urgent work", requested_at=NOON)
    pausing = job(1, JobState.PAUSING, stop=pause)
    assert plan([pausing], {}, [], 1, ME, NOON) == [EndStopped(1, 1, "pause requested by api before it started")]


def test_a_cancel_is_passed_on_in_a_hurry() -> None:
    cancel = Stop(kind=StopKind.CANCEL, requested_by="api", reason="wrong", requested_at=NOON)
    cancelled = job(1, JobState.STOPPING, stop=cancel)
    assert plan([cancelled], {}, [run(1)], 1, ME, NOON) == [Terminate(1, 1, "cancel requested by api", StopKind.CANCEL)]


def test_a_paused_run_holds_its_slot_only_while_its_process_is_there() -> None:
    jobs = [job(1, JobState.PAUSED), job(2, JobState.QUEUED)]
    assert plan(jobs, {}, [run(1)], 1, ME, NOON) == []
    assert plan(jobs, {}, [], 1, ME, NOON) == [Launch(2, 1, "attempt 1: a slot is free")]


def failed(**fields: object) -> Job:
    return job(1, JobState.FAILED, error_code="PROCESS_DIED", end_appended_at=NOON, **fields)


@pytest.mark.parametrize(("retries", "delay_s"), [(0, 10), (1, 20), (2, 40)])
def test_a_transient_failure_is_seen_before_it_is_tried_again_and_longer_every_time(retries: int, delay_s: int) -> None:
    before, then = NOON + timedelta(seconds=delay_s - 1), NOON + timedelta(seconds=delay_s)
    assert plan([failed(retries=retries)], {}, [], 1, ME, before) == []
    reason = f"PROCESS_DIED may be gone by itself: retry {retries + 1} of 3"
    assert plan([failed(retries=retries)], {}, [], 1, ME, then) == [Retry(1, reason)]


def test_a_retry_is_left_to_who_holds_the_job_and_waits_for_the_old_run() -> None:
    later = NOON + timedelta(minutes=5)
    assert plan([failed()], {1: lease(1, OTHER, 600)}, [], 1, ME, later) == []
    retrying = job(1, JobState.RETRYING)
    assert plan([retrying], {}, [run(1)], 2, ME, later) == []
    assert plan([retrying], {}, [], 2, ME, later) == [
        Launch(1, 2, "attempt 2: a slot is free; from the beginning, there is no checkpoint to go on from")
    ]


def test_a_launch_says_from_where_it_goes_on() -> None:
    checkpoint = {"path": "s3://c/last.pt", "object_uri": "s3://c/ab.pt", "epoch": 3, "attempt": 1, "resumable": True}
    resumed = job(1, JobState.QUEUED, attempt=1, resume_checkpoint=checkpoint)
    (launch,) = plan([resumed], {}, [], 1, ME, NOON)
    assert launch == Launch(1, 2, "attempt 2: a slot is free; goes on after epoch 3, from s3://c/ab.pt")


def test_an_ended_job_whose_supervisor_died_is_brought_to_its_end() -> None:
    assert plan([], {}, [run(1, RunState.ABANDONED)], 1, ME, NOON) == [TakeOver(1, 1)]


states = st.sampled_from([JobState.PENDING, JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.STOPPING])


@given(
    st.lists(st.tuples(states, st.booleans(), st.sampled_from([None, ME, OTHER])), max_size=12),
    st.integers(min_value=0, max_value=5),
)
def test_nothing_is_started_twice_and_never_more_than_there_are_slots(
    given_jobs: list[tuple[JobState, bool, str | None]], slots: int
) -> None:
    jobs = [job(number, state) for number, (state, _, _) in enumerate(given_jobs, start=1)]
    runs = [run(number) for number, (_, runs_here, _) in enumerate(given_jobs, start=1) if runs_here]
    leases = {n: lease(n, who, 5) for n, (_, _, who) in enumerate(given_jobs, start=1) if who is not None}
    actions = plan(jobs, leases, runs, slots, ME, NOON)
    launched = [action.job_id for action in actions if isinstance(action, Launch | StartAgain)]
    here = {found.job_id for found in runs}
    assert len(launched) == len(set(launched))
    assert not here.intersection(launched)
    assert not {n for n, held in leases.items() if held.launcher == OTHER}.intersection(launched)
    new = [action for action in actions if isinstance(action, Launch)]
    assert len(new) <= max(0, slots)
