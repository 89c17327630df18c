"""Long chaos: for minutes, whatever may be killed is killed, at random; then everything is there exactly once."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest

from tests.chaos.conftest import Chaos
from trainers.processes import read_mark
from trainers.supervisor import SUPERVISOR_PID

STEPS = 4_000
STEP_S = 0.03
RUNS = 3
KILLS = 14
SEED = 20261124


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_kills_at_random_lose_and_double_nothing(chaos: Chaos) -> None:
    source = random.Random(SEED)
    chaos.start_launcher("launcher-0")
    launcher = "launcher-0"
    jobs = [await chaos.create_run(STEPS, STEP_S) for _ in range(RUNS)]
    for job_id in jobs:
        await chaos.has_returned(job_id, 20)
    for number in range(1, KILLS + 1):
        await asyncio.sleep(source.uniform(2, 6))  # the spacing of accidents, not a wait for anything
        match source.choice(["core", "api", "launcher", "supervisor"]):
            case "core":
                chaos.running.kill("core")
                chaos.running.start_core()
            case "api":
                chaos.running.kill("api")
                chaos.running.start_api()
            case "launcher":
                chaos.running.kill(launcher)
                launcher = f"launcher-{number}"
                chaos.start_launcher(launcher)
            case "supervisor":
                mark = read_mark(chaos.folder(source.choice(jobs)) / SUPERVISOR_PID)
                if mark is not None and mark.alive():
                    os.kill(mark.pid, signal.SIGKILL)
    for job_id in jobs:
        job = await chaos.ends(job_id, timeout_s=300)
        assert (job["status"], job["integrity"], job["attempt"]) == ("completed", "complete", 1)
        assert await chaos.steps(job_id) == list(range(1, STEPS + 1))
        logs = await chaos.client.get(f"training/jobs/{job_id}/logs", params={"source": "trainer", "limit": 1})
        assert logs.json()["total"] == STEPS
