from __future__ import annotations

import pytest

from trainers.configuration import InvalidConfig
from trainers.ultralytics.config import models, read_config
from trainers.ultralytics.names import measured_of


@pytest.mark.parametrize(
    ("name", "task", "architecture"),
    [
        ("yolo11n", "detection", "yolo11n.yaml"),
        ("yolo11n.pt", None, "yolo11n.yaml"),
        ("yolo11n", "object_detection", "yolo11n.yaml"),
        ("yolo11n", "segmentation", "yolo11n-seg.yaml"),
        ("yolo11n-seg", "segmentation", "yolo11n-seg.yaml"),
        ("yolov8s", "pose", "yolov8s-pose.yaml"),
        ("yolo11m-cls.pt", "classification", "yolo11m-cls.yaml"),
    ],
)
def test_the_task_picks_the_model_with_or_without_its_suffix(name: str, task: str | None, architecture: str) -> None:
    config = read_config(name, task, {}, {})
    assert config.architecture == architecture
    assert config.model_name in models()


def test_a_model_of_one_task_is_not_for_another() -> None:
    with pytest.raises(InvalidConfig, match="yolo11n-seg is for segmentation, not for detection"):
        read_config("yolo11n-seg", "detection", {}, {})
    with pytest.raises(InvalidConfig, match="'depth' is not one of detection, segmentation"):
        read_config("yolo11n", "depth", {}, {})


def test_a_primary_metric_that_the_task_does_not_measure_is_named_with_those_it_does() -> None:
    with pytest.raises(InvalidConfig) as caught:
        read_config("yolo11n", "classification", {"primary_metric": "acuracy", "epochs": 0}, {})
    wanted = "config.primary_metric: 'acuracy' is not one of accuracy, accuracy_top5, val_loss; did you mean accuracy?"
    assert wanted in str(caught.value)
    assert "config.epochs" in str(caught.value)
    assert read_config("yolo11n", "pose", {"primary_metric": "val/pose_mAP50"}, {}).primary.name == "pose_mAP50"
    boxes = ("precision", "recall", "mAP50", "mAP50-95")
    assert measured_of("detection") == (*boxes, "val_loss")
    assert measured_of("segmentation") == (*boxes, *(f"mask_{name}" for name in boxes), "val_loss")


def test_a_limit_of_time_is_the_platforms() -> None:
    with pytest.raises(InvalidConfig, match="set by the platform and not by a job: time"):
        read_config("yolo11n", "detection", {}, {"time": 1})


@pytest.mark.parametrize(("device", "gpus"), [(None, None), ("cpu", 0), ("0", 1), ("cuda:0,1", 2)])
def test_a_device_says_how_many_gpus_are_used(device: str | None, gpus: int | None) -> None:
    assert read_config("yolo11n", "detection", {"device": device}, {}).gpus == gpus
