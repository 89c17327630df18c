"""What every converter reads: the task's annotations, checked; pictures, opened; splits, dealt out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from events.types.dice import (
    ANNOTATION_FILES,
    OLD_ANNOTATION_FILE,
    DiceDocument,
    DiceImage,
    Problem,
    image_label,
    image_paths,
    parse_document,
    problems,
)
from events.types.old_dice import task_contents
from events.types.pictures import PICTURE_BYTES_MAX, picture_fault
from events.types.splits import ByRatio, InvalidStrategy, parse_strategy, split
from events.types.vocabulary import TaskType, canonical_task_type

SHOWN_MAX: Final = 5
PARALLEL: Final = 4


class InvalidDataset(ValueError):
    """The data set cannot be converted; the message names the first problems."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that may be converted: ``splits`` with non-empty train and val, each picture's file by image id."""

    document: DiceDocument
    splits: dict[str, list[DiceImage]]
    files: dict[int, Path]
    notes: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        return {split: len(images) for split, images in self.splits.items()}


def read_source(folder: Path, task: TaskType, split_strategy: Mapping[str, Any] | None) -> Source:
    """Read and check all of it, before anything is written. Raises InvalidDataset."""
    document = read_document(folder, task)
    splits, notes = splits_of(document, split_strategy)
    files = picture_files(folder, [image for images in splits.values() for image in images])
    return Source(document, splits, files, tuple(notes))


def task_of(task_type: str) -> TaskType:
    """Raises InvalidDataset."""
    try:
        return TaskType(str(canonical_task_type(task_type)))
    except ValueError:
        raise InvalidDataset(f"task {task_type!r} is none of {', '.join(TaskType)}") from None


def read_document(folder: Path, task: TaskType) -> DiceDocument:
    """The task's annotation file, else the task's part of the old single one. Raises InvalidDataset."""
    for name in (ANNOTATION_FILES[task], OLD_ANNOTATION_FILE):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise InvalidDataset(f"{name} is not JSON: {error}") from error
        if name == OLD_ANNOTATION_FILE:
            parts = task_contents(content)
            if task not in parts and "" not in parts:
                raise InvalidDataset(f"{name} holds nothing for {task}, only for {', '.join(map(str, parts))}")
            content = parts.get(task, content)
        document, found = parse_document(name, content)
        if document is not None:
            found = problems(name, document)
            if document.task_type != task:
                found = [Problem(name, "task_type", f"is {document.task_type}, not {task}")]
        refuse(name, [problem for problem in found if problem.fatal])
        assert document is not None
        return document
    raise InvalidDataset(f"{folder} holds neither {ANNOTATION_FILES[task]} nor {OLD_ANNOTATION_FILE}")


def refuse(file: str, found: list[Problem]) -> None:
    """Raises InvalidDataset if there are any problems."""
    if found:
        shown = "; ".join(": ".join(filter(None, (p.image, p.field, p.message))) for p in found[:SHOWN_MAX])
        raise InvalidDataset(f"{file} has {len(found)} problems: {shown}")


def splits_of(
    document: DiceDocument, split_strategy: Mapping[str, Any] | None
) -> tuple[dict[str, list[DiceImage]], list[str]]:
    """Images by split, ``train`` and ``val`` never empty, and what was decided. Raises InvalidDataset."""
    listed = Counter(image.split or "train" for image in document.images)
    try:
        if split_strategy:
            strategy = parse_strategy(split_strategy)
            splits = split(document.images, strategy)
            note = f"split_strategy {strategy.model_dump(mode='json')}: {_sizes(splits)}"
        elif listed["train"] and listed["val"]:
            found: dict[str, list[DiceImage]] = {}
            for image in document.images:
                found.setdefault(image.split or "train", []).append(image)
            return found, []
        elif not listed["train"]:
            raise InvalidDataset("the data set has no image in split train")
        else:
            splits = split(document.images, ByRatio())
            note = f"no split val: {len(splits['val'])} of {listed['train']} images of train are used"
    except InvalidStrategy as error:
        raise InvalidDataset(f"split_strategy: {error}") from error
    splits = {name: images for name, images in splits.items() if images}
    return splits, [f"{note}, chosen by file name"]


def _sizes(splits: Mapping[str, list[DiceImage]]) -> str:
    return ", ".join(f"{len(images)} {split}" for split, images in splits.items() if images)


def picture_files(folder: Path, images: list[DiceImage]) -> dict[int, Path]:
    """Each picture's file by image id. All are opened: one that is broken would end the training in the middle.

    Raises InvalidDataset naming the pictures that are missing or cannot be used.
    """

    def look(image: DiceImage) -> tuple[Path, str | None]:
        path = next((folder / name for name in image_paths(image) if (folder / name).is_file()), None)
        if path is None:
            return folder, "the picture is missing"
        with path.open("rb") as file:
            return path.resolve(), picture_fault(file.read(PICTURE_BYTES_MAX + 1), image)

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="pictures") as pool:
        looked = list(pool.map(look, images))
    refuse(
        "the data set",
        [
            Problem("", "images.file_name", fault, image_label(image.id, image.file_name))
            for image, (_, fault) in zip(images, looked, strict=True)
            if fault is not None
        ],
    )
    return {image.id: path for image, (path, _) in zip(images, looked, strict=True)}
