"""Ultralytics really trains, a little, under a real launcher: what it reports, how it stops, whom it asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import torch

from stack.demo.digits import dataset_files, make_dataset
from stack.processes import stop_runs
from tests.running import Running, create_job, running_in
from tests.services import World
from tests.waiting import eventually

TRAINING_TIMEOUT_S = 150.0
PREFIX = "tiny"
CONFIG = {"imgsz": 64, "epochs": 2, "batch": 6, "lr0": 0.003, "optimizer": "AdamW", "workers": 0}
ADVANCED = {"warmup_epochs": 1, "mosaic": 0.0, "fliplr": 0.0}
# Notes every host that Python code of the trainer looks up; every process of Python reads this file when it starts.
LISTENER = """
import sys
def note(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "127.0.0.1", "localhost"):
        with open(ASKED_HOSTS, "a") as file:
            file.write(f"{arguments[0]}\\n")
sys.addaudithook(note)
"""


@dataclass(slots=True)
class Tiny:
    """A running system with a data set of sixteen pictures in its store."""

    running: Running
    client: httpx.AsyncClient
    dataset_id: int

    async def create(self, **config: Any) -> int:
        wanted = {**CONFIG, **config}
        return await create_job(self.client, self.dataset_id, launch=True, config=wanted, advanced_config=ADVANCED)

    async def job(self, job_id: int) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(f"training/jobs/{job_id}")).json()
        return found

    async def ends(self, job_id: int) -> dict[str, Any]:
        async def ended() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job["status"] in ("completed", "failed", "stopped") else None

        job = await eventually(ended, timeout_s=TRAINING_TIMEOUT_S, what=f"job {job_id} ends")
        assert job is not None
        return job

    async def series(self, job_id: int, name: str) -> dict[str, Any]:
        answer = await self.client.get(f"training/jobs/{job_id}/metrics/series", params={"names": name})
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["series"]
        series: dict[str, Any] = found
        return series

    def checkpoint(self, uri: str) -> dict[str, Any]:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        response = self.running.world.store().get_object(bucket, key)
        try:
            # Written by the run above: nothing foreign is unpickled.
            loaded: dict[str, Any] = torch.load(BytesIO(response.read()), map_location="cpu", weights_only=False)
        finally:
            response.close()
            response.release_conn()
        return loaded

    def last_uri(self, job_id: int) -> str:
        return f"s3://{self.running.world.checkpoints_bucket}/checkpoints/{job_id}/last.pt"

    def run_folder(self, job_id: int) -> Path:
        return self.running.world.folder / "runs" / f"job-{job_id}" / "attempt-1"

    @property
    def asked_hosts(self) -> Path:
        return self.running.world.folder / "asked-hosts"


@pytest_asyncio.fixture
async def tiny(world: World) -> AsyncIterator[Tiny]:
    dataset = make_dataset(world.folder / "digits", train=12, val=4, test=0)
    listener = world.folder / "listener"
    listener.mkdir()
    (listener / "sitecustomize.py").write_text(f"ASKED_HOSTS = {str(world.folder / 'asked-hosts')!r}\n{LISTENER}")
    async with running_in(world) as running:
        store = world.store()
        for path in dataset_files(dataset.folder):
            key = f"{PREFIX}/{path.relative_to(dataset.folder).as_posix()}"
            await asyncio.to_thread(store.fput_object, world.datasets_bucket, key, str(path))
        async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=60) as client:
            body = {"name": "tiny", "s3_uri": f"s3://{world.datasets_bucket}/{PREFIX}/"}
            answer = await client.post("datasets", json=body)
            assert answer.status_code == 201, answer.text
            made = Tiny(running, client, answer.json()["id"])
            running.start_launcher(PYTHONPATH=str(listener))
            try:
                yield made
            finally:
                running.stop()
                await asyncio.to_thread(stop_runs, world.folder)


@pytest.mark.timeout(TRAINING_TIMEOUT_S + 60)
async def test_a_training_reports_epochs_steps_checkpoints_and_results(tiny: Tiny) -> None:
    job_id = await tiny.create()
    job = await tiny.ends(job_id)
    assert (job["status"], job["integrity"]) == ("completed", "complete"), job
    assert (job["current_epoch"], job["total_epochs"]) == (2, 2)

    # Twelve pictures in batches of six: two steps an epoch, and one report without a step for the epoch.
    for name in ("train/loss", "train/box_loss", "train/cls_loss", "train/lr"):
        series = await tiny.series(job_id, name)
        assert [step for step in series["steps"] if step is not None] == [1, 2, 3, 4], name
        assert len(series["values"]) == 6, name
    # The final validation of the best checkpoint is no third epoch.
    for name in ("val/mAP50", "val/metrics/mAP50(B)", "val/precision", "val/recall", "val/mAP50-95", "val/val_loss"):
        series = await tiny.series(job_id, name)
        assert (series["epochs"], series["steps"]) == ([1, 2], [None, None]), name

    checkpoints = (await tiny.client.get(f"training/jobs/{job_id}/checkpoints")).json()["checkpoints"]
    assert [c["epoch"] for c in checkpoints if c["checkpoint_path"].endswith("last.pt")] == [1, 2]
    last = tiny.checkpoint(tiny.last_uri(job_id))
    # Ultralytics counts from 0, and strips its own files at the end: these were copied before.
    assert (last["epoch"], last["optimizer"] is None) == (1, False)

    logs = (await tiny.client.get(f"training/jobs/{job_id}/logs", params={"limit": 1000})).json()["logs"]
    messages = [line["message"] for line in logs]
    assert any("from its architecture file" in message for message in messages)
    assert "Training completed successfully" in messages
    exit_file = tiny.run_folder(job_id) / "exit.json"
    await eventually(exit_file.exists, what="the process's end is written down")
    assert json.loads(exit_file.read_text())["exit_code"] == 0
    asked = tiny.asked_hosts.read_text() if tiny.asked_hosts.exists() else ""
    assert asked == "", "a trainer asks no other host"


@pytest.mark.timeout(TRAINING_TIMEOUT_S + 60)
async def test_a_stopped_training_ends_at_a_whole_epoch_with_a_checkpoint_to_go_on_from(tiny: Tiny) -> None:
    job_id = await tiny.create(epochs=500)

    async def trains() -> bool:
        return ((await tiny.job(job_id))["current_epoch"] or 0) >= 2

    await eventually(trains, timeout_s=TRAINING_TIMEOUT_S, what="the second epoch")
    assert (await tiny.client.post(f"training/jobs/{job_id}/stop", json={"reason": "enough"})).status_code == 202
    job = await tiny.ends(job_id)
    assert (job["status"], job["integrity"]) == ("stopped", "complete"), job
    stopped_at = job["stopped_at_epoch"]
    assert 2 <= stopped_at < 500
    epochs = (await tiny.series(job_id, "val/mAP50"))["epochs"]
    assert epochs == list(range(1, stopped_at + 1)), "the final validation is no epoch"
    last = tiny.checkpoint(tiny.last_uri(job_id))
    assert (last["epoch"] + 1, last["optimizer"] is None) == (stopped_at, False)


@pytest.mark.timeout(TRAINING_TIMEOUT_S)
async def test_a_wrong_configuration_fails_with_every_problem_before_anything_is_fetched(tiny: Tiny) -> None:
    job_id = await create_job(
        tiny.client,
        tiny.dataset_id,
        launch=True,
        config={**CONFIG, "imgsz": 100},
        advanced_config={"mosaic": 7, "mixup": "much"},
    )
    job = await tiny.ends(job_id)
    assert (job["status"], job["error_code"]) == ("failed", "INVALID_CONFIG")
    for words in ("imgsz", "multiple of 32", "mosaic", "mixup"):
        assert words in job["error_message"]
    # Of a type that only Ultralytics itself can judge.
    job_id = await create_job(
        tiny.client, tiny.dataset_id, launch=True, config=CONFIG, advanced_config={"close_mosaic": "never"}
    )
    job = await tiny.ends(job_id)
    assert (job["status"], job["error_code"]) == ("failed", "INVALID_CONFIG")
    assert "close_mosaic" in job["error_message"]
    assert not (tiny.running.world.folder / "cache").exists()
