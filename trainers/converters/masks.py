"""Shapes of objects: run lengths, masks and polygons into each other. In pixels, x to the right, y down."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from events.types.dice import DiceAnnotation, DiceImage
from events.types.rle import run_lengths

Ring = npt.NDArray[np.float64]
"""Corners of a polygon, one (x, y) a row."""
Mask = npt.NDArray[np.uint8]
_PIXEL: Final = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])


def rings_of(image: DiceImage, annotation: DiceAnnotation) -> list[Ring]:
    """The outlines of an object, inside the picture; holes are rings too. Rings without any area are left out."""
    if isinstance(annotation.segmentation, dict):
        rings = outlines(mask_of(annotation.segmentation, image.width, image.height))
    else:
        rings = [np.array(polygon, dtype=float).reshape(-1, 2) for polygon in annotation.segmentation or []]
    inside = [np.clip(ring, 0, (image.width, image.height)) for ring in rings]
    return [ring for ring in inside if area_of(ring) > 0]


def mask_of(segmentation: dict[str, Any], width: int, height: int) -> Mask:
    """1 where the object is, by row and column. Raises ValueError for run lengths that do not fit."""
    runs = run_lengths(segmentation, width, height)
    values = np.arange(len(runs), dtype=np.uint8) % 2
    return np.repeat(values, runs).reshape((height, width), order="F")


def outlines(mask: Mask) -> list[Ring]:
    """Outer and inner outlines, through the middle of the pixels at the edge."""
    import cv2  # in the trainer's environment only

    contours, _ = cv2.findContours(np.ascontiguousarray(mask), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = []
    for contour in contours:
        corners = contour.reshape(-1, 2).astype(float)
        if area_of(corners) > 0:
            rings.append(corners + 0.5)
        else:
            # A line of pixels has no inside: its bounding box has.
            low, high = corners.min(axis=0), corners.max(axis=0)
            rings.append(low + _PIXEL * (high - low + 1))
    return rings


def area_of(ring: Ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def joined(rings: list[Ring]) -> Ring:
    """One ring out of several, for a format that has one line an object.

    Each is reached over the shortest way between corners and left over the same, so the bridges have no area; what is
    filled by the even-odd rule stays the same, holes too.
    """
    whole = rings[0]
    for ring in rings[1:]:
        distances = ((whole[:, None, :] - ring[None, :, :]) ** 2).sum(axis=2)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        turn = np.concatenate([ring[there:], ring[: there + 1]])
        whole = np.concatenate([whole[: here + 1], turn, whole[here:]])
    return whole


def box_of(rings: list[Ring]) -> tuple[float, float, float, float]:
    """x, y, width, height around all of them."""
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)


def mask_box(mask: Mask) -> tuple[float, float, float, float] | None:
    """x, y, width, height around all of its pixels; None for an empty one."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    left, top = float(columns[0]), float(rows[0])
    return left, top, float(columns[-1] + 1) - left, float(rows[-1] + 1) - top
