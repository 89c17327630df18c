"""How models are called, and canonical names of what Ultralytics measures, beside its own keys. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

CANONICAL: Final[Mapping[str, str]] = {
    # Boxes, of every task that has some.
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
    "metrics/mAP50(B)": "mAP50",
    "metrics/mAP50-95(B)": "mAP50-95",
    # Masks of a segmentation.
    "metrics/precision(M)": "mask_precision",
    "metrics/recall(M)": "mask_recall",
    "metrics/mAP50(M)": "mask_mAP50",
    "metrics/mAP50-95(M)": "mask_mAP50-95",
    # Keypoints.
    "metrics/precision(P)": "pose_precision",
    "metrics/recall(P)": "pose_recall",
    "metrics/mAP50(P)": "pose_mAP50",
    "metrics/mAP50-95(P)": "pose_mAP50-95",
    "metrics/accuracy_top1": "accuracy",
    "metrics/accuracy_top5": "accuracy_top5",
}
ACCURACIES: Final = ("metrics/accuracy_top1", "metrics/accuracy_top5")
VAL_LOSS: Final = "val_loss"
PRIMARY: Final[Mapping[str, str]] = {
    "detection": "mAP50-95",
    "segmentation": "mAP50-95",
    "pose": "mAP50-95",
    "classification": "accuracy",
}
"""What decides which epoch is the best one, where the job does not say; the service compares jobs by the same
(events/primary_metric.py)."""
SUFFIXES: Final[Mapping[str, str]] = {
    "detection": "",
    "segmentation": "-seg",
    "pose": "-pose",
    "classification": "-cls",
}
"""What the names of a task's models end with."""
DEFAULT_TASK: Final = "detection"


def with_suffix(model_name: str, task_type: str) -> str:
    """``yolo11n`` for segmentation is ``yolo11n-seg``; a name that has a task's suffix stays what it is."""
    known = tuple(suffix for suffix in SUFFIXES.values() if suffix)
    return model_name if model_name.endswith(known) else model_name + SUFFIXES[task_type]


def measured_of(task_type: str) -> tuple[str, ...]:
    """Canonical names of what a task's validation measures."""
    letters = {"detection": "B", "segmentation": "BM", "pose": "BP"}.get(task_type, "")
    keys = [key for key in CANONICAL if key.removesuffix(")")[-1] in letters] if letters else ACCURACIES
    return (*(CANONICAL[key] for key in keys), VAL_LOSS)


def number(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)


def canonical(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Metrics of a validation under their canonical names, and the sum of its losses as ``val_loss``."""
    given = metrics or {}
    named = {name: number(given[key]) for key, name in CANONICAL.items() if key in given}
    losses = [number(value) for key, value in given.items() if key.startswith("val/")]
    return {**named, VAL_LOSS: sum(losses)} if losses else named


@dataclass(frozen=True, slots=True)
class Primary:
    """The metric by which epochs are compared, and whether more of it is better."""

    name: str
    more_is_better: bool = True

    @classmethod
    def of(cls, task_type: str | None, config: Mapping[str, Any]) -> Primary:
        """The job's ``primary_metric`` and ``primary_metric_mode``, else the task's own. Of a loss, less is better."""
        given = config.get("primary_metric")
        if not given:
            return cls(PRIMARY.get(task_type or "detection", "mAP50-95"))
        name = str(given).removeprefix("val/")
        name = CANONICAL.get(name, name)
        return cls(name, config.get("primary_metric_mode") != "min" and not name.endswith("loss"))

    def value(self, metrics: Mapping[str, float]) -> float:
        """Larger is better. An epoch without the metric, or with NaN, is worse than any other."""
        value = metrics.get(self.name, math.nan)
        if math.isnan(value):
            return -math.inf
        return value if self.more_is_better else -value


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far."""

    epoch: int | None = None
    metrics: Mapping[str, float] | None = None
    value: float = -math.inf

    def or_better(self, epoch: int, metrics: Mapping[str, float], primary: Primary) -> Best:
        """The better of this and another epoch; of equal ones the first. Any epoch is better than none."""
        value = primary.value(metrics)
        return Best(epoch, dict(metrics), value) if self.epoch is None or value > self.value else self


def best_of(history: Iterable[tuple[int, Mapping[str, float]]], primary: Primary) -> Best:
    best = Best()
    for epoch, metrics in history:
        best = best.or_better(epoch, metrics, primary)
    return best
