"""A small real data set in DICE format: scenes of handwritten digits that are bundled with scikit-learn.

Two to four digits a scene, each scaled to 32-63 px, on a dark noisy canvas of 160 px; boxes are tight around the ink.
The same seed gives the same bytes. File layout and field names: section 3.2 of the training pipeline design.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
import shutil
import uuid
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits

CANVAS_PIXELS: Final = 160
DIGIT_PIXELS: Final = (32, 64)
"""A digit's side is drawn from this half-open range."""
DIGITS_A_SCENE: Final = (2, 3, 4)
MARGIN_PIXELS: Final = 2
"""Least distance between two boxes."""
INK_THRESHOLD: Final = 64
"""Of 255: fainter pixels are not part of the digit, neither drawn nor inside its box."""
PLACES_TRIED_MAX: Final = 200

CREATED_AT: Final = "2026-11-24T00:00:00+00:00"
"""Of the content, not of the copy: a time of writing would change the bytes at every call."""
NAMESPACE: Final = uuid.UUID("6f0f6a8e-5b0e-4a39-9d55-0a4d7f9a3a11")
CLASSIFICATION_CLASSES: Final = {2: "two_digits", 3: "three_digits", 4: "four_digits"}

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PlacedDigit:
    """A digit of a scene: its class and its tight box in pixels from the upper left corner."""

    digit: int
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Scene:
    """``pixels`` is height x width x 3, RGB."""

    pixels: Pixels
    digits: tuple[PlacedDigit, ...]


@dataclass(frozen=True, slots=True)
class DigitsDataset:
    """What ``make_dataset`` wrote. ``content_hash`` (SHA-256, hex) covers every file's name and bytes."""

    folder: Path
    name: str
    dataset_id: str
    content_hash: str
    files: int
    bytes: int
    splits: dict[str, int]


def make_dataset(
    folder: Path, *, name: str = "handwritten-digits", train: int = 160, val: int = 40, test: int = 20, seed: int = 0
) -> DigitsDataset:
    """Write the data set into ``folder``, replacing what an earlier call left there.

    Digits come from disjoint parts of scikit-learn's 1,797 per split, so nothing of val or test was seen in training.
    Raises ValueError when ``folder`` holds something that is not such a data set.
    """
    _clear(folder)
    splits = {"train": train, "val": val, "test": test}
    sources = _sources(seed)
    dataset_id = str(uuid.uuid5(NAMESPACE, f"{name}/{seed}/{train}/{val}/{test}"))
    images: list[dict[str, Any]] = []
    scenes: list[Scene] = []
    for split_number, (split, count) in enumerate(splits.items()):
        random = np.random.default_rng([seed, split_number])
        (folder / "images" / split).mkdir(parents=True)
        deck = _Deck(sources[split], random)
        for index in range(count):
            scene = _scene(deck, random)
            file_name = f"{split}/scene_{index:04}.png"
            buffer = BytesIO()
            Image.fromarray(scene.pixels).save(buffer, format="PNG")
            (folder / "images" / file_name).write_bytes(buffer.getvalue())
            images.append(_image_entry(len(images) + 1, file_name, split))
            scenes.append(scene)
    documents = {
        "annotations_detection.json": _detection(name, dataset_id, images, scenes),
        "annotations_classification.json": _classification(name, dataset_id, images, scenes),
        "metadata.json": _metadata(name, dataset_id, splits, seed),
    }
    for file, document in documents.items():
        (folder / file).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    content_hash, files, size = _content_hash(folder)
    return DigitsDataset(folder, name, dataset_id, content_hash, files, size, splits)


def dataset_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _content_hash(folder: Path) -> tuple[str, int, int]:
    digest, size = hashlib.sha256(), 0
    files = dataset_files(folder)
    for path in files:
        content = path.read_bytes()
        size += len(content)
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest(), len(files), size


def _clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "metadata.json").exists() and not (folder / "images").is_dir():
            raise ValueError(f"{folder} is not empty and holds no data set; give a folder of its own")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _sources(seed: int) -> dict[str, dict[int, Pixels]]:
    """Per split and digit the bundled pictures, count x 8 x 8 with values 0-255."""
    bundle = load_digits()
    pictures = (np.asarray(bundle.images) * (255.0 / 16.0)).astype(np.uint8)
    labels = np.asarray(bundle.target)
    random = np.random.default_rng([seed, 99])
    parts: dict[str, dict[int, Pixels]] = {"train": {}, "val": {}, "test": {}}
    for digit in range(10):
        indices = random.permutation(np.flatnonzero(labels == digit))
        first, second = int(len(indices) * 0.7), int(len(indices) * 0.9)
        parts["train"][digit] = pictures[indices[:first]]
        parts["val"][digit] = pictures[indices[first:second]]
        parts["test"][digit] = pictures[indices[second:]]
    return parts


class _Deck:
    """Deals digits so that all ten classes stay equally frequent."""

    def __init__(self, pictures: dict[int, Pixels], random: np.random.Generator) -> None:
        self._pictures = pictures
        self._random = random
        self._cards: list[int] = []

    def deal(self) -> tuple[int, Pixels]:
        if not self._cards:
            self._cards = [int(digit) for digit in self._random.permutation(10)]
        digit = self._cards.pop()
        choices = self._pictures[digit]
        return digit, choices[int(self._random.integers(len(choices)))]


