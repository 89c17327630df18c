from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from events.types.dice import DiceAnnotation, DiceImage
from events.types.vocabulary import TaskType
from tests.dice_folders import SIDE, dice, two
from trainers.converters.dice_to_yolo import Converted, InvalidDataset, convert, convert_dice_to_yolo, yolo_line
from trainers.converters.linking import flat_names

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
    with pytest.raises(InvalidDataset, match=r"id 1 \(1\.png\): images\.file_name: the picture is missing"):
        convert(folder, "detection")
    with pytest.raises(InvalidDataset, match="holds neither"):
        convert(tmp_path, "detection")


SQUARE = [16.0, 16.0, 48.0, 16.0, 48.0, 48.0, 16.0, 48.0]


def label_of(converted: Converted) -> list[list[float]]:
    text = (converted.folder / "labels/train/a.txt").read_text()
    return [[float(number) for number in line.split()] for line in text.splitlines()]


def test_crowds_and_boxes_without_an_inside_are_left_out_and_counted(tmp_path: Path) -> None:
    outside = {"class_id": 3, "bbox": [-0.9, 0, 0.8, 10]}
    folder = dice(tmp_path, two(BOX, {**BOX, "id": 2, "iscrowd": 1}, {**outside, "id": 3}))
    converted = convert(folder, "detection")
    assert len(label_of(converted)) == 1
    assert converted.notes == ("2 objects are left out: crowds, or without any area inside their picture",)


def test_segmentation_writes_polygons_and_joins_the_parts_of_an_object(tmp_path: Path) -> None:
    second = [2.0, 2.0, 8.0, 2.0, 8.0, 8.0]
    annotation = {"class_id": 7, "segmentation": [SQUARE, second]}
    folder = dice(tmp_path, two(annotation), task="segmentation", file="annotations_segmentation.json")
    [line] = label_of(convert(folder, "segmentation"))
    corners = {(x * SIDE, y * SIDE) for x, y in zip(line[1::2], line[2::2], strict=True)}
    assert line[0] == 0
    assert corners == {(16, 16), (48, 16), (48, 48), (16, 48), (2, 2), (8, 2), (8, 8)}


def test_pose_writes_box_and_keypoints_and_says_which_change_places_in_a_mirror(tmp_path: Path) -> None:
    classes = [{"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"], "skeleton": [[1, 2]]}]
    points = [32, 16, 2, 16, 8, 1, 70, 8, 2]
    annotations = [
        {"class_id": 1, "bbox": [8, 8, 32, 32], "keypoints": points},
        {"class_id": 1, "keypoints": points},
    ]
    folder = dice(tmp_path, two(*annotations), task="pose", file="annotations_pose.json", classes=classes)
    converted = convert(folder, "pose")
    first, second = label_of(converted)
    # The third keypoint lies outside the picture, so it is not there.
    keypoints = [0.5, 0.25, 2, 0.25, 0.125, 1, 0, 0, 0]
    assert first == [0, 0.375, 0.375, 0.5, 0.5, *keypoints]
    assert second == [0, 24 / SIDE, 12 / SIDE, 17 / SIDE, 9 / SIDE, *keypoints]
    described = yaml.safe_load(converted.data_yaml.read_text())
    assert (described["kpt_shape"], described["flip_idx"]) == ([3, 3], [0, 2, 1])


def test_classification_becomes_a_folder_a_class(tmp_path: Path) -> None:
    images = [
        {"id": n, "file_name": f"{n}.png", "split": split, "annotations": [{"id": n, "class_id": 7}]}
        for n, split in enumerate(["train", "train", "val"], start=1)
    ]
    folder = dice(tmp_path, images, task="classification", file="annotations_classification.json")
    converted = convert(folder, "classification", tmp_path / "yolo")
    assert converted.data_yaml == converted.folder and converted.counts == {"train": 2, "val": 1}
    found = sorted(path.relative_to(converted.folder).as_posix() for path in converted.folder.rglob("*.png"))
    assert found == ["train/seven/1.png", "train/seven/2.png", "val/seven/3.png"]
    assert (converted.folder / "train/three").is_dir(), "a class without pictures keeps its place"


