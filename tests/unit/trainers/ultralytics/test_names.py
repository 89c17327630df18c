from __future__ import annotations

import math

import pytest

from events.job import Job
from events.primary_metric import primary_metric
from tests.builders import NOON
from trainers.ultralytics.names import SUFFIXES, Best, Primary, best_of, canonical


def test_every_task_has_canonical_names_and_one_loss() -> None:
    boxes = {"metrics/mAP50(B)": 0.5, "metrics/mAP50-95(B)": 0.25, "val/box_loss": 1.0, "val/cls_loss": 0.5}
    assert canonical(boxes) == {"mAP50": 0.5, "mAP50-95": 0.25, "val_loss": 1.5}
    assert canonical({"metrics/mAP50(M)": 0.5, "metrics/recall(P)": 0.25}) == {"mask_mAP50": 0.5, "pose_recall": 0.25}
    assert canonical({"metrics/accuracy_top1": 1.0, "metrics/accuracy_top5": 1.0, "fitness": 1.0}) == {
        "accuracy": 1.0,
        "accuracy_top5": 1.0,
    }
    assert canonical(None) == {}


@pytest.mark.parametrize(
    ("task", "config", "name", "more_is_better"),
    [
        ("detection", {}, "mAP50-95", True),
        ("segmentation", {"primary_metric": None, "primary_metric_mode": "max"}, "mAP50-95", True),
        ("pose", {}, "mAP50-95", True),
        ("classification", {}, "accuracy", True),
        ("detection", {"primary_metric": "mAP50"}, "mAP50", True),
        ("detection", {"primary_metric": "metrics/mAP50(B)"}, "mAP50", True),
        # The platform fills in max where nothing was said: a loss is better when it is less all the same.
        ("detection", {"primary_metric": "val/val_loss", "primary_metric_mode": "max"}, "val_loss", False),
        ("detection", {"primary_metric": "recall", "primary_metric_mode": "min"}, "recall", False),
    ],
)
def test_the_job_or_its_task_says_what_is_best(
    task: str, config: dict[str, str], name: str, more_is_better: bool
) -> None:
    assert Primary.of(task, config) == Primary(name, more_is_better)


@pytest.mark.parametrize("task", tuple(SUFFIXES))
@pytest.mark.parametrize("named", [None, "val_loss"])
def test_the_service_compares_jobs_by_what_their_epochs_were_compared_by(task: str, named: str | None) -> None:
    job = Job.model_validate({"id": 25, "created_at": NOON, "task_type": task, "primary_metric": named})
    found = primary_metric(job)
    ours = Primary.of(task, {"primary_metric": named, "primary_metric_mode": "max"})
    assert (found.series[0], found.mode) == (f"val/{ours.name}", "max" if ours.more_is_better else "min")


def test_the_first_of_equals_is_the_best_and_nan_never_is() -> None:
    more, less = Primary("mAP50"), Primary("val_loss", more_is_better=False)
    epochs = [(1, {"mAP50": math.nan}), (2, {"mAP50": 0.5}), (3, {"mAP50": 0.5}), (4, {}), (5, {"mAP50": 0.25})]
    assert best_of(epochs, more) == Best(2, {"mAP50": 0.5}, 0.5)
    assert best_of([(1, {"val_loss": 2.0}), (2, {"val_loss": 1.0})], less).epoch == 2
    assert best_of([], more) == Best()
    # A run whose metric never comes has a best epoch all the same: its first.
    assert best_of([(1, {}), (2, {})], more).epoch == 1
