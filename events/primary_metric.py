"""The one metric by which a job's epochs, and jobs among each other, are compared. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from events.early_stopping import LESS_IS_BETTER
from events.job import Job

PHASES: Final = ("val", "train", "test")
DEFAULTS: Final = {
    # Of the first one that a run reports.
    "detection": ("val/mAP50-95", "val/mAP50"),
    "segmentation": ("val/mAP50-95", "val/mAP50"),
    "pose": ("val/mAP50-95", "val/mAP50"),
    "classification": ("val/accuracy",),
}


@dataclass(frozen=True, slots=True)
class PrimaryMetric:
    """``series``: names as in /metrics/series; the first one that the run reports counts."""

    series: tuple[str, ...]
    mode: str


def primary_metric(job: Job) -> PrimaryMetric:
    """What the config names, else what the task is commonly judged by; validation's before any other phase's."""
    named = job.primary_metric
    if not named:
        series = DEFAULTS.get(job.task_type or "", ())
    elif named.partition("/")[0] in PHASES:
        series = (named,)
    else:
        series = tuple(f"{phase}/{named}" for phase in PHASES)
    less = bool(series) and series[0].endswith(LESS_IS_BETTER)
    mode = job.primary_metric_mode if job.primary_metric_mode in ("max", "min") else None
    return PrimaryMetric(series, mode or ("min" if less else "max"))
