"""A launched trainer on the SDK's way: the server decides, the run ends within an epoch, its results are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from stack.processes import stop_runs
from tests.running import create_job, register_dataset, running_in
from tests.services import World
from tests.waiting import eventually

TRAINERS = '{"plateau": "tests.e2e.plateau_trainer"}'
PATIENCE, DECIDING_EPOCH = 2, 4
CONFIG = {"epochs": 40, "epoch_s": 2.0, "early_stopping": {"patience": PATIENCE}, "primary_metric": "mAP50"}


@pytest.mark.full
async def test_a_launched_run_that_gets_no_better_stops_within_an_epoch(world: World) -> None:
    async with running_in(world) as running:
        dataset_id = await register_dataset(world)
        async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as client:
            try:
                running.start_early_stop()
                running.start_launcher(EPOCHLOG_TRAINERS=TRAINERS)
                job_id = await create_job(client, dataset_id, framework="plateau", launch=True, config=CONFIG)

                async def ended() -> dict[str, Any] | None:
                    job: dict[str, Any] = (await client.get(f"training/jobs/{job_id}")).json()
                    # Its exit is noted after its own last word.
                    return job if job["exit_code"] is not None else None

                job = await eventually(ended, timeout_s=90, what="the run ends")
                events = (await client.get(f"training/jobs/{job_id}/events?limit=1000")).json()["events"]
            finally:
                await asyncio.to_thread(running.stop)
                await asyncio.to_thread(stop_runs, world.folder)
    assert job["status"] == "stopped", job
    assert (job["early_stopping"]["rule"], job["early_stopping"]["epoch"]) == ("patience", DECIDING_EPOCH)
    # Decided on the report of an epoch, while the next one runs: that one ends the run.
    assert job["stopped_at_epoch"] in (DECIDING_EPOCH, DECIDING_EPOCH + 1)
    assert job["training_results"]["best_epoch"] == 2
    assert (job["exit_code"], job["integrity"]) == (0, "complete")
    assert job["checkpoints"]["last"] is not None
    types = [event["type"] for event in events if event["ignored_reason"] is None]
    assert types.count("training.stop.decided.v1") == types.count("training.stop.signalled.v1") == 1
    assert types.index("training.stop.decided.v1") < types.index("training.job.stopped.v1")
