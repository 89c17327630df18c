from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from events.types.dice import DiceAnnotation, DiceImage
from trainers.converters.dice_to_yolo import InvalidDataset, convert, convert_dice_to_yolo, flat_names, yolo_line

SIDE = 64


def dice(folder: Path, images: list[dict[str, Any]], *, file: str = "annotations_detection.json") -> Path:
    document = {
        "format_version": "1.0",
        "task_type": "object_detection",
        "classes": [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}],
        "images": [{"width": SIDE, "height": SIDE, "annotations": [], **image} for image in images],
    }
    for image in images:
        path = folder / "images" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (SIDE, SIDE)).save(path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(document))
    return folder


BOX = {"id": 1, "class_id": 3, "bbox": [16, 8, 32, 16]}


def test_a_data_set_becomes_the_layout_that_ultralytics_reads(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "train/a.png", "split": "train", "annotations": [BOX]},
        {"id": 2, "file_name": "bottle/broken/000.png", "split": "val"},
        {"id": 3, "file_name": "cable/broken/000.png", "split": "val"},
    ]
    converted = convert(dice(tmp_path / "dice", images), "detection", tmp_path / "yolo")
    names = sorted(path.relative_to(converted.folder).as_posix() for path in converted.folder.rglob("*.*"))
    assert names == [
        "data.yaml",
        "images/train/a.png",
        "images/val/bottle__broken__000.png",
        "images/val/cable__broken__000.png",
        "labels/train/a.txt",
        "labels/val/bottle__broken__000.txt",
        "labels/val/cable__broken__000.txt",
    ]
    # Class ids of DICE may be any numbers; YOLO counts from 0, in the order of the classes.
    label = (converted.folder / "labels/train/a.txt").read_text()
    assert label == "1 0.50000000 0.25000000 0.50000000 0.25000000\n"
    described = yaml.safe_load(converted.data_yaml.read_text())
    assert described["names"] == {0: "seven", 1: "three"}
    with Image.open(converted.folder / "images/train/a.png") as picture:
        assert picture.size == (SIDE, SIDE)


