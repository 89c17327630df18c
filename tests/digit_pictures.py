"""A tiny real data set for classification in DICE format: scikit-learn's handwritten digits, one a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SIDE_PIXELS = 32


def write_digit_pictures(folder: Path, *, classes: int = 4, train: int = 16, val: int = 8) -> Path:
    """``train`` and ``val`` pictures of each of the digits below ``classes``; none is in both."""
    bundle = load_digits()
    names = [f"digit {number}" for number in range(classes)]
    images: list[dict[str, Any]] = []
    for number in range(classes):
        found = np.asarray(bundle.images)[np.asarray(bundle.target) == number]
        for index in range(train + val):
            split = "train" if index < train else "val"
            file_name = f"{split}/{number}-{index:03}.png"
            path = folder / "images" / file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray((found[index] * (255 / 16)).astype(np.uint8))
            picture.resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BICUBIC).save(path)
            image_id = len(images) + 1
            images.append(
                {
                    "id": image_id,
                    "file_name": file_name,
                    "width": SIDE_PIXELS,
                    "height": SIDE_PIXELS,
                    "depth": 1,
                    "split": split,
                    "annotations": [
                        {"id": image_id, "image_id": image_id, "class_id": number, "class_name": names[number]}
                    ],
                }
            )
    document = {
        "format_version": "1.0",
        "dataset_name": "digits",
        "task_type": "classification",
        "classes": [{"id": number, "name": name} for number, name in enumerate(names)],
        "images": images,
    }
    (folder / "annotations_classification.json").write_text(json.dumps(document))
    return folder
