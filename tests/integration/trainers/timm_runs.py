"""Runs of the timm trainer in this process, without any service, and what they reported."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.timm.progress import Progress
from trainers.timm.train import CHECKPOINT, train
from training_sdk import RunSettings, TrainerSDK
from training_sdk.testing import RecordingTransport

BASIC: dict[str, Any] = {
    "imgsz": 32,
    "epochs": 2,
    "batch": 8,
    "lr0": 0.003,
    "optimizer": "AdamW",
    "augment": False,
    "workers": 0,
    "device": "cpu",
}


def environment(
    data: Path, folder: Path, model: str, basic: dict[str, Any], advanced: dict[str, Any]
) -> dict[str, str]:
    return {
        "JOB_ID": "25",
        "MODEL_NAME": model,
        "TASK_TYPE": "classification",
        "DATASET_ID": "42",
        "DATASET_PATH": str(data),
        "OUTPUT_PATH": str(folder / "output"),
        "EPOCHLOG_SPOOL_DIR": str(folder / "spool"),
        "CONFIG": json.dumps({**BASIC, **basic, "advanced_config": advanced}),
    }


class InterruptedSDK(TrainerSDK):
    """Gets a signal in the middle of epoch ``stop_in``."""

    stop_in: int | None = None
    signal_sent = signal.SIGTERM

    def report_metrics(self, epoch: int | None, phase: str, metrics: dict[str, Any], step: int | None = None) -> None:
        super().report_metrics(epoch, phase, metrics, step)
        if self.stop_in is not None and epoch == self.stop_in and step is not None:
            self.stop_in = None
            os.kill(os.getpid(), self.signal_sent)


@dataclass(slots=True)
class Run:
    """``error`` is what ended it, None where it ended by itself."""

    folder: Path
    log: RecordingTransport
    progress: Progress
    code: int | None = None
    error: Exception | None = None

    @property
    def checkpoint(self) -> Path:
        return self.folder / "output" / CHECKPOINT

    def points(self, phase: str, name: str) -> list[tuple[int, int | None, float]]:
        """(epoch, step, value) of every point of that series that was reported."""
        return [
            (epoch, step, float(value))
            for data in self.log.data("training.metrics.reported.v1")
            if data["phase"] == phase and name in data["values"]
            for epoch, step, value in zip(data["epochs"], data["steps"], data["values"][name], strict=True)
            if value is not None
        ]

    def lines(self) -> list[str]:
        return [line["message"] for data in self.log.data("training.log.written.v1") for line in data["lines"]]


def run_timm(
    data: Path,
    folder: Path,
    *,
    model: str = "test_resnet",
    basic: dict[str, Any] | None = None,
    advanced: dict[str, Any] | None = None,
    stop_in: int | None = None,
) -> Run:
    """Train to the end, or until SIGTERM in epoch ``stop_in``; an Exception is kept in the run."""
    settings = RunSettings.from_env(environment(data, folder, model, basic or {}, advanced or {}))
    run = Run(folder, RecordingTransport(), Progress())
    sdk = InterruptedSDK(settings, transport=run.log)
    sdk.stop_in = stop_in
    try:
        run.code = train(sdk, folder / "output", run.progress)
    except Exception as error:
        run.error = error
    finally:
        sdk.close()
    return run
