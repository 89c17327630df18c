"""What the reference implementation of COCO makes of our files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from events.types.dice import DiceAnnotation, DiceImage
from events.types.rle import run_lengths
from events.types.vocabulary import TaskType
from tests.dice_folders import SIDE, dice, two
from trainers.converters.dice_to_coco import CocoFiles, convert, object_of
from trainers.converters.reading import InvalidDataset

SQUARE = [16.0, 16.0, 48.0, 16.0, 48.0, 48.0, 16.0, 48.0]


def loaded(path: Path) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def masks() -> st.SearchStrategy[np.ndarray[Any, np.dtype[np.uint8]]]:
    return st.builds(
        lambda height, width, seed, share: (np.random.default_rng(seed).random((height, width)) < share).astype("u1"),
        st.integers(1, 40),
        st.integers(1, 40),
        st.integers(0, 2**32),
        st.floats(0, 1),
    )


def uncompressed(mask: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    runs, value = [0], 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return {"size": list(mask.shape), "counts": runs}


def test_pycocotools_reads_what_is_written(tmp_path: Path) -> None:
    boxes = [
        {"class_id": 3, "bbox": [16, 8, 32, 16]},
        {"class_id": 7, "bbox": [-0.5, 0, 10.5, 64.5], "iscrowd": 1},
        {"class_id": 7, "bbox": [-0.9, 0, 0.5, 4]},
    ]
    files = convert(dice(tmp_path / "dice", two(*boxes)), "object_detection", tmp_path / "coco")
    coco = loaded(files.annotation_files["train"])
    assert {entry["id"]: entry["name"] for entry in coco.loadCats(coco.getCatIds())} == {0: "seven", 1: "three"}
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1], iscrowd=None))
    assert [(entry["id"], entry["category_id"], entry["bbox"], entry["area"], entry["iscrowd"]) for entry in found] == [
        (1, 1, [16, 8, 32, 16], 512, 0),
        (2, 0, [0, 0, 10, 64], 640, 1),
    ]
    assert files.notes == ("1 objects without any area inside their picture are left out",)
    assert (files.image_folders["train"] / coco.loadImgs([1])[0]["file_name"]).is_file()
    assert loaded(files.annotation_files["val"]).getImgIds() == [2]
    assert files.counts == {"train": 1, "val": 1} and files.classes == ["seven", "three"]


def test_a_second_conversion_and_other_splits_leave_nothing_behind(tmp_path: Path) -> None:
    folder = dice(tmp_path, [{"id": n, "file_name": f"{n}.png"} for n in range(1, 11)])

    def names(files: CocoFiles, split: str) -> set[str]:
        return {path.name for path in files.image_folders[split].iterdir()}

    first = convert(folder, "detection", split_strategy={"type": "k_fold", "folds": 2, "fold": 0})
    val_of_first = names(first, "val")
    second = convert(folder, "detection", split_strategy={"type": "k_fold", "folds": 2, "fold": 1})
    assert names(second, "train") == val_of_first and len(names(second, "val")) == 5


def test_polygons_have_the_area_that_pycocotools_counts(tmp_path: Path) -> None:
    annotation = {"class_id": 7, "segmentation": [SQUARE, [2.0, 2.0, 10.0, 2.0, 10.0, 10.0, 2.0, 10.0]]}
    folder = dice(tmp_path, two(annotation), task="segmentation", file="annotations_segmentation.json")
    coco = loaded(convert(folder, "segmentation").annotation_files["train"])
    [found] = coco.loadAnns(coco.getAnnIds())
    assert found["area"] == 32 * 32 + 8 * 8 == coco_masks.area(coco.annToRLE(found))
    assert found["bbox"] == [2, 2, 46, 46] == coco_masks.toBbox(coco.annToRLE(found)).tolist()


def test_keypoints_keep_names_and_skeleton(tmp_path: Path) -> None:
    classes = [{"id": 5, "name": "person", "keypoints": ["head", "foot"], "skeleton": [[1, 2]]}]
    annotation = {"class_id": 5, "bbox": [8, 8, 16, 16], "keypoints": [9, 9, 2, 0, 0, 0]}
    folder = dice(tmp_path, two(annotation), task="pose", file="annotations_pose.json", classes=classes)
    coco = loaded(convert(folder, "pose").annotation_files["train"])
    [found] = coco.loadAnns(coco.getAnnIds())
    assert found["keypoints"] == [9, 9, 2, 0, 0, 0] and found["num_keypoints"] == 1
    [category] = coco.loadCats([0])
    assert category["keypoints"] == ["head", "foot"] and category["skeleton"] == [[1, 2]]


def test_classification_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="COCO has no classification"):
        convert(tmp_path, "classification")


@given(masks())
def test_run_lengths_mean_what_pycocotools_means(mask: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    height, width = mask.shape
    packed = coco_masks.encode(np.asfortranarray(mask))
    text = {"size": [height, width], "counts": packed["counts"].decode()}
    plain = uncompressed(mask)
    assert run_lengths(text, width, height) == plain["counts"] == run_lengths(plain, width, height)
    image = DiceImage(id=1, file_name="a.png", width=width, height=height)
    for segmentation in (text, plain):
        annotation = DiceAnnotation(id=1, class_id=0, segmentation=json.loads(json.dumps(segmentation)))
        found = object_of(TaskType.SEGMENTATION, image, annotation, {0: 0})
        if not mask.any():
            assert found is None
            continue
        assert found is not None
        assert found["area"] == coco_masks.area(packed) and found["bbox"] == coco_masks.toBbox(packed).tolist()


@given(st.lists(st.tuples(st.floats(0, SIDE), st.floats(0, SIDE)), min_size=3, max_size=3))
def test_a_triangle_has_about_the_area_that_pycocotools_counts(corners: list[tuple[float, float]]) -> None:
    image = DiceImage(id=1, file_name="a.png", width=SIDE, height=SIDE)
    polygon = [number for corner in corners for number in corner]
    annotation = DiceAnnotation(id=1, class_id=0, segmentation=[polygon])
    found = object_of(TaskType.SEGMENTATION, image, annotation, {0: 0})
    counted = coco_masks.area(coco_masks.merge(coco_masks.frPyObjects([polygon], SIDE, SIDE)))
    edge = sum(np.hypot(*np.subtract(a, b)) for a, b in zip(corners, corners[1:] + corners[:1], strict=True))
    # Whole pixels against the true area: they differ by a part of each pixel on the edge.
    assert abs((found["area"] if found else 0) - counted) <= 1.5 * edge + 4
