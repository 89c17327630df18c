"""Ultralytics really trains, a little, in a process of its own: how it ends, fails and goes on. S3 is real."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from stack.demo.digits import make_dataset
from tests.services import ROOT, World

TIMEOUT_S = 170.0
CONFIG: dict[str, Any] = {"imgsz": 64, "epochs": 5, "batch": 6, "lr0": 0.003, "optimizer": "AdamW", "pretrained": False}
ADVANCED: dict[str, Any] = {"warmup_epochs": 1, "mosaic": 0.0, "fliplr": 0.0, "plots": False}
DRIVER = "tests.integration.trainers.ultralytics_driver"

pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one process reported, and how it ended."""

    code: int
    output: str
    events: list[dict[str, Any]]
    folder: Path

    def of(self, name: str) -> list[Any]:
        """The data of every event of that type, in any version."""
        return [event["data"] for event in self.events if event["type"].rpartition(".v")[0] == f"training.{name}"]

    def one(self, name: str) -> Any:
        found = self.of(name)
        assert len(found) == 1, f"{name} {found}\n{self.lines()}\n{self.output[-4_000:]}"
        return found[0]

    def points(self, phase: str, name: str) -> list[tuple[int, int | None, float]]:
        return [
            (epoch, step, float(value))
            for data in self.of("metrics.reported")
            if data["phase"] == phase and name in data["values"]
            for epoch, step, value in zip(data["epochs"], data["steps"], data["values"][name], strict=True)
        ]

    def steps(self) -> list[int]:
        return [step for _, step, _ in self.points("train", "loss") if step is not None]

    def epochs(self, phase: str, name: str) -> list[int]:
        return [epoch for epoch, step, _ in self.points(phase, name) if step is None]

    def lines(self) -> list[str]:
        return [line["message"] for data in self.of("log.written") for line in data["lines"]]


async def attempt(world: World, *happens: str, number: int = 1, config: Any = None, **extra: str) -> Attempt:
    """Run the trainer once; ``happens`` are names of functions of the driver."""
    folder = world.folder / f"attempt-{number}"
    data = world.folder / "data"
    if not data.exists():
        make_dataset(data, train=12, val=4, test=0)
    wanted = {**CONFIG, "advanced_config": ADVANCED, **(config or {})}
    environment = world.environment(
        **{
            "JOB_ID": "25",
            "TRAINING_ATTEMPT": str(number),
            "MODEL_NAME": "yolo11n",
            "TASK_TYPE": "detection",
            "DATASET_ID": "42",
            "DATASET_PATH": str(data),
            "OUTPUT_PATH": str(folder),
            "CONFIG": json.dumps(wanted),
            **extra,
        }
    )
    report = world.folder / f"report-{number}.json"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", DRIVER, str(report), *happens],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        # A group of its own, as its recorder gives it.
        process_group=0,
    )
    assert report.exists() or done.returncode < 0, done.stdout[-4_000:]
    return Attempt(done.returncode, done.stdout, orjson.loads(report.read_bytes()) if report.exists() else [], folder)


def resumed_from(checkpoint: dict[str, Any]) -> dict[str, str]:
    """The variables that a launcher sets for the attempt that goes on from it."""
    return {
        "TRAINING_RESUME_URI": checkpoint["object_uri"],
        "TRAINING_RESUME_SHA256": checkpoint["sha256"],
        "TRAINING_RESUME_SIZE": str(checkpoint["file_size_bytes"]),
        "TRAINING_RESUME_EPOCH": str(checkpoint["epoch"]),
        "TRAINING_RESUME_STEP": str(checkpoint["step"] + 1),
    }


