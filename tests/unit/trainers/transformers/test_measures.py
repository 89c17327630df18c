"""What the transformers trainer measures, without the library: numbers in, numbers out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trainers.transformers.detections import DETECTIONS_MAX, best_detections, measure
from trainers.transformers.measures import confusion
from trainers.transformers.measures import measure as measure_classes

# Two pictures of 100 x 50: one with a box of each class, one with a box of class 0.
TRUTH: dict[str, Any] = {
    "info": {},
    "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
    "images": [{"id": number, "width": 100, "height": 50} for number in (7, 9)],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 0, "bbox": [10, 10, 20, 10], "area": 200, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [50, 10, 40, 30], "area": 1200, "iscrowd": 0},
        {"id": 3, "image_id": 9, "category_id": 0, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0},
    ],
}
RIGHT: dict[int, list[tuple[float, ...]]] = {
    7: [(0.9, 0, 0.1, 0.2, 0.3, 0.4), (0.8, 1, 0.5, 0.2, 0.9, 0.8)],
    9: [(0.7, 0, 0.0, 0.0, 0.5, 1.0)],
}


def rows(found: list[list[tuple[float, ...]]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    table = np.zeros((len(found), DETECTIONS_MAX, 6), np.float32)
    for index, picture in enumerate(found):
        for number, row in enumerate(picture):
            table[index, number] = row
    return table


def test_a_perfect_detector_has_ones() -> None:
    found = measure(TRUTH, [7, 9], rows([RIGHT[7], RIGHT[9]]))
    assert found == pytest.approx({"mAP50-95": 1, "mAP50": 1, "precision": 1, "recall": 1}, abs=1e-6)


def test_precision_and_recall_are_those_of_the_best_f1() -> None:
    # A wrong one between the right ones: without the last right one F1 is 2 * 1 * 2/3 / (1 + 2/3) = 0.8, with it
    # and the wrong one 2 * 3/4 * 1 / (3/4 + 1) = 0.857.
    wrong = (0.75, 1, 0.0, 0.0, 0.1, 0.1)
    found = measure(TRUTH, [7, 9], rows([[*RIGHT[7], wrong], RIGHT[9]]))
    assert (found["precision"], found["recall"]) == (0.75, 1.0)


def test_a_picture_that_came_twice_counts_once() -> None:
    # Processes that share a data set fill the last batch up with pictures that were there before.
    found = measure(TRUTH, [7, 9, 7], rows([RIGHT[7], RIGHT[9], [(0.99, 0, 0.9, 0.9, 1, 1)]]))
    assert found["precision"] == 1


@pytest.mark.parametrize("found", [[[], []], [[(0.9, 0, 0.8, 0.8, 0.9, 0.9)], []]], ids=["nothing", "all wrong"])
def test_a_detector_that_finds_nothing_has_zeros(found: list[list[tuple[float, ...]]]) -> None:
    assert measure(TRUTH, [7, 9], rows(found)) == dict.fromkeys(("mAP50-95", "mAP50", "precision", "recall"), 0.0)


def test_pictures_without_any_box_are_no_division_by_zero() -> None:
    empty = {**TRUTH, "annotations": []}
    assert measure(empty, [7], rows([RIGHT[7]]))["mAP50"] == 0


def test_the_best_detections_come_first_in_a_table_of_one_shape() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.4, 0.4]]])
    # Softmax: two classes and "no object", which is the likeliest of the first query.
    table = best_detections(torch.tensor([[[0.0, 1.0, 5.0], [3.0, 0.0, 0.0]]]), boxes, sigmoid=False)
    assert table.shape == (1, DETECTIONS_MAX, 6)
    assert table[0, :, 1].tolist()[:2] == [0, 1]
    assert table[0, 0, 2:].tolist() == pytest.approx([0, 0, 0.3, 0.3]), "inside the picture"
    assert table[0, 1, 2:].tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7])
    assert table[0, 2:].abs().sum() == 0
    # Sigmoid: no such class, and one box may be of both.
    table = best_detections(torch.tensor([[[0.0, 1.0], [3.0, -1.0]]]), boxes, sigmoid=True)
    assert table[0, :4, 1].tolist() == [0, 1, 0, 1]
    assert (table[0, :4, 0] > 0).all() and table[0, 4:].abs().sum() == 0


def test_a_classifiers_measures_are_of_all_classes_that_occur() -> None:
    scores = np.array([[9, 1, 0, 0], [8, 1, 0, 0], [1, 9, 0, 0], [9, 1, 0, 0]], float)
    labels = np.array([0, 0, 1, 1])
    assert confusion(scores, labels, 4).tolist() == [[2, 0, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]
    found = measure_classes(scores, labels)
    assert (found["accuracy"], found["accuracy_top5"]) == (0.75, 1.0)
    assert found["precision"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["recall"] == pytest.approx((1 + 1 / 2) / 2)


def test_the_right_class_may_be_among_the_first_five() -> None:
    scores = np.arange(8, dtype=float)[None].repeat(2, 0)
    assert measure_classes(scores, np.array([3, 2]))["accuracy_top5"] == 0.5
