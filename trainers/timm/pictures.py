"""Pictures of how well a model does, drawn with Pillow: a confusion matrix, and predictions beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from trainers.timm.data import Loaders
    from trainers.timm.epochs import Validation

SHOWN_MAX: Final = 16
CELL_PIXELS_MAX: Final = 48
MATRIX_PIXELS: Final = 960
NAMED_CLASSES_MAX: Final = 60
"""With more classes there is no room for their names."""
NAME_LENGTH_MAX: Final = 24
LETTER_PIXELS: Final = 7
TILE_PIXELS: Final = 160
TILES_A_ROW: Final = 4
RIGHT, WRONG, INK, PAPER = (0, 110, 60), (190, 30, 30), (40, 40, 40), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Prediction:
    path: Path
    truth: str
    predicted: str
    confidence: float


def chosen(loaders: Loaders, validation: Validation, classes: Sequence[str]) -> list[Prediction]:
    """Some of the pictures that rank 0 validated, evenly over all, so that there are some of every class."""
    indices = list(loaders.val.sampler)
    step = max(1, len(indices) // SHOWN_MAX)
    found = []
    for position in range(0, len(indices), step)[:SHOWN_MAX]:
        path, truth = loaders.pictures.samples[indices[position]]
        predicted = int(validation.predicted[position])
        confidence = float(validation.confidence[position])
        found.append(Prediction(Path(path), classes[truth], classes[predicted], confidence))
    return found


def short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH_MAX else f"{name[: NAME_LENGTH_MAX - 2]}.."


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Image.Image:
    """Rows: the true class; columns: the predicted one. A cell is darker the greater its share of its row."""
    size = len(classes)
    cell = max(1, min(CELL_PIXELS_MAX, MATRIX_PIXELS // size))
    named = size <= NAMED_CLASSES_MAX
    margin = LETTER_PIXELS * max(len(short(name)) for name in classes) + 16 if named else 24
    picture = Image.new("RGB", (margin + size * cell + 8, margin + size * cell + 8), PAPER)
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(counts):
        total = sum(line) or 1
        for column, count in enumerate(line):
            share = count / total
            left, top = margin + column * cell, margin + row * cell
            shade = (round(255 * (1 - share)), round(255 - 155 * share), 255 - round(60 * share))
            draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=shade)
            if count and cell >= CELL_PIXELS_MAX // 2:
                ink = PAPER if share > 0.5 else INK
                draw.text((left + cell / 2, top + cell / 2), str(count), fill=ink, anchor="mm")
    if named:
        for number, name in enumerate(classes):
            middle = margin + number * cell + cell / 2
            draw.text((margin - 6, middle), short(name), fill=INK, anchor="rm")
            draw_upright(picture, short(name), (round(middle), margin - 6))
    draw.text((4, 4), "true (rows), predicted (columns)", fill=INK)
    return picture


def draw_upright(picture: Image.Image, text: str, bottom: tuple[int, int]) -> None:
    """Text that is read from below, ending above ``bottom``."""
    box = Image.new("RGB", (LETTER_PIXELS * len(text) + 8, 14), PAPER)
    ImageDraw.Draw(box).text((2, 7), text, fill=INK, anchor="lm")
    turned = box.rotate(90, expand=True)
    picture.paste(turned, (bottom[0] - turned.width // 2, max(0, bottom[1] - turned.height)))


def predictions(shown: Sequence[Prediction]) -> Image.Image:
    """A tile a picture: what it is, and what the model says, green where that is right."""
    rows = -(-len(shown) // TILES_A_ROW)
    height = TILE_PIXELS + 36
    sheet = Image.new("RGB", (TILES_A_ROW * (TILE_PIXELS + 8), rows * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, prediction in enumerate(shown):
        left, top = number % TILES_A_ROW * (TILE_PIXELS + 8) + 4, number // TILES_A_ROW * height + 4
        with Image.open(prediction.path) as original:
            tile: Any = original.convert("RGB")
        tile.thumbnail((TILE_PIXELS, TILE_PIXELS))
        if max(tile.size) < TILE_PIXELS:
            factor = TILE_PIXELS / max(tile.size)
            tile = tile.resize((max(1, round(tile.width * factor)), max(1, round(tile.height * factor))))
        sheet.paste(tile, (left, top))
        colour = RIGHT if prediction.truth == prediction.predicted else WRONG
        draw.text((left, top + TILE_PIXELS + 2), f"is {short(prediction.truth)}", fill=INK)
        said = f"{short(prediction.predicted)} ({prediction.confidence:.0%})"
        draw.text((left, top + TILE_PIXELS + 15), said, fill=colour)
    return sheet
