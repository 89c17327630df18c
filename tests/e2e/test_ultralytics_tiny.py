"""Ultralytics really trains, a little, under a real launcher: what it reports, how it stops, whom it asks."""

from __future__ import annotations

import asyncio
import json
import subprocess
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
from trainers.ultralytics.resume import read_checkpoint
from training_sdk import CheckpointNotUsable

TRAINING_TIMEOUT_S = 150.0
PREFIX = "tiny"
CONFIG = {"imgsz": 64, "epochs": 2, "batch": 6, "lr0": 0.003, "optimizer": "AdamW", "workers": 0}
ADVANCED = {"warmup_epochs": 1, "mosaic": 0.0, "fliplr": 0.0, "plots": False}
# Notes every host that Python code of the trainer looks up; every process of Python reads this file when it starts.
LISTENER = """
import sys
def note(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "127.0.0.1", "localhost"):
        with open(ASKED_HOSTS, "a") as file:
            file.write(f"{arguments[0]}\\n")
sys.addaudithook(note)
"""


OTHER_TASKS = {
    # task: model, metrics that must be there under their canonical names
    "segmentation": ("yolo11n", ("mAP50", "mAP50-95", "mask_mAP50", "mask_mAP50-95", "val_loss")),
    "pose": ("yolo11n-pose", ("mAP50", "mAP50-95", "pose_mAP50", "pose_mAP50-95", "val_loss")),
    "classification": ("yolo11n-cls", ("accuracy", "accuracy_top5", "val_loss")),
}


def add_outlines_and_corners(folder: Path) -> None:
    """Annotations for segmentation and pose, of what the ones for detection say."""
    detection = json.loads((folder / "annotations_detection.json").read_text())
    for task in ("segmentation", "pose"):
        document = json.loads(json.dumps(detection)) | {"task_type": task}
        if task == "pose":
            for entry in document["classes"]:
                entry |= {"keypoints": ["first", "second", "third", "fourth"], "skeleton": [[1, 2], [2, 3], [3, 4]]}
        for image in document["images"]:
            for annotation in image["annotations"]:
                left, top, width, height = annotation["bbox"]
                corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
                if task == "segmentation":
                    annotation["segmentation"] = [[number for corner in corners for number in corner]]
                else:
                    annotation["keypoints"] = [number for x, y in corners for number in (x, y, 2)]
                    annotation["num_keypoints"] = len(corners)
        (folder / f"annotations_{task}.json").write_text(json.dumps(document))


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

    def train_by_hand(self, job_id: int, attempt: int, **extra: str) -> subprocess.Popen[bytes]:
        """The trainer's process, as a launcher would start it."""
        folder = self.running.world.folder / f"by-hand-{job_id}-{attempt}"
        return self.running.start(
            f"trainer-{job_id}-{attempt}",
            *("-m", "trainers.ultralytics.train"),
            JOB_ID=str(job_id),
            TRAINING_ATTEMPT=str(attempt),
            DATASET_ID=str(self.dataset_id),
            DATASET_S3_URI=f"s3://{self.running.world.datasets_bucket}/{PREFIX}/",
            OUTPUT_PATH=str(folder),
            **extra,
        )

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

    def fetched(self, uri: str) -> Path:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        target = self.running.world.folder / "fetched.pt"
        self.running.world.store().fget_object(bucket, key, str(target))
        return target

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
    add_outlines_and_corners(dataset.folder)
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


@pytest.mark.full
@pytest.mark.timeout(TRAINING_TIMEOUT_S + 60)
@pytest.mark.parametrize("task", tuple(OTHER_TASKS))
async def test_every_task_is_trained_and_measured_under_its_canonical_names(tiny: Tiny, task: str) -> None:
    model, metrics = OTHER_TASKS[task]
    job_id = await create_job(
        tiny.client,
        tiny.dataset_id,
        launch=True,
        model_name=model,
        task_type=task,
        config={**CONFIG, "save_period": 2},
        advanced_config={"warmup_epochs": 1, "plots": True},
    )
    job = await tiny.ends(job_id)
    assert (job["status"], job["integrity"]) == ("completed", "complete"), job
    for name in metrics:
        series = await tiny.series(job_id, f"val/{name}")
        assert series["epochs"] == [1, 2], name
    assert set(metrics) <= set(job["training_results"]["best_metrics"])
    saved = (await tiny.client.get(f"training/jobs/{job_id}/checkpoints")).json()["checkpoints"]
    assert [c["epoch"] for c in saved if c["checkpoint_path"].endswith("/epoch_2.pt")] == [2]
    artifacts = (await tiny.client.get(f"training/jobs/{job_id}/artifacts", params={"limit": 100})).json()["artifacts"]
    kinds = {artifact["kind"] for artifact in artifacts}
    names = {artifact["name"] for artifact in artifacts}
    assert kinds == {"plot", "prediction"}, names
    assert {"results.png", "confusion_matrix.png"} <= names
    asked = tiny.asked_hosts.read_text() if tiny.asked_hosts.exists() else ""
    assert asked == "", "not for a font either"


