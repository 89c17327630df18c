"""Data sets in DICE format in a store."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from tests.services import World

DETECTION, CLASSIFICATION = "annotations_detection.json", "annotations_classification.json"
Content = dict[str, Any]


def image(number: int, split: str | None = "train") -> Content:
    box = {"id": number, "image_id": number, "class_id": 0, "class_name": "car", "bbox": [2, 2, 10, 8], "area": 80}
    return {
        "id": number,
        "file_name": f"{number}.png",
        "width": 32,
        "height": 24,
        "split": split,
        "annotations": [{**box, "bbox_format": "xywh"}],
    }


def document(task: str, count: int = 4) -> Content:
    return {
        "format_version": "1.0",
        "dataset_id": "550e8400-e29b-41d4-a716-446655440000",
        "task_type": task,
        "version": 3,
        "classes": [{"id": 0, "name": "car"}],
        "images": [image(number, "val" if number == 4 else "train") for number in range(1, count + 1)],
    }


def picture(width: int = 32, height: int = 24) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 199)).save(buffer, "PNG")
    return buffer.getvalue()


def good() -> dict[str, bytes]:
    return {
        "metadata.json": b'{"name": "vehicles"}',
        DETECTION: json.dumps(document("object_detection")).encode(),
        CLASSIFICATION: json.dumps(document("classification")).encode(),
        **{f"images/{number}.png": picture() for number in (1, 2, 3)},
        "images/val/4.png": picture(),
    }


def put(world: World, folder: str, files: dict[str, bytes]) -> str:
    store = world.store()
    for name, content in files.items():
        store.put_object(world.datasets_bucket, f"{folder}/{name}", io.BytesIO(content), len(content))
    return f"s3://{world.datasets_bucket}/{folder}/"
