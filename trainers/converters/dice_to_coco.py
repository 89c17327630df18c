"""DICE to COCO: ``images/<split>/NAME`` and ``annotations/<split>.json`` (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from events.types.dice import DiceAnnotation, DiceClass, DiceImage
from events.types.vocabulary import TaskType
from trainers.converters.boxes import box_around, clipped, keypoints_of
from trainers.converters.linking import flat_names, link_pictures, remove_links
from trainers.converters.masks import area_of, box_of, mask_box, mask_of, rings_of
from trainers.converters.reading import InvalidDataset, read_source, task_of

FOLDER: Final = "coco"


@dataclass(frozen=True, slots=True)
class CocoFiles:
    """``annotation_files`` and ``image_folders`` by split; class ids are places in ``classes``."""

    folder: Path
    annotation_files: dict[str, Path]
    image_folders: dict[str, Path]
    counts: dict[str, int]
    classes: list[str]
    notes: tuple[str, ...] = ()


def convert(
    dice_folder: Path,
    task_type: str,
    output: Path | None = None,
    split_strategy: Mapping[str, Any] | None = None,
) -> CocoFiles:
    """Convert into ``output`` (a folder ``coco`` beside the data set's own files for None).

    What an earlier conversion left there is removed. Raises InvalidDataset.
    """
    task = task_of(task_type)
    if task is TaskType.CLASSIFICATION:
        raise InvalidDataset("COCO has no classification; its pictures have objects")
    source = read_source(dice_folder, task, split_strategy)
    folder = output if output is not None else dice_folder / FOLDER
    categories = [category(number, entry, task) for number, entry in enumerate(source.document.classes)]
    index = {entry.id: number for number, entry in enumerate(source.document.classes)}
    remove_links(folder / "images", "*/*")
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    annotation_files, image_folders, left_out = {}, {}, 0
    for split, images in source.splits.items():
        names = flat_names(split, images)
        image_folders[split] = folder / "images" / split
        link_pictures(image_folders[split], names, source.files)
        found = [
            (image, object_of(task, image, annotation, index)) for image in images for annotation in image.annotations
        ]
        # Ids count from 1: to pycocotools an object with id 0 is none.
        kept = [(image, shape) for image, shape in found if shape is not None]
        left_out += len(found) - len(kept)
        content = {
            "info": {"description": source.document.dataset_name or ""},
            "licenses": [],
            "categories": categories,
            "images": [
                {"id": image.id, "file_name": names[image.id], "width": image.width, "height": image.height}
                for image in images
            ],
            "annotations": [
                {"id": number, "image_id": image.id, **shape} for number, (image, shape) in enumerate(kept, start=1)
            ],
        }
        annotation_files[split] = folder / "annotations" / f"{split}.json"
        annotation_files[split].write_text(json.dumps(content))
    classes = [entry.name for entry in source.document.classes]
    note = (f"{left_out} objects without any area inside their picture are left out",) if left_out else ()
    return CocoFiles(folder, annotation_files, image_folders, source.counts, classes, (*source.notes, *note))


def category(number: int, entry: DiceClass, task: TaskType) -> dict[str, Any]:
    found: dict[str, Any] = {"id": number, "name": entry.name, "supercategory": entry.supercategory or ""}
    if task is TaskType.POSE:
        found |= {"keypoints": entry.keypoints or [], "skeleton": entry.skeleton or []}
    return found


def object_of(
    task: TaskType, image: DiceImage, annotation: DiceAnnotation, class_index: Mapping[int, int]
) -> dict[str, Any] | None:
    """What COCO says of an object, without ids; None for one without any area inside the picture."""
    found: dict[str, Any] = {
        "category_id": class_index[annotation.class_id],
        "iscrowd": int(bool(annotation.iscrowd)),
    }
    points = keypoints_of(image, annotation) if task is TaskType.POSE else []
    box = clipped(image, annotation.bbox) if annotation.bbox else box_around(image, points)
    if points:
        found["keypoints"] = [number for point in points for number in point]
        found["num_keypoints"] = sum(visibility > 0 for _, _, visibility in points)
    area = box[2] * box[3] if box else 0.0
    if task is TaskType.SEGMENTATION and isinstance(annotation.segmentation, dict):
        mask = mask_of(annotation.segmentation, image.width, image.height)
        box, area = mask_box(mask), float(mask.sum(dtype=int))
        found["segmentation"] = annotation.segmentation
    elif task is TaskType.SEGMENTATION:
        rings = rings_of(image, annotation)
        box, area = (box_of(rings) if rings else None), sum(area_of(ring) for ring in rings)
        found["segmentation"] = [ring.ravel().tolist() for ring in rings]
    return {**found, "bbox": list(box), "area": area} if box else None
