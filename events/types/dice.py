"""The DICE data set format: one annotation file per task beside a folder of pictures.

Source: sections 3.2 to 3.5 of the training pipeline design; polygons, run lengths, keypoints and skeleton as in COCO.
Reading is in two steps: ``parse_document`` checks shapes and types, ``problems`` checks what a document says about
itself. Both name every fault, with file, image and field, instead of stopping at the first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from events.types.rle import run_lengths
from events.types.vocabulary import AnyTaskType, TaskType

ANNOTATION_FILES: Final = {
    TaskType.CLASSIFICATION: "annotations_classification.json",
    TaskType.DETECTION: "annotations_detection.json",
    TaskType.SEGMENTATION: "annotations_segmentation.json",
    TaskType.POSE: "annotations_pose.json",
}
OLD_ANNOTATION_FILE: Final = "annotations.json"
IMAGES_FOLDER: Final = "images"
SPLITS: Final = ("train", "val", "test")

PROBLEMS_MAX: Final = 1_000
"""Problems that a report lists; the rest are counted. Keeps a report well under 1 MB."""
PROBLEMS_COUNTED_MAX: Final = 100_000
IMAGES_PER_BATCH: Final = 1_000
FILE_NAME_LENGTH_MAX: Final = 1_024
NAME_PART_BYTES_MAX: Final = 240
"""Longer names cannot be written: file systems take 255 bytes, and a download in progress has a suffix."""
IMAGE_SIDE_MAX: Final = 65_536
BBOX_TOLERANCE_PIXELS: Final = 1.0
"""Labelling tools round: a box may stick out by up to a pixel."""
AREA_TOLERANCE: Final = 0.01

Id = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class DicePart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class DiceClass(DicePart):
    id: Annotated[int, Field(strict=True, ge=0, lt=2**63)]
    name: Annotated[str, Field(min_length=1, max_length=512)]
    color: str | None = None
    supercategory: str | None = None
    keypoints: list[str] | None = None
    skeleton: list[list[int]] | None = None


class DiceAnnotation(DicePart):
    id: Id
    image_id: Id | None = None
    class_id: Id
    class_name: str | None = None
    bbox: Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)] | None = None
    bbox_format: str | None = None
    area: FiniteFloat | None = None
    iscrowd: int | None = None
    segmentation: list[list[FiniteFloat]] | dict[str, Any] | None = None
    keypoints: list[FiniteFloat] | None = None
    num_keypoints: int | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)


class DiceImage(DicePart):
    id: Id
    file_name: Annotated[str, Field(min_length=1, max_length=FILE_NAME_LENGTH_MAX)]
    width: Annotated[int, Field(gt=0, le=IMAGE_SIDE_MAX, strict=True)]
    height: Annotated[int, Field(gt=0, le=IMAGE_SIDE_MAX, strict=True)]
    depth: int | None = None
    split: str | None = None
    annotations: list[DiceAnnotation] = Field(default_factory=list)
    metadata: dict[str, Any] | None = None


class DiceStatistics(DicePart):
    total_images: int | None = None
    total_annotations: int | None = None
    avg_annotations_per_image: float | None = None
    class_distribution: dict[str, int] = Field(default_factory=dict)
    split_distribution: dict[str, int] = Field(default_factory=dict)


class DiceDocument(DicePart):
    """One annotation file."""

    format_version: str
    dataset_id: str | None = None
    dataset_name: str | None = None
    task_type: AnyTaskType
    created_at: str | None = None
    last_modified_at: str | None = None
    version: int | None = None
    classes: list[DiceClass]
    images: list[DiceImage]
    statistics: DiceStatistics | None = None


_IMAGES: Final = TypeAdapter(list[DiceImage])


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault and where it is. ``fatal`` False is a warning: training can go on."""

    file: str
    field: str
    message: str
    image: str | None = None
    fatal: bool = True

    def as_dict(self) -> dict[str, str | None]:
        return {"file": self.file, "image": self.image, "field": self.field, "message": self.message}


def parse_document(file: str, content: object) -> tuple[DiceDocument | None, list[Problem]]:
    """Check shapes and types of a decoded annotation file. The document is None when there are problems.

    Images are looked at in batches, until there are PROBLEMS_MAX problems: a file may be nothing but millions of them.
    """
    images = content.get("images") if isinstance(content, dict) else None
    head = {**content, "images": []} if isinstance(content, dict) and isinstance(images, list) else content
    images = images if isinstance(images, list) else []
    document, parsed, found = None, list[DiceImage](), list[Problem]()
    try:
        document = DiceDocument.model_validate(head)
    except ValidationError as error:
        found += [Problem(file, _field_of(fault["loc"]), fault["msg"]) for fault in _faults(error)]
    for start in range(0, len(images), IMAGES_PER_BATCH):
        if len(found) >= PROBLEMS_MAX:
            found.append(
                Problem(file, "images", f"and further problems; those from image number {start} on were not read")
            )
            break
        batch = images[start : start + IMAGES_PER_BATCH]
        try:
            parsed += _IMAGES.validate_python(batch)
        except ValidationError as error:
            for fault in _faults(error):
                index, *field = fault["loc"]
                place = _field_of(("images", start + int(index), *field))
                found.append(Problem(file, place, fault["msg"], _label_of(batch[int(index)])))
    if document is None or found:
        return None, found
    return document.model_copy(update={"images": parsed}), []


