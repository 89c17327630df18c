"""timm really trains, a little, under a real launcher: what is kept of it, and a pause that costs nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
import torch

from stack.processes import stop_runs
from tests.digit_pictures import write_digit_pictures
from tests.running import Running, create_job, running_for_module
from tests.services import Services
from tests.waiting import eventually
from trainers.timm import checkpoints

TRAINING_TIMEOUT_S = 150.0
CONFIG = {"imgsz": 32, "epochs": 2, "batch": 8, "lr0": 0.003, "optimizer": "AdamW", "augment": False, "workers": 0}
STEPS_AN_EPOCH = 8
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
    """A running system with a data set of 96 digits in its store."""

    running: Running
    client: httpx.AsyncClient
    dataset_id: int

    async def create(self, **config: Any) -> int:
        return await create_job(
            self.client,
            self.dataset_id,
            launch=True,
            framework="timm",
            model_name="test_resnet",
            task_type="classification",
            config={**CONFIG, "device": "cpu", **config},
            advanced_config={},
        )

    async def job(self, job_id: int) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(f"training/jobs/{job_id}")).json()
        return found

    async def becomes(self, job_id: int, *states: str) -> dict[str, Any]:
        """Wait until the job is in one of these states, or cannot come there any more."""

        async def is_there() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job["state"] in (*states, "completed", "failed", "stopped") else None

        job = await eventually(is_there, timeout_s=TRAINING_TIMEOUT_S, what=f"job {job_id} is {states}")
        assert job is not None
        return job

    async def ends(self, job_id: int) -> dict[str, Any]:
        return await self.becomes(job_id)

    async def trains(self, job_id: int, epoch: int) -> None:
        async def is_there() -> bool:
            return ((await self.job(job_id))["current_epoch"] or 0) >= epoch

        await eventually(is_there, timeout_s=TRAINING_TIMEOUT_S, what=f"epoch {epoch}")

    async def series(self, job_id: int, name: str) -> dict[str, Any]:
        answer = await self.client.get(f"training/jobs/{job_id}/metrics/series", params={"names": name})
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["series"]
        series: dict[str, Any] = found
        return series

    async def messages(self, job_id: int) -> list[str]:
        answer = await self.client.get(f"training/jobs/{job_id}/logs", params={"limit": 1000})
        return [line["message"] for line in answer.json()["logs"]]

    async def listed(self, job_id: int, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.client.get(f"training/jobs/{job_id}/{kind}")).json()[kind]
        return found


@pytest.fixture(scope="module")
def launched(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """API, projections and a launcher, and the data set in the store."""
    with running_for_module(services, tmp_path_factory.mktemp("world")) as running:
        world, store = running.world, running.world.store()
        digits = write_digit_pictures(world.folder / "digits")
        for path in sorted(path for path in digits.rglob("*") if path.is_file()):
            store.fput_object(world.datasets_bucket, f"digits/{path.relative_to(digits).as_posix()}", str(path))
        listener = world.folder / "listener"
        listener.mkdir()
        (listener / "sitecustomize.py").write_text(f"ASKED_HOSTS = {str(world.folder / 'asked-hosts')!r}\n{LISTENER}")
        running.start_launcher(PYTHONPATH=str(listener))
        try:
            yield running
        finally:
            running.stop()
            stop_runs(world.folder)


@pytest_asyncio.fixture
async def tiny(launched: Running) -> AsyncIterator[Tiny]:
    async with httpx.AsyncClient(base_url=f"{launched.backend_url}/", timeout=60) as client:
        body = {"name": "digits", "s3_uri": f"s3://{launched.world.datasets_bucket}/digits/"}
        answer = await client.post("datasets", json=body)
        assert answer.status_code in (200, 201), answer.text
        yield Tiny(launched, client, answer.json()["id"])


@pytest.mark.timeout(TRAINING_TIMEOUT_S + 60)
async def test_a_training_learns_and_its_checkpoints_and_pictures_are_kept(tiny: Tiny) -> None:
    job_id = await tiny.create(epochs=3, primary_metric="val_loss")
    job = await tiny.ends(job_id)
    assert (job["status"], job["integrity"]) == ("completed", "complete"), job
    assert (job["current_epoch"], job["total_epochs"]) == (3, 3)
    series = await tiny.series(job_id, "train/loss")
    assert [step for step in series["steps"] if step is not None] == list(range(1, 3 * STEPS_AN_EPOCH + 1))
    losses = (await tiny.series(job_id, "val/val_loss"))["values"]
    assert losses[-1] < losses[0]

    saved = await tiny.listed(job_id, "checkpoints")
    assert [(c["epoch"], c["step"], c["resumable"]) for c in saved] == [
        (n, n * STEPS_AN_EPOCH, True) for n in (1, 2, 3)
    ]
    best = losses.index(min(losses)) + 1
    assert job["training_results"]["best_epoch"] == best
    store, bucket = tiny.running.world.store(), tiny.running.world.checkpoints_bucket
    for name, epoch in (("best", best), ("last", 3)):
        path = tiny.running.world.folder / f"{name}.pt"
        store.fget_object(bucket, f"checkpoints/{job_id}/{name}.pt", str(path))
        assert checkpoints.read(str(path), torch.device("cpu"))["progress"]["epochs_done"] == epoch
    kinds = {artifact["kind"] for artifact in await tiny.listed(job_id, "artifacts")}
    assert kinds == {"plot", "prediction"}
    asked_hosts = tiny.running.world.folder / "asked-hosts"
    assert not asked_hosts.exists(), f"a trainer asks no other host: {asked_hosts.read_text()}"


@pytest.mark.full
@pytest.mark.timeout(TRAINING_TIMEOUT_S + 60)
async def test_a_paused_training_goes_on_where_it_was(tiny: Tiny) -> None:
    epochs = 20
    job_id = await tiny.create(epochs=epochs)
    await tiny.trains(job_id, 2)
    assert (await tiny.client.post(f"training/jobs/{job_id}/pause")).status_code == 202
    paused = await tiny.becomes(job_id, "paused")
    assert paused["state"] == "paused", paused
    done = (await tiny.series(job_id, "val/accuracy"))["epochs"][-1]
    assert 2 <= done < epochs
    assert (await tiny.client.post(f"training/jobs/{job_id}/resume")).status_code == 202
    job = await tiny.ends(job_id)
    assert (job["status"], job["integrity"], job["attempt"]) == ("completed", "complete", 2), job
    assert any(f"Going on after epoch {done}" in message for message in await tiny.messages(job_id))
    assert (await tiny.series(job_id, "val/accuracy"))["epochs"] == list(range(1, epochs + 1))
    rates = await tiny.series(job_id, "train/lr")
    of_steps = [(s, value) for s, value in zip(rates["steps"], rates["values"], strict=True) if s is not None]
    assert [step for step, _ in of_steps] == list(range(1, epochs * STEPS_AN_EPOCH + 1))
    after_warm_up = [value for step, value in of_steps if step > 4 * STEPS_AN_EPOCH]
    assert after_warm_up == sorted(after_warm_up, reverse=True), "one schedule over both attempts"


@pytest.mark.full
@pytest.mark.timeout(TRAINING_TIMEOUT_S + 60)
async def test_two_processes_are_stopped_as_one(tiny: Tiny) -> None:
    job_id = await tiny.create(epochs=500, device="cpu:2")
    await tiny.trains(job_id, 2)
    assert (await tiny.client.post(f"training/jobs/{job_id}/stop")).status_code == 202
    job = await tiny.ends(job_id)
    assert (job["status"], job["integrity"]) == ("stopped", "complete"), job
    last = max(await tiny.listed(job_id, "checkpoints"), key=lambda checkpoint: checkpoint["epoch"])
    assert (last["epoch"], last["resumable"]) == (job["stopped_at_epoch"], True)
    exit_file = tiny.running.world.folder / "runs" / f"job-{job_id}" / "attempt-1" / "exit.json"
    await eventually(exit_file.exists, what="the process's end is written down")
    assert json.loads(exit_file.read_text())["exit_code"] == 0
