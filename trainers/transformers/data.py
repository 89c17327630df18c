"""Pictures and what they show, as the library wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.utils.data import Dataset

from trainers.converters.dice_to_image_folder import ImageFolders

FLIPPED_SHARE: Final = 0.5
COLOUR_CHANGE_MAX: Final = 0.2

Item = dict[str, Any]


def opened(path: Path) -> Image.Image:
    """Three colours whatever the file has: grey, a palette, transparency."""
    with Image.open(path) as picture:
        return picture.convert("RGB")


class Augmentation:
    """Random colours and flips. A picture's chance follows from seed, epoch and its number alone.

    Not from a generator that is drawn from: loading processes and batches that are loaded ahead would change what a
    run that goes on in the middle of an epoch draws.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.epoch = 0

    def __call__(self, picture: Image.Image, number: int) -> tuple[Image.Image, bool]:
        """The changed picture, and whether it was flipped."""
        chance = Random(f"{self._seed}/{self.epoch}/{number}")
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = kind(picture).enhance(chance.uniform(1 - COLOUR_CHANGE_MAX, 1 + COLOUR_CHANGE_MAX))
        flipped = chance.random() < FLIPPED_SHARE
        return (ImageOps.mirror(picture) if flipped else picture), flipped


class Pictures(Dataset[Item]):
    """Pictures of one class each."""

    def __init__(self, samples: Sequence[tuple[Path, int]], augmentation: Augmentation | None = None) -> None:
        self.samples = samples
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self.samples)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that follows, from 0: its random changes are others than those of the epoch before."""
        if self._augmentation is not None:
            self._augmentation.epoch = epoch

    def __getitem__(self, index: int) -> Item:
        path, label = self.samples[index]
        picture = opened(path)
        if self._augmentation is not None:
            picture, _ = self._augmentation(picture, index)
        return {"picture": picture, "label": label}


class Scenes(Dataset[Item]):
    """Pictures with boxes; a picture may have none."""

    def __init__(self, document: dict[str, Any], folder: Path, augmentation: Augmentation | None = None) -> None:
        """``document`` is COCO's, its files lie in ``folder``. A crowd is nothing to learn one box from."""
        self.images: list[dict[str, Any]] = document["images"]
        self.folder = folder
        self._boxes: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in self.images}
        for annotation in document["annotations"]:
            if not annotation["iscrowd"]:
                self._boxes[annotation["image_id"]].append(annotation)
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self.images)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that follows, from 0: its random changes are others than those of the epoch before."""
        if self._augmentation is not None:
            self._augmentation.epoch = epoch

    def __getitem__(self, index: int) -> Item:
        image = self.images[index]
        picture = opened(self.folder / image["file_name"])
        found = self._boxes[image["id"]]
        boxes = torch.tensor([annotation["bbox"] for annotation in found], dtype=torch.float32).reshape(-1, 4)
        boxes = as_shares(boxes, picture.width, picture.height)
        if self._augmentation is not None:
            picture, flipped = self._augmentation(picture, index)
            if flipped:
                boxes[:, 0] = 1 - boxes[:, 0]
        labels = torch.tensor([annotation["category_id"] for annotation in found], dtype=torch.int64)
        return {"picture": picture, "image_id": image["id"], "boxes": boxes, "class_labels": labels}


def as_shares(boxes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """COCO's left, top, width, height in pixels -> centre x, centre y, width, height as shares, inside the picture."""
    corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    corners = (corners / torch.tensor([width, height, width, height])).clamp(0, 1)
    return torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)


class Collator:
    """A batch from its items: pixels by the image processor, labels as the model's task wants them."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, items: list[Item]) -> dict[str, Any]:
        pixels = self.processor(images=[item["picture"] for item in items], return_tensors="pt")["pixel_values"]
        if "label" in items[0]:
            return {"pixel_values": pixels, "labels": torch.tensor([item["label"] for item in items])}
        labels = [
            {
                "class_labels": item["class_labels"],
                "boxes": item["boxes"],
                "image_id": torch.tensor([item["image_id"]]),
            }
            for item in items
        ]
        return {"pixel_values": pixels, "labels": labels}


def samples_of(folders: ImageFolders, split: str) -> list[tuple[Path, int]]:
    """The pictures of a split, with the places of their classes."""
    return [
        (path, number)
        for number, name in enumerate(folders.class_folders)
        for path in sorted((folders.folder / split / name).iterdir())
    ]
