from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from stack.processes import stop_runs
from tests.running import Running, create_job, register_dataset, running_in
from tests.services import World
from tests.waiting import eventually

TRAINERS = '{"steady": "tests.chaos.steady_trainer"}'


@dataclass(slots=True)
class Chaos:
    """A whole system with a launcher, and what tests of it ask for."""

    running: Running
    client: httpx.AsyncClient
    dataset_id: int

    def start_launcher(self, name: str = "launcher", **extra: str) -> None:
        self.running.start(name, "-m", "trainers.launcher", EPOCHLOG_TRAINERS=TRAINERS, EPOCHLOG_SLOTS="4", **extra)

    async def create_run(self, steps: int, step_s: float = 0.02) -> int:
        """A job of the steady trainer; the launcher takes it."""
        config = {"epochs": 1, "steps": steps, "step_s": step_s}
        return await create_job(self.client, self.dataset_id, framework="steady", launch=True, config=config)

    def folder(self, job_id: int, attempt: int = 1) -> Path:
        return self.running.world.folder / "runs" / f"job-{job_id}" / f"attempt-{attempt}"

    async def job(self, job_id: int) -> dict[str, Any]:
        answer = await self.client.get(f"training/jobs/{job_id}")
        found: dict[str, Any] = answer.json()
        return found

    async def has_returned(self, job_id: int, step: int) -> None:
        """Wait until the trainer's call for this step has returned."""
        path = self.folder(job_id) / "output" / "returned"

        def returned() -> bool:
            text = path.read_text() if path.exists() else ""
            return text.isdigit() and int(text) >= step

        await eventually(returned, timeout_s=40, what=f"step {step} has returned")

    async def ends(self, job_id: int, timeout_s: float = 60) -> dict[str, Any]:
        async def ended() -> dict[str, Any] | None:
            try:
                job = await self.job(job_id)
            except httpx.HTTPError:
                return None
            return job if job.get("status") in ("completed", "failed", "stopped") else None

        job = await eventually(ended, timeout_s=timeout_s, what=f"job {job_id} ends")
        assert job is not None
        return job

    async def steps(self, job_id: int) -> list[int]:
        answer = await self.client.get(f"training/jobs/{job_id}/metrics/series", params={"names": "train/loss"})
        (series,) = answer.json()["series"]
        steps: list[int] = series["steps"]
        return steps

    async def messages(self, job_id: int) -> list[str]:
        answer = await self.client.get(f"training/jobs/{job_id}/logs", params={"limit": 1000, "source": "trainer"})
        return [line["message"] for line in answer.json()["logs"]]

    async def has_everything_once(self, job_id: int, steps: int) -> None:
        assert await self.steps(job_id) == list(range(1, steps + 1))
        assert await self.messages(job_id) == [f"step {step}" for step in range(1, steps + 1)]


@pytest_asyncio.fixture
async def chaos(world: World) -> AsyncIterator[Chaos]:
    async with running_in(world) as running:
        dataset_id = await register_dataset(world)
        async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as client:
            try:
                yield Chaos(running, client, dataset_id)
            finally:
                running.stop()
                stop_runs(world.folder)
