"""Bounding boxes and keypoints, cut at the edges of the picture."""

from __future__ import annotations

from events.types.dice import DiceAnnotation, DiceImage

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""
Keypoint = tuple[float, float, int]
"""x, y, visibility: 0 not there, 1 hidden, 2 seen."""


def clipped(image: DiceImage, box: list[float] | Box) -> Box | None:
    """The part of a box inside the picture; None if there is none."""
    x, y, width, height = box
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(float(image.width), x + width), min(float(image.height), y + height)
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def keypoints_of(image: DiceImage, annotation: DiceAnnotation) -> list[Keypoint]:
    """One outside the picture is not there, and neither has a place."""
    points = annotation.keypoints or []
    found = []
    for x, y, visibility in zip(points[::3], points[1::3], points[2::3], strict=True):
        there = visibility > 0 and 0 <= x <= image.width and 0 <= y <= image.height
        found.append((x, y, int(visibility)) if there else (0.0, 0.0, 0))
    return found


def box_around(image: DiceImage, keypoints: list[Keypoint]) -> Box | None:
    """The box of those that are there, for a pose that came without one."""
    there = [(x, y) for x, y, visibility in keypoints if visibility]
    if not there:
        return None
    left, top = min(x for x, _ in there), min(y for _, y in there)
    right, bottom = max(x for x, _ in there), max(y for _, y in there)
    # A single point has no size; a box has.
    return clipped(image, (left - 0.5, top - 0.5, right - left + 1, bottom - top + 1))