def test_a_missing_val_split_is_made_the_same_way_every_time(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png", "split": "train"} for number in range(1, 11)]
    folder = dice(tmp_path / "dice", images)
    first, second = (convert(folder, "object_detection", tmp_path / name) for name in ("one", "two"))
    assert first.counts == second.counts == {"train": 8, "val": 2}
    assert first.notes == ("no split val: 2 of 10 images of train are used, chosen by file name",)
    chosen = [sorted(path.name for path in (found.folder / "images/val").iterdir()) for found in (first, second)]
    assert chosen[0] == chosen[1]


def test_the_old_single_annotation_file_is_read(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png", "split": "train"}, {"id": 2, "file_name": "b.png", "split": "val"}]
    folder = dice(tmp_path, images, file="annotations.json")
    assert Path(convert_dice_to_yolo(str(folder), "detection")).is_dir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file_name": "../../etc/passwd"}, "leaves the images folder"),
        ({"annotations": [{**BOX, "class_id": 99}]}, "class id 99 is not defined"),
        ({"annotations": [{**BOX, "bbox": [0, 0, 500, 10]}]}, "lies outside the image"),
        ({"annotations": [{**BOX, "bbox": [0, 0, -5, 10]}]}, "no positive size"),
        ({"annotations": [{**BOX, "bbox": None}]}, "needs a bbox"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_by_name(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    folder = dice(tmp_path, [{"id": 1, "file_name": "a.png", "split": "train"}])
    path = folder / "annotations_detection.json"
    document = json.loads(path.read_text())
    document["images"][0].update(change)
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidDataset, match=words):
        convert(folder, "detection")


def test_a_missing_picture_and_missing_annotations_are_refused(tmp_path: Path) -> None:
    folder = dice(tmp_path / "dice", [{"id": n, "file_name": f"{n}.png", "split": "train"} for n in (1, 2)])
    (folder / "images" / "1.png").unlink()
    with pytest.raises(InvalidDataset, match=r"picture 1\.png of image id 1 is missing"):
        convert(folder, "detection")
    with pytest.raises(InvalidDataset, match="holds neither"):
        convert(tmp_path, "detection")


sides = st.integers(min_value=1, max_value=4000)


@given(sides, sides, st.data())
def test_a_box_survives_the_way_to_yolo_and_back(width: int, height: int, data: st.DataObject) -> None:
    image = DiceImage(id=1, file_name="a.png", width=width, height=height)
    x = data.draw(st.floats(min_value=0, max_value=width * 0.9))
    y = data.draw(st.floats(min_value=0, max_value=height * 0.9))
    w = data.draw(st.floats(min_value=width * 0.01, max_value=width - x))
    h = data.draw(st.floats(min_value=height * 0.01, max_value=height - y))
    line = yolo_line(image, DiceAnnotation(id=1, class_id=0, bbox=[x, y, w, h]), {0: 0})
    assert line is not None
    _, *numbers = line.split()
    x_center, y_center, box_width, box_height = (float(number) for number in numbers)
    assert all(0 <= float(number) <= 1 for number in numbers)
    tolerance = 1e-7 * max(width, height)
    assert abs((x_center - box_width / 2) * width - x) <= tolerance
    assert abs((y_center - box_height / 2) * height - y) <= tolerance
    assert abs(box_width * width - w) <= tolerance
    assert abs(box_height * height - h) <= tolerance


names = st.lists(
    st.text(alphabet="ab_1/.id", min_size=1, max_size=8).map(lambda name: f"{name}.png"), min_size=1, max_size=12
)


@given(names, st.lists(st.sampled_from([".png", ".jpg"]), min_size=12, max_size=12))
def test_no_two_pictures_share_a_label_file(file_names: list[str], suffixes: list[str]) -> None:
    images = [
        DiceImage(id=number, file_name=name.removesuffix(".png") + suffix, width=1, height=1)
        for number, (name, suffix) in enumerate(zip(file_names, suffixes, strict=False), start=1)
    ]
    flat = flat_names("train", images)
    stems = [Path(name).stem for name in flat.values()]
    assert len(set(stems)) == len(images)
    assert not any("/" in name for name in flat.values())


def test_an_appended_id_cannot_make_a_new_clash() -> None:
    names = ("a.png", "a.jpg", "a__id1.png")
    images = [DiceImage(id=number, file_name=name, width=1, height=1) for number, name in enumerate(names, start=1)]
    assert len(set(flat_names("train", images).values())) == 3


def test_pictures_that_differ_in_folder_or_kind_only_keep_their_own_labels(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.png", "split": "train", "annotations": [BOX]},
        {"id": 2, "file_name": "a.bmp", "split": "train"},
        {"id": 3, "file_name": "b.png", "split": "val"},
    ]
    converted = convert(dice(tmp_path / "dice", images), "detection", tmp_path / "yolo")
    labels = {path.name: path.read_text() for path in (converted.folder / "labels/train").iterdir()}
    assert labels == {"a__id1.txt": "1 0.50000000 0.25000000 0.50000000 0.25000000\n", "a__id2.txt": ""}


def test_a_second_conversion_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    both = [{"id": number, "file_name": f"{number}.png", "split": "train"} for number in (1, 2, 3)]
    folder = dice(tmp_path / "dice", [*both, {"id": 4, "file_name": "4.png", "split": "val"}])
    first = convert(folder, "detection")
    (first.folder / "labels" / "train.cache").write_text("of the first")
    second = convert(dice(tmp_path / "dice", [both[0], {"id": 4, "file_name": "4.png", "split": "val"}]), "detection")
    found = sorted(path.relative_to(second.folder).as_posix() for path in second.folder.rglob("*.*"))
    assert found == ["data.yaml", "images/train/1.png", "images/val/4.png", "labels/train/1.txt", "labels/val/4.txt"]
    assert (folder / "images" / "2.png").exists(), "pictures of the data set itself are never removed"