@pytest.mark.full
@pytest.mark.timeout(2 * TRAINING_TIMEOUT_S)
async def test_an_attempt_that_goes_on_trains_the_epochs_that_are_left_and_no_other(tiny: Tiny) -> None:
    epochs = 8
    job_id = await create_job(tiny.client, tiny.dataset_id, task_type="detection", config={**CONFIG, "epochs": epochs})
    given = {
        "MODEL_NAME": "yolo11n",
        "TASK_TYPE": "detection",
        "CONFIG": json.dumps({**CONFIG, "epochs": epochs, "advanced_config": ADVANCED}),
    }
    first = tiny.train_by_hand(job_id, 1, **given)

    async def trains() -> bool:
        return ((await tiny.job(job_id))["current_epoch"] or 0) >= 2

    await eventually(trains, timeout_s=TRAINING_TIMEOUT_S, what="the second epoch")
    first.terminate()
    assert await asyncio.to_thread(first.wait, 60) == 0
    job = await tiny.ends(job_id)
    stopped_at = job["stopped_at_epoch"]
    assert 2 <= stopped_at < epochs
    saved = (await tiny.client.get(f"training/jobs/{job_id}/checkpoints", params={"limit": 100})).json()["checkpoints"]
    last = [checkpoint for checkpoint in saved if checkpoint["epoch"] == stopped_at][-1]
    assert last["resumable"] is True
    seconds_before = read_checkpoint(str(tiny.fetched(last["object_uri"])), epochs).seconds

    second = tiny.train_by_hand(
        job_id,
        2,
        **given,
        TRAINING_RESUME_URI=last["object_uri"],
        TRAINING_RESUME_SHA256=last["sha256"],
        TRAINING_RESUME_SIZE=str(last["file_size_bytes"]),
        TRAINING_RESUME_EPOCH=str(stopped_at),
        TRAINING_RESUME_STEP=str(2 * stopped_at + 1),
    )
    assert await asyncio.to_thread(second.wait, TRAINING_TIMEOUT_S) == 0, tiny.running.log(f"trainer-{job_id}-2")

    async def completed() -> dict[str, Any] | None:
        found = await tiny.job(job_id)
        return found if found["status"] == "completed" else None

    done = await eventually(completed, timeout_s=30, what="the job is completed")
    assert done is not None
    results = done["training_results"]
    assert (results["total_epochs"], done["attempt"]) == (epochs, 2)
    assert results["training_time_seconds"] > seconds_before > 0, "the time of both attempts"
    assert (await tiny.series(job_id, "val/mAP50"))["epochs"] == list(range(1, epochs + 1))
    steps = [step for step in (await tiny.series(job_id, "train/loss"))["steps"] if step is not None]
    assert steps == list(range(1, 2 * epochs + 1)), "every step once, over both attempts"
    last = tiny.checkpoint(tiny.last_uri(job_id))
    # Its own history is whole, too.
    assert list(last["train_results"]["epoch"]) == list(range(1, epochs + 1))

    # What Ultralytics stripped at its end would silently begin a new training.
    stripped = tiny.running.world.folder / f"by-hand-{job_id}-2" / "run" / "weights" / "last.pt"
    with pytest.raises(CheckpointNotUsable, match="no state to go on from"):
        read_checkpoint(str(stripped), epochs)
    with pytest.raises(CheckpointNotUsable, match="of a run of 8 epochs, this one has 9"):
        read_checkpoint(str(tiny.fetched(tiny.last_uri(job_id))), 9)


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
