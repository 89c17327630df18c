"""DICE to the folder layout and label files that Ultralytics reads.

``images/<split>/NAME``, ``labels/<split>/NAME.txt`` with a line ``class x_center y_center width height`` a box, all
relative to the picture (https://docs.ultralytics.com/datasets/detect/), and ``data.yaml``.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from events.types.dice import (
    ANNOTATION_FILES,
    OLD_ANNOTATION_FILE,
    DiceAnnotation,
    DiceDocument,
    DiceImage,
    image_paths,
    parse_document,
    problems,
)
from events.types.vocabulary import TaskType, canonical_task_type

FOLDER: Final = "yolo"
VAL_SHARE: Final = 0.2
SHOWN_MAX: Final = 5


class InvalidDataset(ValueError):
    """The data set cannot be converted; the message names the first problems."""


@dataclass(frozen=True, slots=True)
class Converted:
    """``counts`` are pictures per split; ``notes`` say what was decided, for the log."""

    folder: Path
    data_yaml: Path
    counts: dict[str, int]
    classes: list[str]
    notes: tuple[str, ...] = ()


def convert_dice_to_yolo(dice_path: str, task_type: str, output: str | None = None) -> str:
    """Path of the converted folder (section 3.4 of the design). Raises InvalidDataset."""
    return str(convert(Path(dice_path), task_type, Path(output) if output else None).folder)


def convert(dice_folder: Path, task_type: str, output: Path | None = None) -> Converted:
    """Convert for detection, into ``output`` (a folder ``yolo`` beside the data set's own files for None).

    A data set without a val split gets one: a fifth of train, chosen by a hash of the file name, the same every time.
    What an earlier conversion left in ``output`` is removed. Raises InvalidDataset.
    """
    task = TaskType(str(canonical_task_type(task_type)))
    if task is not TaskType.DETECTION:
        raise InvalidDataset(f"task {task} cannot be converted to YOLO yet, only detection can")
    document = read_document(dice_folder, task)
    folder = output if output is not None else dice_folder / FOLDER
    splits, notes = with_val_split(document)
    index = {entry.id: number for number, entry in enumerate(document.classes)}
    counts = {split: len(images) for split, images in splits.items()}
    clear(folder)
    for split, images in splits.items():
        names = flat_names(split, images)
        for image in images:
            write_image(dice_folder, folder, split, image, names[image.id], index)
    classes = [entry.name for entry in document.classes]
    data_yaml = folder / "data.yaml"
    content: dict[str, object] = {"path": str(folder.resolve()), "train": "images/train", "val": "images/val"}
    if counts.get("test"):
        content["test"] = "images/test"
    data_yaml.write_text(yaml.safe_dump({**content, "names": dict(enumerate(classes))}, sort_keys=False))
    return Converted(folder, data_yaml, counts, classes, tuple(notes))


def read_document(folder: Path, task: TaskType) -> DiceDocument:
    """The task's annotation file, else the old single one. Raises InvalidDataset."""
    for name in (ANNOTATION_FILES[task], OLD_ANNOTATION_FILE):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (UnicodeDecodeError, ValueError) as error:
            raise InvalidDataset(f"{name} is not JSON: {error}") from error
        document, found = parse_document(name, content)
        if document is not None:
            found = problems(name, document)
        fatal = [problem for problem in found if problem.fatal]
        if document is None or fatal:
            shown = "; ".join(f"{p.field}: {p.message} {p.image or ''}".strip() for p in fatal[:SHOWN_MAX])
            raise InvalidDataset(f"{name} has {len(fatal)} problems: {shown}")
        return document
    raise InvalidDataset(f"{folder} holds neither {ANNOTATION_FILES[task]} nor {OLD_ANNOTATION_FILE}")


def with_val_split(document: DiceDocument) -> tuple[dict[str, list[DiceImage]], list[str]]:
    """Images by split, ``train`` and ``val`` never empty, and what was decided. Raises InvalidDataset."""
    splits: dict[str, list[DiceImage]] = {}
    for image in document.images:
        splits.setdefault(image.split or "train", []).append(image)
    notes = []
    if not splits.get("train"):
        raise InvalidDataset("the data set has no image in split train")
    if not splits.get("val"):
        ordered = sorted(splits["train"], key=lambda image: hashlib.sha256(image.file_name.encode()).digest())
        count = max(1, round(len(ordered) * VAL_SHARE))
        if len(ordered) < 2:
            raise InvalidDataset("the data set has no split val, and one image of train cannot be split")
        splits["val"], splits["train"] = ordered[:count], ordered[count:]
        notes.append(f"no split val: {count} of {len(ordered)} images of train are used, chosen by file name")
    return splits, notes


def clear(folder: Path) -> None:
    """Remove our links, labels and Ultralytics' caches of them, which it tells apart by size only; nothing else."""
    for path in sorted((folder / "images").glob("*/*")):
        if path.is_symlink():
            path.unlink()
    for pattern in ("*/*.txt", "*.cache"):
        for path in sorted((folder / "labels").glob(pattern)):
            path.unlink()


def flat_names(split: str, images: list[DiceImage]) -> dict[int, str]:
    """A name for each picture's id: without folders, and no two with one stem, because the stem names the label file.

    Where two would clash, all of the split get their id appended.
    """
    flat = {image.id: image.file_name.removeprefix(f"{split}/").replace("/", "__") for image in images}
    if len({Path(name).stem for name in flat.values()}) == len(flat):
        return flat
    return {image_id: f"{Path(name).stem}__id{image_id}{Path(name).suffix}" for image_id, name in flat.items()}


def write_image(
    dice_folder: Path, folder: Path, split: str, image: DiceImage, name: str, class_index: dict[int, int]
) -> None:
    """Link the picture and write its labels. Raises InvalidDataset when the picture is missing."""
    source = next((dice_folder / path for path in image_paths(image) if (dice_folder / path).is_file()), None)
    if source is None:
        raise InvalidDataset(f"the picture {image.file_name} of image id {image.id} is missing")
    picture = folder / "images" / split / name
    label = folder / "labels" / split / f"{Path(name).stem}.txt"
    picture.parent.mkdir(parents=True, exist_ok=True)
    label.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(source.resolve(), picture)
    lines = [yolo_line(image, annotation, class_index) for annotation in image.annotations]
    label.write_text("".join(f"{line}\n" for line in lines if line is not None))


def yolo_line(image: DiceImage, annotation: DiceAnnotation, class_index: dict[int, int]) -> str | None:
    """``class x_center y_center width height``, clipped to the picture; None for a box without any area inside."""
    assert annotation.bbox is not None
    x, y, width, height = annotation.bbox
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(float(image.width), x + width), min(float(image.height), y + height)
    if right <= left or bottom <= top:
        return None
    box = (
        (left + right) / 2 / image.width,
        (top + bottom) / 2 / image.height,
        (right - left) / image.width,
        (bottom - top) / image.height,
    )
    return " ".join([str(class_index[annotation.class_id]), *(f"{value:.8f}" for value in box)])
