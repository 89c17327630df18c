from __future__ import annotations

from typing import Any

import pytest

from api.jobs.completeness import Visible
from api.jobs.finding import JobFilters, fits
from api.jobs.responses import job_answer
from events.job import Job

JOB = job_answer(
    Job(
        id=25,
        name="Vehicle Detection",
        model_name="yolo11n",
        framework="ultralytics",
        task_type="detection",
        dataset_id=42,
        tags=["night", "baseline"],
        notes="LR too high",
    ),
    Visible("pending", "pending"),
)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, True),
        ({"status": "pending", "state": "pending", "framework": "ultralytics", "task_type": "detection"}, True),
        ({"search": "vehicle"}, True),
        ({"search": "YOLO"}, True),
        ({"search": "too high"}, True),
        ({"search": "night"}, True),
        ({"search": "100%"}, False),
        ({"tag": ["night"]}, True),
        ({"tag": ["night", "day"]}, False),
        ({"status": "running"}, False),
        ({"state": "queued"}, False),
        ({"model_name": "yolo11"}, False),
        ({"dataset_id": 7}, False),
        ({"best_metric_min": 0.0}, False),
    ],
)
def test_a_job_that_is_not_projected_yet_is_found_by_the_same_filters(given: dict[str, Any], found: bool) -> None:
    assert fits(JOB, JobFilters.model_validate(given)) is found