@pytest.mark.full
async def test_a_pause_after_2_of_5_epochs_changes_neither_epochs_steps_nor_learning_rate(world: World) -> None:
    first = await attempt(world, "sigterm_in_epoch_2")
    assert (first.code, first.one("job.stopped")["stopped_at_epoch"]) == (0, 2), first.output[-4_000:]
    last = first.of("checkpoint.saved")[-1]
    assert (last["epoch"], last["step"], last["resumable"], last["is_best"]) == (2, 4, True, False)
    assert not any(line.startswith("Validation of the best") for line in first.lines()), "a pause waits for no other"
    kept = torch.load(first.folder / "run" / "weights" / "last.pt", weights_only=False)
    assert kept["optimizer"] is not None, "nor is what is left behind stripped"

    second = await attempt(world, number=2, **resumed_from(last))
    results = second.one("job.completed")["training_results"]
    assert (second.code, results["total_epochs"]) == (0, 5)
    assert first.epochs("val", "mAP50") + second.epochs("val", "mAP50") == [1, 2, 3, 4, 5]
    assert first.epochs("train", "loss") + second.epochs("train", "loss") == [1, 2, 3, 4, 5]
    assert first.steps() + second.steps() == list(range(1, 11))
    # As Ultralytics' schedule has it for five epochs without a pause, after the warm-up of the first.
    wanted = {epoch: CONFIG["lr0"] * ((1 - (epoch - 1) / 5) * (1 - 0.01) + 0.01) for epoch in (3, 4, 5)}
    found = {epoch: value for epoch, step, value in second.points("train", "lr") if step is None}
    assert found == pytest.approx(wanted, rel=1e-3)
    # The best is of the whole run. Nothing is found after five epochs: all are equal, so it is the first.
    assert results["best_epoch"] == first.one("job.stopped")["training_results"]["best_epoch"] == 1
    assert not any(checkpoint["is_best"] for checkpoint in second.of("checkpoint.saved"))
    assert second.one("job.completed")["best_checkpoint_path"].endswith("/checkpoints/25/best.pt")

    # Once more from the very end: the attempt before was lost between its last epoch and its last word.
    third = await attempt(world, number=3, **resumed_from(second.of("checkpoint.saved")[-1]))
    again = third.one("job.completed")["training_results"]
    assert third.of("metrics.reported") == []
    assert {**again, "training_time_seconds": 0} == {**results, "training_time_seconds": 0}

    # What Ultralytics leaves behind at the end of a training cannot be gone on from: it would begin a new one.
    stripped = second.folder / "run" / "weights" / "last.pt"
    await asyncio.to_thread(world.store().fput_object, world.checkpoints_bucket, "stripped.pt", str(stripped))
    uri = f"s3://{world.checkpoints_bucket}/stripped.pt"
    failed = await attempt(world, number=4, TRAINING_RESUME_URI=uri, TRAINING_RESUME_EPOCH="5")
    failure = failed.one("job.failed")
    assert (failed.code, failure["error_code"]) == (1, "CHECKPOINT_NOT_USABLE")
    assert "holds no state to go on from" in failure["error_message"]
    assert failed.of("metrics.reported") == []


async def test_an_epoch_that_begins_again_is_counted_once(world: World) -> None:
    """For want of memory, which Ultralytics answers with half the batch, and for a loss that is NaN."""
    done = await attempt(world, "memory_runs_out_once", "the_loss_is_nan_once", config={"epochs": 3})
    assert done.code == 0, done.output[-4_000:]
    for phase, name in (("train", "loss"), ("val", "mAP50")):
        assert done.epochs(phase, name) == [1, 2, 3]
    # One of two before memory ran out, then four of half the size; the second epoch twice.
    assert done.steps() == list(range(1, 1 + 1 + 4 * 4))
    again = [line for line in done.lines() if "begins again" in line]
    assert [line.partition(":")[0] for line in again] == [
        "Epoch 1 begins again with batch 3",
        "Epoch 2 begins again with batch 3",
    ]
    assert done.one("job.completed")["training_results"]["total_epochs"] == 3


async def test_memory_that_runs_out_is_told_as_that(world: World) -> None:
    done = await attempt(world, "little_memory", config={"imgsz": 640, "batch": 12})
    failure = done.one("job.failed")
    assert (done.code, failure["error_code"]) == (1, "OOM"), failure
    assert "allocate memory" in failure["error_message"]
    assert "Traceback" not in failure["error_message"]
    assert any("Traceback" in line for line in done.lines()), "it is a line of the log"


@pytest.mark.full
async def test_a_stop_that_comes_while_it_prepares_trains_no_epoch(world: World) -> None:
    done = await attempt(world, "sigterm_while_it_prepares")
    assert (done.code, done.one("job.stopped")["stopped_at_epoch"]) == (0, 0)
    assert done.of("metrics.reported") == []


@pytest.mark.full
async def test_a_checkpoint_that_cannot_be_kept_is_an_error(world: World) -> None:
    done = await attempt(world, "no_room_for_checkpoints", config={"epochs": 1})
    failure = done.one("job.failed")
    assert (done.code, failure["error_code"], failure["last_successful_epoch"]) == (1, "CHECKPOINT_UPLOAD_FAILED", 1)


@pytest.mark.full
async def test_pretrained_weights_of_our_own_store_are_what_training_begins_with(world: World) -> None:
    done = await attempt(world, "weights_in_the_store", config={"epochs": 1, "pretrained": True})
    assert done.code == 0, done.output[-4_000:]
    uri = f"s3://{world.models_bucket}/weights/ultralytics/yolo11n.pt"
    assert f"yolo11n begins with the pretrained weights of {uri}" in done.lines()
    assert "first weights 0.125 to 0.125" in done.lines()


async def test_what_is_wrong_before_training_is_told_at_once(world: World) -> None:
    missing = await attempt(world, DATASET_PATH=f"s3://{world.datasets_bucket}/404/")
    failure = missing.one("job.failed")
    assert (missing.code, failure["error_code"]) == (1, "DATASET_NOT_FOUND")
    assert f"s3://{world.datasets_bucket}/404/" in failure["error_message"]

    wrong = await attempt(world, number=2, config={"device": "7", "primary_metric": "mask_mAP50"})
    assert wrong.one("job.failed")["error_code"] == "INVALID_CONFIG"
    assert "config.primary_metric: 'mask_mAP50' is not one of precision" in wrong.one("job.failed")["error_message"]
    no_gpu = await attempt(world, number=3, config={"device": "7"})
    assert no_gpu.one("job.failed")["error_code"] == "INVALID_CONFIG"
    assert "there is no GPU 7 here" in no_gpu.one("job.failed")["error_message"]