def _scene(deck: _Deck, random: np.random.Generator) -> Scene:
    count = int(random.choice(DIGITS_A_SCENE))
    dealt = [deck.deal() for _ in range(count)]
    while True:
        inks = [(digit, _ink(picture, int(random.integers(*DIGIT_PIXELS)))) for digit, picture in dealt]
        places = _places([ink.shape[:2] for _, ink in inks], random)
        if places is not None:
            break
    canvas = random.integers(0, 48, size=(CANVAS_PIXELS, CANVAS_PIXELS, 3)).astype(np.float64)
    placed = []
    for (digit, ink), (left, top) in zip(inks, places, strict=True):
        height, width = ink.shape
        colour = random.integers(205, 256, size=3)
        strength = (ink.astype(np.float64) / 255.0)[:, :, None]
        part = canvas[top : top + height, left : left + width]
        part[:] = part * (1.0 - strength) + strength * colour
        placed.append(PlacedDigit(digit, left, top, width, height))
    return Scene(canvas.astype(np.uint8), tuple(placed))


def _ink(picture: Pixels, side: int) -> Pixels:
    """The digit at ``side`` x ``side`` px, cut to its ink; pixels below the threshold are 0."""
    large = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
    ink = np.where(large >= INK_THRESHOLD, large, 0).astype(np.uint8)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _places(sizes: list[tuple[int, ...]], random: np.random.Generator) -> list[tuple[int, int]] | None:
    """Left upper corners at which no two boxes touch, None when no room was found."""
    taken: list[tuple[int, int, int, int]] = []
    for height, width in sizes:
        for _ in range(PLACES_TRIED_MAX):
            left = int(random.integers(0, CANVAS_PIXELS - width + 1))
            top = int(random.integers(0, CANVAS_PIXELS - height + 1))
            if all(
                left >= right + MARGIN_PIXELS
                or left + width + MARGIN_PIXELS <= other_left
                or top >= bottom + MARGIN_PIXELS
                or top + height + MARGIN_PIXELS <= other_top
                for other_left, other_top, right, bottom in taken
            ):
                taken.append((left, top, left + width, top + height))
                break
        else:
            return None
    return [(left, top) for left, top, _, _ in taken]


def _image_entry(image_id: int, file_name: str, split: str) -> dict[str, Any]:
    return {
        "id": image_id,
        "file_name": file_name,
        "width": CANVAS_PIXELS,
        "height": CANVAS_PIXELS,
        "depth": 3,
        "split": split,
    }


def _with_annotations(image: dict[str, Any], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    who = {
        "labeled_by": "epochlog-demo@example.com",
        "labeled_at": CREATED_AT,
        "reviewed_by": "epochlog-demo@example.com",
        "reviewed_at": CREATED_AT,
        "source": "epochlog_demo_v1.0",
    }
    return {**image, "annotations": annotations, "metadata": who}


def _detection(name: str, dataset_id: str, images: list[dict[str, Any]], scenes: list[Scene]) -> dict[str, Any]:
    number = 0
    entries = []
    for image, scene in zip(images, scenes, strict=True):
        annotations = []
        for placed in scene.digits:
            number += 1
            annotations.append(
                {
                    "id": number,
                    "image_id": image["id"],
                    "class_id": placed.digit,
                    "class_name": str(placed.digit),
                    "bbox": [float(placed.left), float(placed.top), float(placed.width), float(placed.height)],
                    "bbox_format": "xywh",
                    "area": float(placed.width * placed.height),
                    "iscrowd": 0,
                    "attributes": {},
                }
            )
        entries.append(_with_annotations(image, annotations))
    return _document(name, dataset_id, "object_detection", [str(digit) for digit in range(10)], entries)


def _classification(name: str, dataset_id: str, images: list[dict[str, Any]], scenes: list[Scene]) -> dict[str, Any]:
    """The class of a scene is how many digits it shows."""
    names = list(CLASSIFICATION_CLASSES.values())
    entries = []
    for number, (image, scene) in enumerate(zip(images, scenes, strict=True), start=1):
        class_name = CLASSIFICATION_CLASSES[len(scene.digits)]
        annotation = {
            "id": number,
            "image_id": image["id"],
            "class_id": names.index(class_name),
            "class_name": class_name,
            "attributes": {},
        }
        entries.append(_with_annotations(image, [annotation]))
    return _document(name, dataset_id, "classification", names, entries)


def _document(
    name: str, dataset_id: str, task_type: str, classes: list[str], images: list[dict[str, Any]]
) -> dict[str, Any]:
    """An annotation file, its statistics counted from the images."""
    counted = Counter(annotation["class_name"] for image in images for annotation in image["annotations"])
    total = sum(counted.values())
    return {
        "format_version": "1.0",
        "dataset_id": dataset_id,
        "dataset_name": name,
        "task_type": task_type,
        "created_at": CREATED_AT,
        "last_modified_at": CREATED_AT,
        "version": 1,
        "classes": [
            {"id": number, "name": class_name, "color": _colour(number, len(classes)), "supercategory": "digit"}
            for number, class_name in enumerate(classes)
        ],
        "images": images,
        "statistics": {
            "total_images": len(images),
            "total_annotations": total,
            "avg_annotations_per_image": round(total / len(images), 2) if images else 0.0,
            "class_distribution": {class_name: counted[class_name] for class_name in classes},
            "split_distribution": dict(Counter(image["split"] for image in images)),
        },
    }


def _colour(number: int, count: int) -> str:
    red, green, blue = colorsys.hsv_to_rgb(number / count, 0.82, 0.85)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _metadata(name: str, dataset_id: str, splits: dict[str, int], seed: int) -> dict[str, Any]:
    return {
        "format_version": "1.0",
        "dataset_id": dataset_id,
        "dataset_name": name,
        "description": "Scenes of two to four handwritten digits (scikit-learn's bundled digits) on a noisy canvas",
        "created_at": CREATED_AT,
        "last_modified_at": CREATED_AT,
        "version": 1,
        "task_types": ["object_detection", "classification"],
        "total_images": sum(splits.values()),
        "splits": splits,
        "seed": seed,
        "license": "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits, bundled with scikit-learn)",
    }
