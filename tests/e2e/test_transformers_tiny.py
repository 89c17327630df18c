"""transformers really trains, a little, under a real launcher: what it reports, how it stops and goes on."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from stack.demo.digits import make_dataset
from stack.processes import stop_runs
from tests.digit_pictures import write_digit_pictures
from tests.running import Running, create_job, running_for_module
from tests.services import Services
from tests.waiting import eventually

TRAINING_TIMEOUT_S = 150.0
CLASSES = 3
TRAIN_A_CLASS = 24
CONFIG = {"imgsz": 32, "epochs": 3, "batch": 8, "lr0": 0.002, "optimizer": "AdamW", "augment": False, "device": "cpu"}
STEPS_AN_EPOCH = CLASSES * TRAIN_A_CLASS // 8
ENDS = ("completed", "failed", "stopped")
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
    """A running system with two small data sets in its store."""

    running: Running
    client: httpx.AsyncClient
    digits: int
    scenes: int

    async def classify(self, *, advanced: dict[str, Any] | None = None, **config: Any) -> int:
        return await create_job(
            self.client,
            self.digits,
            launch=True,
            framework="transformers",
            model_name="vit-micro-patch8",
            task_type="classification",
            config={**CONFIG, **config},
            advanced_config=advanced or {},
        )

    async def job(self, job_id: int) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(f"training/jobs/{job_id}")).json()
        return found

    async def ends(self, job_id: int) -> dict[str, Any]:
        async def ended() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job["status"] in ENDS else None

        job = await eventually(ended, timeout_s=TRAINING_TIMEOUT_S, what=f"job {job_id} ends")
        assert job is not None
        return job

    async def series(self, job_id: int, name: str) -> dict[str, Any]:
        answer = await self.client.get(f"training/jobs/{job_id}/metrics/series", params={"names": name})
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["series"]
        series: dict[str, Any] = found
        return series

    async def messages(self, job_id: int) -> list[str]:
        answer = await self.client.get(f"training/jobs/{job_id}/logs", params={"limit": 1000})
        return [line["message"] for line in answer.json()["logs"]]

    def files_of(self, uri: str) -> list[str]:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        response = self.running.world.store().get_object(bucket, key)
        try:
            with tarfile.open(fileobj=BytesIO(response.read())) as tar:
                return [Path(name).name for name in tar.getnames()]
        finally:
            response.close()
            response.release_conn()


@pytest.fixture(scope="module")
def launched(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """API, projections and a launcher, and two data sets in the store."""
    with running_for_module(services, tmp_path_factory.mktemp("world")) as running:
        world, store = running.world, running.world.store()
        folders = {
            "digits": write_digit_pictures(world.folder / "digits", classes=CLASSES, train=TRAIN_A_CLASS, val=8),
            "scenes": make_dataset(world.folder / "scenes", train=12, val=4, test=0).folder,
        }
        for name, folder in folders.items():
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                store.fput_object(world.datasets_bucket, f"{name}/{path.relative_to(folder).as_posix()}", str(path))
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
        ids = []
        for name in ("digits", "scenes"):
            body = {"name": name, "s3_uri": f"s3://{launched.world.datasets_bucket}/{name}/"}
            answer = await client.post("datasets", json=body)
            assert answer.status_code in (200, 201), answer.text
            ids.append(answer.json()["id"])
        yield Tiny(launched, client, *ids)


@pytest.mark.timeout(TRAINING_TIMEOUT_S + 60)
async def test_a_classifier_learns_and_reports_epochs_steps_checkpoints_pictures_and_results(tiny: Tiny) -> None:
    job_id = await tiny.classify(advanced={"fp16": True})
    job = await tiny.ends(job_id)
    assert (job["status"], job["integrity"]) == ("completed", "complete"), job
    assert (job["current_epoch"], job["total_epochs"]) == (3, 3)
    assert job["training_results"]["total_epochs"] == 3

    steps = list(range(1, 3 * STEPS_AN_EPOCH + 1))
    for name in ("train/loss", "train/lr"):
        series = await tiny.series(job_id, name)
        assert [step for step in series["steps"] if step is not None] == steps, name
        assert len(series["values"]) == len(steps) + 3, name
    assert (await tiny.series(job_id, "train/grad_norm"))["steps"] == steps
    for name in ("val/accuracy", "val/eval_accuracy", "val/accuracy_top5", "val/val_loss", "val/eval_loss"):
        series = await tiny.series(job_id, name)
        assert (series["epochs"], series["steps"]) == ([1, 2, 3], [None] * 3), name
    accuracy = (await tiny.series(job_id, "val/accuracy"))["values"]
    assert max(accuracy) > 1.6 / CLASSES, accuracy
    assert job["training_results"]["best_metrics"]["accuracy"] == max(accuracy)

    checkpoints = (await tiny.client.get(f"training/jobs/{job_id}/checkpoints")).json()["checkpoints"]
    assert sorted(checkpoint["epoch"] for checkpoint in checkpoints) == [1, 2, 3]
    bucket = tiny.running.world.checkpoints_bucket
    for name in ("best", "last"):
        files = tiny.files_of(f"s3://{bucket}/checkpoints/{job_id}/{name}.tar")
        assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= set(
            files
        )
        assert "preprocessor_config.json" in files
    artifacts = (await tiny.client.get(f"training/jobs/{job_id}/artifacts")).json()["artifacts"]
    assert {artifact["kind"] for artifact in artifacts} == {"plot", "prediction"}

    messages = await tiny.messages(job_id)
    assert "fp16 stays off: 16-bit floats are for GPUs, and this run is on a CPU" in messages
    assert "Training completed successfully" in messages
    asked_hosts = tiny.running.world.folder / "asked-hosts"
    assert not asked_hosts.exists(), f"a trainer asks no other host: {asked_hosts.read_text()}"


@pytest.mark.full
@pytest.mark.timeout(TRAINING_TIMEOUT_S + 60)
async def test_a_detector_trains_and_reports_what_it_finds(tiny: Tiny) -> None:
    job_id = await create_job(
        tiny.client,
        tiny.scenes,
        launch=True,
        framework="transformers",
        model_name="yolos-micro",
        task_type="detection",
        config={**CONFIG, "imgsz": 64, "epochs": 2, "batch": 6, "augment": True},
        advanced_config={},
    )
    job = await tiny.ends(job_id)
    assert (job["status"], job["integrity"]) == ("completed", "complete"), job
    for name in ("val/mAP50", "val/mAP50-95", "val/precision", "val/recall", "val/val_loss", "val/eval_mAP50"):
        assert (await tiny.series(job_id, name))["epochs"] == [1, 2], name
    values = (await tiny.series(job_id, "train/loss"))["values"]
    assert values[-1] < values[0]


@pytest.mark.full
@pytest.mark.timeout(2 * TRAINING_TIMEOUT_S)
async def test_a_paused_training_ends_at_a_whole_epoch_and_goes_on_from_there(tiny: Tiny) -> None:
    epochs = 12
    job_id = await tiny.classify(epochs=epochs)

    async def trains() -> bool:
        return ((await tiny.job(job_id))["current_epoch"] or 0) >= 2

    await eventually(trains, timeout_s=TRAINING_TIMEOUT_S, what="the second epoch")
    assert (await tiny.client.post(f"training/jobs/{job_id}/pause")).status_code == 202

    async def paused() -> bool:
        return bool((await tiny.job(job_id))["state"] == "paused")

    await eventually(paused, timeout_s=TRAINING_TIMEOUT_S, what="the job is paused")
    done = (await tiny.series(job_id, "val/accuracy"))["epochs"]
    assert done == list(range(1, len(done) + 1)) and 2 <= len(done) < epochs

    assert (await tiny.client.post(f"training/jobs/{job_id}/resume")).status_code == 202
    job = await tiny.ends(job_id)
    assert (job["status"], job["attempt"], job["training_results"]["total_epochs"]) == ("completed", 2, epochs), job
    assert (await tiny.series(job_id, "val/accuracy"))["epochs"] == list(range(1, epochs + 1))
    steps = [step for step in (await tiny.series(job_id, "train/loss"))["steps"] if step is not None]
    assert steps == list(range(1, epochs * STEPS_AN_EPOCH + 1)), "every step once, over both attempts"
    assert any(message.startswith("Going on after step ") for message in await tiny.messages(job_id))


@pytest.mark.full
@pytest.mark.timeout(TRAINING_TIMEOUT_S)
async def test_a_wrong_configuration_and_a_missing_data_set_fail_with_their_codes(tiny: Tiny) -> None:
    cache = tiny.running.world.folder / "cache"
    before = sorted(cache.rglob("*"))
    wrong = await tiny.classify(optimizer="adamw", advanced={"warmup_ration": 0.1, "report_to": "wandb"})
    job = await tiny.ends(wrong)
    assert (job["status"], job["error_code"]) == ("failed", "INVALID_CONFIG")
    for words in ("mean AdamW?", "did you mean warmup_ratio?", "set by the platform and not by a job: report_to"):
        assert words in job["error_message"]
    assert sorted(cache.rglob("*")) == before, "nothing is fetched for a run that cannot begin"
    store, bucket = tiny.running.world.store(), tiny.running.world.datasets_bucket
    for item in store.list_objects(bucket, prefix="digits/", recursive=True):
        store.remove_object(bucket, item.object_name or "")
    gone = await tiny.ends(await tiny.classify())
    assert (gone["status"], gone["error_code"]) == ("failed", "DATASET_NOT_FOUND")
