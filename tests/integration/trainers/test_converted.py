"""What Ultralytics itself reads out of a converted data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dice_folders import SIDE, Content, dice, two
from trainers.converters.dice_to_yolo import convert

SQUARE = [16.0, 16.0, 48.0, 16.0, 48.0, 48.0, 16.0, 48.0]
PERSON: Content = {"id": 7, "name": "person", "keypoints": ["left", "right"]}


def square_as_run_lengths() -> Content:
    """Columns 16 to 47, rows 16 to 47."""
    runs = [SIDE * 16 + 16, *[32, 32] * 31, 32, SIDE * 16 + 16]
    return {"size": [SIDE, SIDE], "counts": runs}


@pytest.mark.parametrize(
    ("task", "classes", "annotation"),
    [
        ("detection", None, {"bbox": [16, 16, 32, 32]}),
        ("segmentation", None, {"segmentation": [SQUARE]}),
        ("segmentation", None, {"segmentation": square_as_run_lengths()}),
        ("pose", [PERSON], {"bbox": [16, 16, 32, 32], "keypoints": [20, 20, 2, 40, 40, 1]}),
    ],
)
def test_ultralytics_reads_every_kind_of_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, classes: list[Content] | None, annotation: Content
) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    file = f"annotations_{task}.json"
    folder = dice(tmp_path / "dice", two({"class_id": 7, **annotation}), task=task, file=file, classes=classes)
    converted = convert(folder, task, tmp_path / "yolo")
    data: dict[str, Any] = check_det_dataset(str(converted.data_yaml), autodownload=False)
    ultralytics_task = {"detection": "detect", "segmentation": "segment", "pose": "pose"}[task]
    dataset = YOLODataset(img_path=data["train"], data=data, task=ultralytics_task, imgsz=SIDE, augment=False)
    [label] = dataset.labels
    x, y, width, height = (label["bboxes"][0] * SIDE).tolist()
    assert (x, y, width, height) == pytest.approx((32, 32, 32, 32), abs=1)
    if task == "pose":
        assert (data["kpt_shape"], data["flip_idx"]) == ([2, 3], [1, 0])
        assert label["keypoints"].reshape(2, 3)[:, :2].ravel().tolist() == [20 / SIDE, 20 / SIDE, 40 / SIDE, 40 / SIDE]
    if task == "segmentation":
        # The mask that it trains on, a quarter of the picture in size.
        mask = dataset[0]["masks"][0].numpy()
        assert mask.shape == (SIDE // 4, SIDE // 4)
        assert mask[6:10, 6:10].all() and abs(mask.sum() - 64) <= 17
