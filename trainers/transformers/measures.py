"""How good a classifier is, from its scores."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

TOP: Final = 5
Counts = npt.NDArray[np.int64]


def confusion(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], classes: int) -> Counts:
    """True class x predicted class."""
    counts: Counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, scores.argmax(-1)), 1)
    return counts


def measure(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> dict[str, float]:
    """accuracy, accuracy_top5 (of all classes where there are fewer), and the classes' mean precision, recall and F1.

    A class that is neither there nor predicted counts for nothing; one that is never predicted has precision 0.
    """
    counts = confusion(scores, labels, scores.shape[-1])
    right, predicted, true = np.diag(counts).astype(float), counts.sum(0), counts.sum(1)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(true, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    seen = true + predicted > 0
    top = np.argsort(-scores, axis=-1, kind="stable")[:, :TOP]
    return {
        "accuracy": float(right.sum() / max(len(labels), 1)),
        "accuracy_top5": float((top == labels[:, None]).any(-1).mean()),
        "precision": float(precision[seen].mean()),
        "recall": float(recall[seen].mean()),
        "f1": float(f1[seen].mean()),
    }
