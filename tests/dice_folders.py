"""Small data sets in DICE format on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

SIDE = 64
CLASSES = [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}]
Content = dict[str, Any]


def dice(
    folder: Path,
    images: list[Content],
    *,
    task: str = "object_detection",
    file: str = "annotations_detection.json",
    classes: list[Content] | None = None,
) -> Path:
    """Write the annotations and a picture for each image."""
    document = {
        "format_version": "1.0",
        "task_type": task,
        "classes": CLASSES if classes is None else classes,
        "images": [{"width": SIDE, "height": SIDE, "annotations": [], **image} for image in images],
    }
    for image in images:
        path = folder / "images" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (image.get("width", SIDE), image.get("height", SIDE))).save(path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(document))
    return folder


def two(*annotations: Content, **changes: Any) -> list[Content]:
    """An image of train with these annotations, and an empty one of val."""
    entries = [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)]
    return [
        {"id": 1, "file_name": "a.png", "split": "train", "annotations": entries, **changes},
        {"id": 2, "file_name": "b.png", "split": "val"},
    ]
