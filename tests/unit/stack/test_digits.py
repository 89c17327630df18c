from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from events.types.dice import image_paths, parse_document, problems
from stack.demo.digits import make_dataset

FILES = ("annotations_detection.json", "annotations_classification.json")

# Copied from the samples in sections 3.2.1 and 3.2.2 of the training pipeline design: the exact keys of each level.
DOCUMENT = [
    *["format_version", "dataset_id", "dataset_name", "task_type", "created_at", "last_modified_at", "version"],
    *["classes", "images", "statistics"],
]
CLASS = ["id", "name", "color", "supercategory"]
IMAGE = ["id", "file_name", "width", "height", "depth", "split", "annotations", "metadata"]
WHO = ["labeled_by", "labeled_at", "reviewed_by", "reviewed_at", "source"]
STATISTICS = [
    "total_images",
    "total_annotations",
    "avg_annotations_per_image",
    "class_distribution",
    "split_distribution",
]
CLASSIFICATION = ["id", "image_id", "class_id", "class_name", "attributes"]
DETECTION = ["id", "image_id", "class_id", "class_name", "bbox", "bbox_format", "area", "iscrowd", "attributes"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits")
    make_dataset(path, train=30, val=6, test=4)
    return path


def read(folder: Path, file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / file).read_text())
    return content


@pytest.mark.parametrize(("file", "annotation_keys"), [(FILES[0], DETECTION), (FILES[1], CLASSIFICATION)])
def test_every_level_has_exactly_the_keys_of_the_samples(folder: Path, file: str, annotation_keys: list[str]) -> None:
    document = read(folder, file)
    assert list(document) == DOCUMENT
    assert all(list(entry) == CLASS for entry in document["classes"])
    assert all(list(image) == IMAGE and list(image["metadata"]) == WHO for image in document["images"])
    assert list(document["statistics"]) == STATISTICS
    annotations = [annotation for image in document["images"] for annotation in image["annotations"]]
    assert annotations and all(list(annotation) == annotation_keys for annotation in annotations)


@pytest.mark.parametrize("file", FILES)
def test_the_documents_have_neither_problems_nor_warnings(folder: Path, file: str) -> None:
    document, found = parse_document(file, read(folder, file))
    assert found == [] and document is not None
    assert problems(file, document) == []
    assert {image.split for image in document.images} == {"train", "val", "test"}
    for image in document.images:
        assert (folder / image_paths(image)[0]).is_file()


def test_statistics_are_those_of_the_images(folder: Path) -> None:
    document = read(folder, "annotations_detection.json")
    said = document["statistics"]
    classes = [annotation["class_name"] for image in document["images"] for annotation in image["annotations"]]
    assert said["total_images"] == 40
    assert said["total_annotations"] == len(classes)
    assert said["class_distribution"] == {str(digit): classes.count(str(digit)) for digit in range(10)}
    assert said["split_distribution"] == {"train": 30, "val": 6, "test": 4}
    assert min(said["class_distribution"].values()) > 0


def test_boxes_are_tight_around_the_ink(folder: Path) -> None:
    for image in read(folder, "annotations_detection.json")["images"]:
        bright = np.asarray(Image.open(folder / "images" / image["file_name"])).max(axis=2) > 90
        outside = bright.copy()
        for annotation in image["annotations"]:
            left, top, width, height = (int(number) for number in annotation["bbox"])
            box = bright[top : top + height, left : left + width]
            assert box.shape == (height, width)
            # Ink fades at its edge: the outermost bright pixel is at most a few pixels inside the box.
            rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
            assert rows[0] <= 4 and columns[0] <= 4
            assert height - 1 - rows[-1] <= 4 and width - 1 - columns[-1] <= 4
            outside[top : top + height, left : left + width] = False
        assert not outside.any()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = make_dataset(tmp_path / "a", train=3, val=1, test=1, seed=7)
    again = make_dataset(tmp_path / "b", train=3, val=1, test=1, seed=7)
    other = make_dataset(tmp_path / "c", train=3, val=1, test=1, seed=8)
    assert first.content_hash == again.content_hash
    assert first.content_hash != other.content_hash


def test_a_second_call_replaces_the_folder_and_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path / "set", train=4, val=1, test=1)
    assert make_dataset(tmp_path / "set", train=2, val=1, test=1).files == 2 + 1 + 1 + 3
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="holds no data set"):
        make_dataset(foreign)
    assert (foreign / "thesis.txt").read_text() == "precious"
