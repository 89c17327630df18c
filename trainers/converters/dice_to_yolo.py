"""DICE to the folder layout and label files that Ultralytics reads (https://docs.ultralytics.com/datasets/).

``images/<split>/NAME``, ``labels/<split>/NAME.txt`` with a line an object, all numbers relative to the picture, and
``data.yaml``:

    detection      class x_center y_center width height
    segmentation   class x1 y1 x2 y2 ...
    pose           class x_center y_center width height x1 y1 visibility1 x2 y2 visibility2 ...

Classification is a folder a class instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from events.types.dice import DiceAnnotation, DiceImage
from events.types.vocabulary import TaskType
from trainers.converters import dice_to_image_folder
from trainers.converters.boxes import Box, box_around, clipped, keypoints_of
from trainers.converters.linking import flat_names, link_pictures, remove_links
from trainers.converters.masks import joined, rings_of
from trainers.converters.poses import PoseShape, pose_shape
from trainers.converters.reading import InvalidDataset, read_source, task_of

__all__ = ["Converted", "InvalidDataset", "convert", "convert_dice_to_yolo"]

FOLDER: Final = "yolo"


@dataclass(frozen=True, slots=True)
class Converted:
    """``data_yaml`` is what ``YOLO.train`` takes as ``data``: the file, or for classification the folder.

    ``counts`` are pictures per split; ``notes`` say what was decided, for the log.
    """

    folder: Path
    data_yaml: Path
    counts: dict[str, int]
    classes: list[str]
    notes: tuple[str, ...] = ()


def convert_dice_to_yolo(dice_path: str, task_type: str, output: str | None = None) -> str:
    """Path of the converted folder (section 3.4 of the design). Raises InvalidDataset."""
    return str(convert(Path(dice_path), task_type, Path(output) if output else None).folder)


def convert(
    dice_folder: Path,
    task_type: str,
    output: Path | None = None,
    split_strategy: Mapping[str, Any] | None = None,
) -> Converted:
    """Convert for a task, into ``output`` (a folder ``yolo`` beside the data set's own files for None).

    A data set without a val split gets one: a fifth of train, chosen by a hash of the file name, the same every time.
    What an earlier conversion left in ``output`` is removed. Raises InvalidDataset.
    """
    task = task_of(task_type)
    folder = output if output is not None else dice_folder / FOLDER
    if task is TaskType.CLASSIFICATION:
        found = dice_to_image_folder.convert(dice_folder, folder, split_strategy)
        return Converted(folder, folder, found.counts, found.classes, found.notes)
    source = read_source(dice_folder, task, split_strategy)
    index = {entry.id: number for number, entry in enumerate(source.document.classes)}
    shape = pose_shape(source.document) if task is TaskType.POSE else PoseShape(0, None, ())
    lines = {
        image.id: [yolo_line(task, image, annotation, index, shape.keypoints) for annotation in image.annotations]
        for images in source.splits.values()
        for image in images
    }
    clear(folder)
    for split, images in source.splits.items():
        names = flat_names(split, images)
        link_pictures(folder / "images" / split, names, source.files)
        labels = folder / "labels" / split
        labels.mkdir(parents=True, exist_ok=True)
        for image_id, name in names.items():
            text = "".join(f"{line}\n" for line in lines[image_id] if line is not None)
            (labels / f"{Path(name).stem}.txt").write_text(text)
    classes = [entry.name for entry in source.document.classes]
    data_yaml = folder / "data.yaml"
    content: dict[str, object] = {"path": str(folder.resolve()), "train": "images/train", "val": "images/val"}
    if source.counts.get("test"):
        content["test"] = "images/test"
    data_yaml.write_text(
        yaml.safe_dump({**content, **shape.as_yaml(), "names": dict(enumerate(classes))}, sort_keys=False)
    )
    notes = (*source.notes, *shape.notes, *left_out(lines.values()))
    return Converted(folder, data_yaml, source.counts, classes, notes)


def left_out(lines: Iterable[list[str | None]]) -> list[str]:
    count = sum(line is None for found in lines for line in found)
    return [f"{count} objects are left out: crowds, or without any area inside their picture"] if count else []


def clear(folder: Path) -> None:
    """Remove our links, labels and Ultralytics' caches of them, which it tells apart by size only; nothing else."""
    remove_links(folder / "images", "*/*")
    for pattern in ("*/*.txt", "*.cache"):
        for path in sorted((folder / "labels").glob(pattern)):
            path.unlink()


def yolo_line(
    task: TaskType, image: DiceImage, annotation: DiceAnnotation, class_index: Mapping[int, int], keypoints: int = 0
) -> str | None:
    """An object's line; None for a crowd, which YOLO has no word for, and for what has no area inside the picture."""
    if annotation.iscrowd:
        return None
    if task is TaskType.SEGMENTATION:
        rings = rings_of(image, annotation)
        numbers = relative(image, joined(rings).ravel().tolist()) if rings else None
    else:
        points = keypoints_of(image, annotation) if task is TaskType.POSE else []
        box = clipped(image, annotation.bbox) if annotation.bbox else box_around(image, points)
        numbers = centred(image, box) if box else None
        if numbers is not None:
            # A class with fewer keypoints than another is filled up with ones that are not there.
            for x, y, visibility in [*points, *[(0.0, 0.0, 0)] * (keypoints - len(points))]:
                numbers += [*relative(image, [x, y]), str(visibility)]
    return " ".join([str(class_index[annotation.class_id]), *numbers]) if numbers else None


def centred(image: DiceImage, box: Box) -> list[str]:
    x, y, width, height = box
    return relative(image, [x + width / 2, y + height / 2, width, height])


def relative(image: DiceImage, numbers: list[float]) -> list[str]:
    """x and y in turn, as shares of width and height."""
    sides = (image.width, image.height)
    return [f"{value / sides[place % 2]:.8f}" for place, value in enumerate(numbers)]
