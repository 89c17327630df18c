from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainers.converters.masks import joined, outlines
from trainers.converters.poses import flipped

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def blobs() -> st.SearchStrategy[Pixels]:
    """Rectangles and holes, some of them one pixel wide."""
    box = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 12), st.integers(1, 12), st.booleans())
    return st.lists(box, min_size=1, max_size=6).map(painted)


def painted(boxes: list[tuple[int, int, int, int, bool]]) -> Pixels:
    mask = np.zeros((32, 32), np.uint8)
    for x, y, width, height, filled in boxes:
        mask[y : y + height, x : x + width] = filled
    return mask


@given(blobs())
def test_a_mask_survives_the_way_to_one_polygon_and_back(mask: Pixels) -> None:
    rings = outlines(mask)
    if not mask.any():
        assert rings == []
        return
    # As Ultralytics fills it: whole numbers, the even-odd rule.
    filled = np.zeros_like(mask)
    cv2.fillPoly(filled, [joined(rings).astype(np.int32)], 1)
    wrong = (filled != mask).sum()
    # Lines of single pixels become a pixel wider, and the bridges between the parts are drawn.
    assert (filled >= mask).all()
    assert wrong <= 8 * len(rings) + 32 * (len(rings) - 1) + 32


def test_a_hole_stays_a_hole() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[4:28, 4:28] = 1
    mask[10:22, 10:22] = 0
    filled = np.zeros_like(mask)
    cv2.fillPoly(filled, [joined(outlines(mask)).astype(np.int32)], 1)
    assert filled[16, 16] == 0 and filled[6, 6] == 1


NAMES = ["nose", "left_eye", "right_eye", "leftEar", "rightEar", "L-hip", "R-hip", "l_knee", "r_knee"]


def test_keypoints_change_places_by_their_names() -> None:
    assert flipped(NAMES) == [0, 2, 1, 4, 3, 6, 5, 8, 7]
    assert flipped(["nose", "tail"]) is None, "without sides nobody knows"
    assert flipped(["left_eye", "right_ear"]) is None, "a side without its other one"
    assert flipped(["left", "left"]) is None


@given(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
def test_a_mirror_of_a_mirror_is_the_picture(names: list[str]) -> None:
    index = flipped(names)
    if index is not None:
        assert [index[place] for place in index] == list(range(len(names)))
