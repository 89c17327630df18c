"""kill -9 of our own processes in the middle of a run: the run goes on, and everything counts exactly once."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.chaos.conftest import Chaos
from tests.waiting import eventually
from trainers.processes import read_mark
from trainers.recorder import RECORDER_PID
from trainers.supervisor import DONE, SUPERVISOR_PID

STEPS = 250


async def test_the_projections_worker_is_killed_twice(chaos: Chaos) -> None:
    chaos.start_launcher()
    job_id = await chaos.create_run(STEPS)
    for step in (60, 140):
        await chaos.has_returned(job_id, step)
        chaos.running.kill("core")
        chaos.running.start_core()
    job = await chaos.ends(job_id)
    assert (job["status"], job["integrity"]) == ("completed", "complete")
    await chaos.has_everything_once(job_id, STEPS)


async def test_api_and_launcher_are_killed(chaos: Chaos) -> None:
    chaos.start_launcher()
    job_id = await chaos.create_run(STEPS)
    await chaos.has_returned(job_id, 50)
    chaos.running.kill("api")
    chaos.running.kill("launcher")
    await chaos.has_returned(job_id, 120)
    chaos.running.start_api()
    chaos.start_launcher("second-launcher")
    job = await chaos.ends(job_id)
    assert (job["status"], job["integrity"], job["attempt"]) == ("completed", "complete", 1)
    await chaos.has_everything_once(job_id, STEPS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=lambda number: number.name)
async def test_the_trainer_is_killed_and_every_call_that_had_returned_is_in_the_log(
    chaos: Chaos, number: signal.Signals
) -> None:
    chaos.start_launcher()
    job_id = await chaos.create_run(5_000, 0.005)
    await chaos.has_returned(job_id, 100)
    trainer = read_mark(chaos.folder(job_id) / "trainer.pid")
    assert trainer is not None
    os.kill(trainer.pid, number)
    job = await chaos.ends(job_id, timeout_s=20)
    assert (job["status"], job["exit_signal"], job["error_code"]) == ("failed", number.name, "PROCESS_DIED")
    assert number.name in job["error_message"]
    assert job["integrity"] == "complete"
    returned = int((chaos.folder(job_id) / "output" / "returned").read_text())
    steps = await chaos.steps(job_id)
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= returned


async def test_launcher_and_supervisor_are_killed_and_the_true_end_is_recorded(chaos: Chaos) -> None:
    chaos.start_launcher()
    job_id = await chaos.create_run(STEPS)
    await chaos.has_returned(job_id, 50)
    chaos.running.kill("launcher")
    supervisor = read_mark(chaos.folder(job_id) / SUPERVISOR_PID)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    await chaos.has_returned(job_id, 150)
    chaos.start_launcher("second-launcher")
    job = await chaos.ends(job_id)
    assert (job["status"], job["integrity"]) == ("completed", "complete")
    await chaos.has_everything_once(job_id, STEPS)
    await eventually((chaos.folder(job_id) / DONE).exists, timeout_s=30, what="the new supervisor is done")
    assert json.loads((chaos.folder(job_id) / "exit.json").read_text())["exit_code"] == 0

    async def exit_recorded() -> bool:
        return bool((await chaos.job(job_id))["exit_code"] == 0)

    await eventually(exit_recorded, what="the exit code is in the log")


async def test_launcher_supervisor_and_trainer_are_killed(chaos: Chaos) -> None:
    chaos.start_launcher()
    job_id = await chaos.create_run(5_000, 0.005)
    await chaos.has_returned(job_id, 50)
    chaos.running.kill("launcher")
    for name in (SUPERVISOR_PID, "trainer.pid"):
        mark = read_mark(chaos.folder(job_id) / name)
        assert mark is not None
        os.kill(mark.pid, signal.SIGKILL)
    chaos.start_launcher("second-launcher")
    job = await chaos.ends(job_id, timeout_s=60)
    assert (job["status"], job["exit_signal"]) == ("failed", "SIGKILL")


async def test_even_the_recorder_is_killed_and_the_run_is_not_taken_for_running_for_ever(chaos: Chaos) -> None:
    chaos.start_launcher()
    job_id = await chaos.create_run(5_000, 0.005)
    await chaos.has_returned(job_id, 50)
    for name in (RECORDER_PID, "trainer.pid"):
        mark = read_mark(chaos.folder(job_id) / name)
        assert mark is not None
        os.kill(mark.pid, signal.SIGKILL)
    job = await chaos.ends(job_id, timeout_s=30)
    assert job["status"] == "failed"


async def test_a_stop_reaches_the_trainer_which_ends_by_itself(chaos: Chaos) -> None:
    chaos.start_launcher()
    job_id = await chaos.create_run(5_000, 0.01)
    await chaos.has_returned(job_id, 20)
    answer = await chaos.client.post(f"training/jobs/{job_id}/stop", json={"reason": "enough"})
    assert answer.status_code == 202
    job = await chaos.ends(job_id, timeout_s=30)
    assert (job["status"], job["state"]) == ("stopped", "stopped")
    events = (await chaos.client.get(f"training/jobs/{job_id}/events")).json()["events"]
    types = [event["type"] for event in events]
    assert "training.stop.requested.v1" in types
    assert "training.stop.signalled.v1" in types


async def test_two_launchers_start_each_of_eight_jobs_once(chaos: Chaos) -> None:
    jobs = [await chaos.create_run(20, 0.01) for _ in range(8)]
    chaos.start_launcher("one", EPOCHLOG_DATA_DIR=str(chaos.running.world.folder))
    chaos.start_launcher("two", EPOCHLOG_DATA_DIR=str(chaos.running.world.folder))
    for job_id in jobs:
        job = await chaos.ends(job_id, timeout_s=90)
        assert (job["status"], job["attempt"]) == ("completed", 1)
        await chaos.has_everything_once(job_id, 20)
