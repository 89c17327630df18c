from __future__ import annotations

import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dice_folders import Content, dice
from trainers.converters.dice_to_image_folder import convert, safe_folders
from trainers.converters.reading import InvalidDataset

FILE = "annotations_classification.json"


def labelled(number: int, split: str | None, class_id: int | None, name: str | None = None) -> Content:
    annotations = [] if class_id is None else [{"id": number, "class_id": class_id}]
    return {"id": number, "file_name": name or f"{number}.png", "split": split, "annotations": annotations}


def test_every_split_has_a_folder_for_every_class_in_the_order_of_their_names(tmp_path: Path) -> None:
    images = [
        labelled(1, "train", 7, "train/x/a.png"),
        labelled(2, "train", 7, "train/y/a.png"),
        labelled(3, "train", None),
        labelled(4, "val", 3),
    ]
    folders = convert(dice(tmp_path / "dice", images, task="classification", file=FILE), tmp_path / "out")
    assert (folders.classes, folders.class_folders) == (["seven", "three"], ("seven", "three"))
    assert folders.counts == {"train": 2, "val": 1}
    assert folders.notes == ("1 pictures without a class are left out",)
    found = sorted(path.relative_to(folders.folder).as_posix() for path in folders.folder.rglob("*"))
    assert found == [
        *("train", "train/seven", "train/seven/x__a.png", "train/seven/y__a.png", "train/three"),
        *("val", "val/seven", "val/three", "val/three/4.png"),
    ]


def test_a_second_conversion_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    images = [labelled(number, None, 7) for number in range(1, 6)]
    folder = dice(tmp_path / "dice", images, task="classification", file=FILE)
    first = convert(folder)
    second = convert(folder, split_strategy={"type": "k_fold", "folds": 5, "fold": 2})
    assert first.folder == second.folder
    assert len(list(second.folder.rglob("*.png"))) == 5
    assert second.counts == {"train": 4, "val": 1}


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([labelled(1, "train", 7), labelled(2, "val", None)], "no picture of split val has a class"),
        (
            [{**labelled(1, "train", 7), "annotations": [{"id": 1, "class_id": 7}, {"id": 2, "class_id": 3}]}],
            "this one has several",
        ),
        ([labelled(1, "train", 7)], "1 pictures cannot be dealt out"),
        ([labelled(1, "test", 7)], "no image in split train"),
    ],
)
def test_what_cannot_be_classified_is_refused(tmp_path: Path, images: list[Content], words: str) -> None:
    with pytest.raises(InvalidDataset, match=words):
        convert(dice(tmp_path, images, task="classification", file=FILE))


names = st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=8, unique=True)


@given(names)
def test_a_class_folder_is_one_name_and_no_two_share_it(class_names: list[str]) -> None:
    folders = safe_folders(class_names)
    assert set(folders) == set(class_names) and len(set(folders.values())) == len(class_names)
    for folder in folders.values():
        assert folder not in ("", ".", "..") and "/" not in folder and "\x00" not in folder
        assert len(folder.encode()) <= 255


@given(st.text(alphabet=string.ascii_letters + string.digits + " _-().가나", min_size=1, max_size=30))
def test_a_plain_class_name_is_its_folder(name: str) -> None:
    if name == name.strip(" ."):
        assert safe_folders([name]) == {name: name}


labels = st.lists(st.sampled_from([7, 3]), min_size=2, max_size=12)


@settings(max_examples=15)
@given(labels, st.integers(0, 99))
def test_each_picture_is_found_once_under_its_own_class(classes: list[int], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        images = [labelled(number, None, class_id) for number, class_id in enumerate(classes, start=1)]
        folder = dice(Path(name), images, task="classification", file=FILE)
        folders = convert(folder, split_strategy={"type": "stratified", "seed": seed})
        found = {
            int(path.stem): folders.classes[folders.class_folders.index(path.parent.name)]
            for path in folders.folder.glob("*/*/*.png")
        }
        assert len(list(folders.folder.glob("*/*/*.png"))) == sum(folders.counts.values()) == len(classes)
        assert found == {number: {7: "seven", 3: "three"}[found] for number, found in enumerate(classes, start=1)}
