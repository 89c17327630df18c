from __future__ import annotations

from typing import Any

import pytest

from events.job import Job
from events.primary_metric import PrimaryMetric, primary_metric


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"task_type": "detection"}, PrimaryMetric(("val/mAP50-95", "val/mAP50"), "max")),
        ({"task_type": "classification"}, PrimaryMetric(("val/accuracy",), "max")),
        ({}, PrimaryMetric((), "max")),
        ({"primary_metric": "mAP50"}, PrimaryMetric(("val/mAP50", "train/mAP50", "test/mAP50"), "max")),
        ({"primary_metric": "val_loss"}, PrimaryMetric(("val/val_loss", "train/val_loss", "test/val_loss"), "min")),
        ({"primary_metric": "train/loss"}, PrimaryMetric(("train/loss",), "min")),
        ({"primary_metric": "train/loss", "primary_metric_mode": "max"}, PrimaryMetric(("train/loss",), "max")),
        ({"primary_metric": "val/x", "primary_metric_mode": "sideways"}, PrimaryMetric(("val/x",), "max")),
    ],
)
def test_what_a_job_is_judged_by(given: dict[str, Any], wanted: PrimaryMetric) -> None:
    assert primary_metric(Job(id=25, **given)) == wanted
