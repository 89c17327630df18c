"""DICE to a folder a class, as torchvision, timm and Ultralytics read classification: ``<split>/<class>/<picture>``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from events.types.vocabulary import TaskType
from trainers.converters.linking import NAME_BYTES_MAX, flat_names, hashed, link_pictures, remove_links
from trainers.converters.reading import InvalidDataset, Source, read_source

FOLDER: Final = "image_folder"
_UNSAFE: Final = re.compile(r"[^\w .()+-]")


@dataclass(frozen=True, slots=True)
class ImageFolders:
    """``classes`` stand in the order of their folders' names, ``class_folders``: what sorts them gets the same indices.

    Every split has a folder for every class, even if there is no picture in it: indices are the same in all of them.
    """

    folder: Path
    counts: dict[str, int]
    classes: list[str]
    notes: tuple[str, ...] = ()
    class_folders: tuple[str, ...] = ()


def convert(
    dice_folder: Path, output: Path | None = None, split_strategy: Mapping[str, Any] | None = None
) -> ImageFolders:
    """Convert into ``output`` (a folder ``image_folder`` beside the data set's own files for None).

    What an earlier conversion left there is removed. A picture without a class is left out. Raises InvalidDataset.
    """
    source = read_source(dice_folder, TaskType.CLASSIFICATION, split_strategy)
    folder = output if output is not None else dice_folder / FOLDER
    folders = safe_folders([entry.name for entry in source.document.classes])
    names = {entry.id: folders[entry.name] for entry in source.document.classes}
    splits, left_out = with_class(source)
    remove_links(folder, "*/*/*")
    for split, classes in splits.items():
        for name in folders.values():
            (folder / split / name).mkdir(parents=True, exist_ok=True)
        flat = flat_names(split, [image for image in source.splits[split] if image.id in classes])
        for class_id, name in names.items():
            chosen = {image_id: flat[image_id] for image_id, found in classes.items() if found == class_id}
            link_pictures(folder / split / name, chosen, source.files)
    note = (f"{left_out} pictures without a class are left out",) if left_out else ()
    ordered = sorted(folders, key=lambda name: folders[name])
    counts = {split: len(classes) for split, classes in splits.items()}
    return ImageFolders(folder, counts, ordered, (*source.notes, *note), tuple(folders[name] for name in ordered))


def with_class(source: Source) -> tuple[dict[str, dict[int, int]], int]:
    """Class id by image id in each split, and how many pictures have none. Raises InvalidDataset."""
    splits = {
        split: {image.id: image.annotations[0].class_id for image in images if image.annotations}
        for split, images in source.splits.items()
    }
    for split in ("train", "val"):
        if not splits[split]:
            raise InvalidDataset(f"no picture of split {split} has a class")
    return splits, sum(source.counts.values()) - sum(map(len, splits.values()))


def safe_folders(names: Sequence[str]) -> dict[str, str]:
    """A folder name for each class: readable, none twice, none that leads out of the folder."""
    found: dict[str, str] = {}
    for name in names:
        safe = _UNSAFE.sub("_", name).strip(" .") or "_"
        if len(safe.encode()) > NAME_BYTES_MAX:
            safe = hashed(safe)
        taken, number = set(found.values()), 2
        candidate = safe
        while candidate in taken:
            candidate, number = f"{safe}_{number}", number + 1
        found[name] = candidate
    return found
