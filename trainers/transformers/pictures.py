"""Pictures for people: the confusion of classes, and what the model says about some pictures of the validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageDraw

from trainers.transformers.data import Collator, Pictures, Scenes
from trainers.transformers.detections import best_detections
from trainers.transformers.measures import Counts

SAMPLES_MAX: Final = 12
COLUMNS: Final = 4
TILE_PIXELS: Final = 192
CAPTION_PIXELS: Final = 16
CELL_PIXELS: Final = 28
MARGIN_PIXELS: Final = 120
CLASSES_MAX: Final = 50
"""A larger table is a picture that nobody reads."""
SCORE_SHOWN: Final = 0.3
RIGHT, WRONG, TRUTH = (40, 160, 60), (200, 40, 40), (60, 120, 220)


def draw_confusion(counts: Counts, classes: Sequence[str], path: Path) -> None:
    """Rows are the true classes, columns the predicted ones; a cell is the darker, the more of its row it holds."""
    size = MARGIN_PIXELS + CELL_PIXELS * len(classes)
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for row, name in enumerate(classes):
        top = MARGIN_PIXELS + row * CELL_PIXELS
        pen.text((4, top + 8), shortened(name), fill="black")
        label = Image.new("RGB", (MARGIN_PIXELS, CELL_PIXELS), "white")
        ImageDraw.Draw(label).text((4, 8), shortened(name), fill="black")
        picture.paste(label.rotate(90, expand=True), (top, 0))
        for column in range(len(classes)):
            left = MARGIN_PIXELS + column * CELL_PIXELS
            light = int(255 * (1 - shares[row, column]))
            pen.rectangle((left, top, left + CELL_PIXELS, top + CELL_PIXELS), (light, light, 255), "lightgrey")
            if counts[row, column]:
                colour = "white" if light < 128 else "black"
                pen.text((left + 4, top + 8), str(counts[row, column]), fill=colour)
    picture.save(path)


def draw_predictions(
    model: Any, collator: Collator, data: Pictures | Scenes, classes: Sequence[str], path: Path, *, sigmoid: bool
) -> None:
    """Some pictures of ``data`` with what the model says, and the truth."""
    items = [data[index] for index in np.linspace(0, len(data) - 1, min(SAMPLES_MAX, len(data)), dtype=int)]
    batch = collator(items)
    model.eval()
    with torch.no_grad():
        outputs = model(pixel_values=batch["pixel_values"].to(model.device))
    if "label" in items[0]:
        shares = outputs.logits.float().softmax(-1).max(-1)
        said = zip(shares.values.tolist(), shares.indices.tolist(), strict=True)
        tiles = [class_tile(item, score, label, classes) for item, (score, label) in zip(items, said, strict=True)]
    else:
        rows = best_detections(outputs.logits, outputs.pred_boxes, sigmoid=sigmoid).cpu().tolist()
        tiles = [scene_tile(item, found, classes) for item, found in zip(items, rows, strict=True)]
    height, width = TILE_PIXELS + CAPTION_PIXELS, TILE_PIXELS
    sheet = Image.new("RGB", (width * min(COLUMNS, len(tiles)), height * -(-len(tiles) // COLUMNS)), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % COLUMNS * width, index // COLUMNS * height))
    sheet.save(path)


def class_tile(item: dict[str, Any], score: float, label: int, classes: Sequence[str]) -> Image.Image:
    tile, pen = blank(item)
    right = label == item["label"]
    caption = f"{classes[label]} {score:.2f}" + ("" if right else f", is {classes[item['label']]}")
    pen.text((2, TILE_PIXELS + 2), shortened(caption, 32), fill=RIGHT if right else WRONG)
    return tile


def scene_tile(item: dict[str, Any], rows: list[list[float]], classes: Sequence[str]) -> Image.Image:
    """The true boxes blue, the found ones red."""
    tile, pen = blank(item)
    for x, y, width, height in item["boxes"].tolist():
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        pen.rectangle([corner * TILE_PIXELS for corner in corners], outline=TRUTH)
    shown = [row for row in rows if row[0] >= SCORE_SHOWN]
    for score, label, *shares in shown:
        left, top, right, bottom = (share * TILE_PIXELS for share in shares)
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=WRONG)
        pen.text((left + 2, top), f"{shortened(classes[int(label)])} {score:.2f}", fill=WRONG)
    pen.text((2, TILE_PIXELS + 2), f"{len(shown)} found, {len(item['boxes'])} there", fill="black")
    return tile


def blank(item: dict[str, Any]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    tile = Image.new("RGB", (TILE_PIXELS, TILE_PIXELS + CAPTION_PIXELS), "white")
    tile.paste(item["picture"].resize((TILE_PIXELS, TILE_PIXELS)), (0, 0))
    return tile, ImageDraw.Draw(tile)


def shortened(text: str, length_max: int = 18) -> str:
    return text if len(text) <= length_max else text[: length_max - 1] + "…"
