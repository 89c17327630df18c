"""Our own processes for tests: the API and the core projections, really running in a world of their own."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.services import Services, World, a_world, free_port

READY_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Running:
    """A world with processes in it. ``processes`` by the name of their log."""

    world: World
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def backend_url(self) -> str:
        return f"{self.url}/api/v1"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/v1/ws/training"

    def environment(self, **extra: str) -> dict[str, str]:
        return self.world.environment(EPOCHLOG_API_PORT=str(self.port), BACKEND_URL=self.backend_url, **extra)

    def start(self, name: str, *arguments: str, **extra: str) -> subprocess.Popen[bytes]:
        process = self.world.start(
            *arguments, log=name, EPOCHLOG_API_PORT=str(self.port), BACKEND_URL=self.backend_url, **extra
        )
        self.processes[name] = process
        return process

    def start_api(self) -> subprocess.Popen[bytes]:
        return self.start("api", "-m", "api", EPOCHLOG_LOG_LEVEL="WARNING")

    def start_core(self) -> subprocess.Popen[bytes]:
        return self.start("core", "-m", "projections", "run", "core", EPOCHLOG_LOG_LEVEL="WARNING")

    def start_early_stop(self) -> subprocess.Popen[bytes]:
        return self.start("early-stop", "-m", "projections", "run", "early-stop")

    def start_launcher(self, **extra: str) -> subprocess.Popen[bytes]:
        return self.start("launcher", "-m", "trainers.launcher", **extra)

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        last = "no answer"
        while time.monotonic() < deadline:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended with {process.returncode}:\n{self.log(name)}")
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"{self.url}/readyz", timeout=10)
                if answer.status_code == 200:
                    return
                last = answer.text
            time.sleep(0.1)
        raise AssertionError(f"not ready after {READY_TIMEOUT_S} s: {last}")

    def log(self, name: str) -> str:
        return (self.world.folder / f"{name}.log").read_text(errors="replace")[-4_000:]

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.asynccontextmanager
async def running_in(world: World, *, core: bool = True) -> AsyncIterator[Running]:
    """The API and, unless ``core`` is false, the core projections, ready."""
    await asyncio.to_thread(world.run, "-m", "projections", "migrate")
    running = Running(world, free_port())
    try:
        running.start_api()
        if core:
            running.start_core()
            await asyncio.to_thread(running.wait_ready)
        yield running
    finally:
        await asyncio.to_thread(running.stop)


@contextlib.contextmanager
def running_for_module(services: Services, folder: Path) -> Iterator[Running]:
    """As running_in, for all tests of a module: they use jobs of their own and do not count what others did."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def enter() -> Running:
            world = await stack.enter_async_context(a_world(services, folder))
            return await stack.enter_async_context(running_in(world))

        running = runner.run(enter())
        try:
            yield running
        finally:
            runner.run(stack.aclose())


DATASET = {
    "dataset_id": 0,
    "name": "vehicles_v1",
    "description": "Vehicle detection dataset",
    "task_types": ["detection", "classification"],
    "total_images": 5000,
    "splits": {"train": 4000, "val": 800, "test": 200},
    "annotations": {
        "detection": {
            "file": "annotations_detection.json",
            "classes": ["car", "truck", "bus", "motorcycle"],
            "total_annotations": 15000,
        },
        "classification": {
            "file": "annotations_classification.json",
            "classes": ["vehicle", "non-vehicle"],
            "total_annotations": 5000,
        },
    },
    "storage_path": "s3://training-datasets/42/",
}


async def register_dataset(world: World, **changes: Any) -> int:
    """A data set that is registered without being read: through the one door, as the API does after reading it."""
    from datetime import UTC, datetime

    from events.types.datasets import DatasetRegistered
    from producers.accept import accept
    from producers.commands import RegisterDataset
    from producers.database import open_pool

    pool = await open_pool(world.database_url, size_max=2)
    try:
        description = DatasetRegistered.model_validate({**DATASET, **changes})
        receipt = await accept(pool, None, RegisterDataset(description=description), None, datetime.now(UTC))
    finally:
        await pool.close()
    return receipt.id


JOB = {
    "model_name": "yolo11n",
    "framework": "ultralytics",
    "task_type": "detection",
    "config": {"imgsz": 640, "epochs": 100, "batch": 16, "lr0": 0.01, "optimizer": "SGD", "augment": True},
    "name": "Vehicle Detection v1",
    "description": "First training run for vehicle detection",
    "launch": False,
}


async def create_job(client: httpx.AsyncClient, dataset_id: int, **changes: Any) -> int:
    """A job for a trainer that somebody runs by hand."""
    answer = await client.post("training/jobs", json={**JOB, "dataset_id": dataset_id, **changes})
    assert answer.status_code == 201, answer.text
    job_id: int = answer.json()["id"]
    return job_id
