"""One tiny job per trainer: small enough for a test, real in every part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TinyJob:
    """``metric`` is what the trainer calls its best, on the validation pictures."""

    framework: str
    model_name: str
    task_type: str
    metric: str
    config: dict[str, Any]
    advanced_config: dict[str, Any]

    def body(self, epochs: int, **config: Any) -> dict[str, Any]:
        return {
            "model_name": self.model_name,
            "framework": self.framework,
            "task_type": self.task_type,
            "config": {**self.config, "epochs": epochs, **config},
            "advanced_config": self.advanced_config,
            "name": f"tiny {self.framework}",
        }


TINY_JOBS = {
    job.framework: job
    for job in (
        TinyJob(
            "ultralytics",
            "yolo11n",
            "detection",
            "mAP50-95",
            {"imgsz": 64, "batch": 6, "lr0": 0.003, "optimizer": "AdamW", "workers": 0},
            {"warmup_epochs": 1, "mosaic": 0.0, "fliplr": 0.0},
        ),
        TinyJob(
            "timm",
            "resnet10t",
            "classification",
            "accuracy",
            {"imgsz": 32, "batch": 6, "lr0": 0.003, "optimizer": "AdamW", "workers": 0},
            {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "model_ema": False},
        ),
        TinyJob(
            "transformers",
            "vit-micro-patch8",
            "classification",
            "accuracy",
            {"imgsz": 32, "batch": 6, "lr0": 0.001, "workers": 0},
            {},
        ),
    )
}