def test_a_split_strategy_deals_the_pictures_out_anew(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{n}.png", "split": "train" if n < 9 else "val"} for n in range(1, 11)]
    folder = dice(tmp_path / "dice", images)
    strategy = {"type": "ratio", "ratios": {"train": 0.5, "val": 0.3, "test": 0.2}, "seed": 3}
    converted = convert(folder, "detection", split_strategy=strategy)
    assert converted.counts == {"train": 5, "val": 3, "test": 2}
    assert yaml.safe_load(converted.data_yaml.read_text())["test"] == "images/test"
    with pytest.raises(InvalidDataset, match=r"split_strategy: folds: .* at most|less than or equal to 100"):
        convert(folder, "detection", split_strategy={"type": "k_fold", "folds": 101})
    with pytest.raises(InvalidDataset, match="10 pictures cannot be dealt out to 11 folds"):
        convert(folder, "detection", split_strategy={"type": "k_fold", "folds": 11})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no picture", "the picture cannot be opened"),
        ("cut", "the picture cannot be opened: image file is truncated"),
        (b"", "the picture cannot be opened"),
    ],
)
def test_a_broken_picture_is_named_before_training_begins(tmp_path: Path, content: bytes | str, words: str) -> None:
    folder = dice(tmp_path, two())
    path = folder / "images/a.png"
    Image.effect_noise((SIDE, SIDE), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000] if isinstance(content, str) else content)
    with pytest.raises(InvalidDataset, match=rf"id 1 \(a\.png\): images\.file_name: {words}"):
        convert(folder, "detection")


sides = st.integers(min_value=1, max_value=4000)


@given(sides, sides, st.data())
def test_a_box_survives_the_way_to_yolo_and_back(width: int, height: int, data: st.DataObject) -> None:
    image = DiceImage(id=1, file_name="a.png", width=width, height=height)
    x = data.draw(st.floats(min_value=0, max_value=width * 0.9))
    y = data.draw(st.floats(min_value=0, max_value=height * 0.9))
    w = data.draw(st.floats(min_value=width * 0.01, max_value=width - x))
    h = data.draw(st.floats(min_value=height * 0.01, max_value=height - y))
    line = yolo_line(TaskType.DETECTION, image, DiceAnnotation(id=1, class_id=0, bbox=[x, y, w, h]), {0: 0})
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


places = st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(sides, sides, st.lists(st.tuples(places, st.sampled_from([0, 1, 2])), min_size=1, max_size=17))
def test_keypoints_survive_the_way_to_yolo_and_back(
    width: int, height: int, points: list[tuple[tuple[float, float], int]]
) -> None:
    image = DiceImage(id=1, file_name="a.png", width=width, height=height)
    given = [(x * width, y * height, visibility) for (x, y), visibility in points]
    numbers = [float(number) for point in given for number in point]
    annotation = DiceAnnotation(id=1, class_id=0, bbox=[0, 0, width, height], keypoints=numbers)
    line = yolo_line(TaskType.POSE, image, annotation, {0: 4}, len(points) + 1)
    assert line is not None
    found = [float(number) for number in line.split()]
    assert found[:5] == [4, 0.5, 0.5, 1, 1]
    keypoints = list(zip(found[5::3], found[6::3], found[7::3], strict=True))
    assert keypoints.pop() == (0, 0, 0), "filled up to as many as the largest class has"
    for (x, y, visibility), (x_share, y_share, kept) in zip(given, keypoints, strict=True):
        assert kept == visibility
        if visibility:
            assert abs(x_share * width - x) <= 1e-7 * width and abs(y_share * height - y) <= 1e-7 * height
        else:
            assert (x_share, y_share) == (0, 0)


@given(sides, sides, st.lists(places, min_size=3, max_size=12))
def test_a_polygon_survives_the_way_to_yolo_and_back(
    width: int, height: int, corners: list[tuple[float, float]]
) -> None:
    image = DiceImage(id=1, file_name="a.png", width=width, height=height)
    polygon = [number for x, y in corners for number in (x * width, y * height)]
    annotation = DiceAnnotation(id=1, class_id=0, segmentation=[polygon])
    line = yolo_line(TaskType.SEGMENTATION, image, annotation, {0: 0})
    if line is None:
        # Without an area: all corners on one line, or turning back on themselves.
        xs, ys = np.array(polygon[::2]), np.array(polygon[1::2])
        assert abs(np.dot(xs, np.roll(ys, -1)) - np.dot(ys, np.roll(xs, -1))) <= 1e-9 * width * height
        return
    back = [float(number) for number in line.split()[1:]]
    assert np.allclose(back[::2], [x for x, _ in corners], atol=1e-7)
    assert np.allclose(back[1::2], [y for _, y in corners], atol=1e-7)