def _faults(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)[:PROBLEMS_MAX]


def _field_of(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _label_of(image: object) -> str | None:
    """An image that is not well-formed, by what it says of itself."""
    return image_label(image.get("id"), image.get("file_name")) if isinstance(image, dict) else None


def image_label(image_id: object, file_name: object) -> str:
    return f"id {image_id}" + (f" ({file_name})" if isinstance(file_name, str) else "")


def unsafe_name(name: str) -> str | None:
    """Why a file name must not be used, or None. A safe one stays inside the folder on every system."""
    if "\\" in name or "\x00" in name or any(ord(character) < 32 for character in name):
        return "contains a backslash or a control character"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "is absolute; it must be relative to the images folder"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "leaves the images folder or has an empty part"
    if any(len(part.encode()) > NAME_PART_BYTES_MAX for part in name.split("/")):
        return f"has a part of more than {NAME_PART_BYTES_MAX} bytes"
    return None


def image_paths(image: DiceImage) -> list[str]:
    """Where a picture may lie, best guess first: ``images/<file_name>``, then ``images/<split>/<file_name>``."""
    direct = str(PurePosixPath(IMAGES_FOLDER) / image.file_name)
    if not image.split:
        return [direct]
    return [direct, str(PurePosixPath(IMAGES_FOLDER) / image.split / image.file_name)]


def problems(file: str, document: DiceDocument) -> list[Problem]:
    """What a well-formed document gets wrong about itself, at most PROBLEMS_MAX of them, fatal ones first.

    The rest are counted, up to PROBLEMS_COUNTED_MAX.
    """
    found: dict[bool, list[Problem]] = {True: [], False: []}
    counts = {True: 0, False: 0}
    for problem in islice(_all_problems(file, document), PROBLEMS_COUNTED_MAX):
        counts[problem.fatal] += 1
        if len(found[problem.fatal]) < PROBLEMS_MAX:
            found[problem.fatal].append(problem)
    shown = [*found[True], *found[False]][:PROBLEMS_MAX]
    if rest := sum(counts.values()) - len(shown):
        more = Problem(file, "", f"and {rest} further problems", fatal=counts[True] > PROBLEMS_MAX)
        return [*shown, more]
    return shown


def _all_problems(file: str, document: DiceDocument) -> Iterator[Problem]:
    class_ids = Counter(entry.id for entry in document.classes)
    for class_id, count in class_ids.items():
        if count > 1:
            yield Problem(file, "classes.id", f"class id {class_id} stands {count} times")
    for name, count in Counter(entry.name for entry in document.classes).items():
        if count > 1:
            yield Problem(file, "classes.name", f"class name {name!r} stands {count} times")
    if not document.classes:
        yield Problem(file, "classes", "no class is defined")
    if not document.images:
        yield Problem(file, "images", "no image is listed")
    for image_id, count in Counter(image.id for image in document.images).items():
        if count > 1:
            yield Problem(file, "images.id", f"image id {image_id} stands {count} times", image_label(image_id, None))
    places = Counter((image.split, image.file_name) for image in document.images)
    for (_, name), count in places.items():
        if count > 1:
            yield Problem(file, "images.file_name", f"{name!r} is listed {count} times in one split", name)
    annotation_ids: Counter[int] = Counter()
    names = {entry.id: entry.name for entry in document.classes}
    keypoint_names = {entry.id: entry.keypoints for entry in document.classes if entry.keypoints}
    for image in document.images:
        yield from _image_problems(file, document.task_type, image, names)
        if document.task_type is TaskType.POSE:
            yield from _pose_problems(file, image, keypoint_names)
        annotation_ids.update(annotation.id for annotation in image.annotations)
    for annotation_id, count in annotation_ids.items():
        if count > 1:
            yield Problem(file, "annotations.id", f"annotation id {annotation_id} stands {count} times")
    yield from _statistics_warnings(file, document)


def _image_problems(file: str, task: TaskType, image: DiceImage, names: dict[int, str]) -> Iterator[Problem]:
    label = image_label(image.id, image.file_name)
    if reason := unsafe_name(image.file_name):
        yield Problem(file, "images.file_name", f"file name {image.file_name[:200]!r} {reason}", label)
    if image.split is not None and image.split not in SPLITS:
        yield Problem(file, "images.split", f"split {image.split[:40]!r} is none of {', '.join(SPLITS)}", label)
    if task is TaskType.CLASSIFICATION and len({entry.class_id for entry in image.annotations}) > 1:
        yield Problem(file, "annotations", "a picture has one class; this one has several", label)
    for annotation in image.annotations:
        where = f"annotation {annotation.id}"
        if annotation.class_id not in names:
            yield Problem(
                file, "annotations.class_id", f"{where}: class id {annotation.class_id} is not defined", label
            )
        elif annotation.class_name is not None and annotation.class_name != names[annotation.class_id]:
            message = f"{where}: class name {annotation.class_name!r} is not that of class id {annotation.class_id}"
            yield Problem(file, "annotations.class_name", message, label, fatal=False)
        if annotation.image_id is not None and annotation.image_id != image.id:
            message = f"{where}: image_id {annotation.image_id} but it stands under image {image.id}"
            yield Problem(file, "annotations.image_id", message, label)
        yield from _geometry_problems(file, task, image, annotation, label)


def _geometry_problems(
    file: str, task: TaskType, image: DiceImage, annotation: DiceAnnotation, label: str
) -> Iterator[Problem]:
    where = f"annotation {annotation.id}"
    if annotation.bbox is None:
        if task is TaskType.DETECTION:
            yield Problem(file, "annotations.bbox", f"{where}: a detection needs a bbox", label)
    else:
        if annotation.bbox_format not in (None, "xywh"):
            message = f"{where}: bbox_format {annotation.bbox_format[:40]!r} is not supported, only 'xywh' is"
            yield Problem(file, "annotations.bbox_format", message, label)
        x, y, width, height = annotation.bbox
        edge = BBOX_TOLERANCE_PIXELS
        if width <= 0 or height <= 0:
            yield Problem(file, "annotations.bbox", f"{where}: bbox {annotation.bbox} has no positive size", label)
        elif x < -edge or y < -edge or x + width > image.width + edge or y + height > image.height + edge:
            message = f"{where}: bbox {annotation.bbox} lies outside the image of {image.width} x {image.height}"
            yield Problem(file, "annotations.bbox", message, label)
        elif (
            annotation.area is not None
            and task is TaskType.DETECTION
            and not math.isclose(annotation.area, width * height, rel_tol=AREA_TOLERANCE, abs_tol=1.0)
        ):
            message = f"{where}: area {annotation.area} is not width x height = {width * height:.2f}"
            yield Problem(file, "annotations.area", message, label, fatal=False)
    if task is TaskType.SEGMENTATION and annotation.segmentation is None:
        yield Problem(file, "annotations.segmentation", f"{where}: a segmentation needs polygons or run lengths", label)
    if annotation.segmentation is not None and (fault := _segmentation_fault(annotation.segmentation, image)):
        yield Problem(file, "annotations.segmentation", f"{where}: {fault}", label)


def _segmentation_fault(segmentation: list[list[float]] | dict[str, Any], image: DiceImage) -> str | None:
    if isinstance(segmentation, dict):
        try:
            run_lengths(segmentation, image.width, image.height)
        except ValueError as error:
            return f"run lengths: {error}"
        return None
    if not segmentation:
        return "there is no polygon"
    edge = BBOX_TOLERANCE_PIXELS
    for polygon in segmentation:
        if len(polygon) < 6 or len(polygon) % 2:
            return f"a polygon has at least three points, x and y each; this one has {len(polygon)} numbers"
        if min(polygon) < -edge or max(polygon[::2]) > image.width + edge or max(polygon[1::2]) > image.height + edge:
            return f"a polygon lies outside the image of {image.width} x {image.height}"
    return None


def _pose_problems(file: str, image: DiceImage, keypoint_names: dict[int, list[str]]) -> Iterator[Problem]:
    """Keypoints that do not fit, or lie outside the picture: those are taken as not visible."""
    label = image_label(image.id, image.file_name)
    for annotation in image.annotations:
        where, points = f"annotation {annotation.id}", annotation.keypoints
        if not points or len(points) % 3:
            yield Problem(file, "annotations.keypoints", f"{where}: keypoints come as x, y, visibility", label)
            continue
        names = keypoint_names.get(annotation.class_id)
        if names is not None and len(names) * 3 != len(points):
            message = f"{where}: {len(points) // 3} keypoints, its class names {len(names)}"
            yield Problem(file, "annotations.keypoints", message, label)
        if any(visibility not in (0, 1, 2) for visibility in points[2::3]):
            yield Problem(file, "annotations.keypoints", f"{where}: visibility is 0, 1 or 2", label)
        if any(
            visibility and not (0 <= x <= image.width and 0 <= y <= image.height)
            for x, y, visibility in zip(points[::3], points[1::3], points[2::3], strict=True)
        ):
            message = f"{where}: a keypoint lies outside the image of {image.width} x {image.height}"
            yield Problem(file, "annotations.keypoints", message, label, fatal=False)


def _statistics_warnings(file: str, document: DiceDocument) -> Iterator[Problem]:
    said = document.statistics
    if said is None:
        return
    images = len(document.images)
    annotations = sum(len(image.annotations) for image in document.images)
    if said.total_images not in (None, images):
        message = f"says {said.total_images} images, {images} are listed"
        yield Problem(file, "statistics.total_images", message, fatal=False)
    if said.total_annotations not in (None, annotations):
        message = f"says {said.total_annotations} annotations, {annotations} are listed"
        yield Problem(file, "statistics.total_annotations", message, fatal=False)
    known = {entry.name for entry in document.classes}
    for name in said.class_distribution:
        if name not in known:
            message = f"counts class {name!r}, which is not defined"
            yield Problem(file, "statistics.class_distribution", message, fatal=False)
