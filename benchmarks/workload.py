"""The workload of every benchmark: epochs of training steps with six metrics each, and eight more at an epoch's end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

TRAIN_NAMES: Final = ("loss", "box_loss", "cls_loss", "dfl_loss", "lr", "grad_norm")
VAL_NAMES: Final = ("loss", "mAP50", "mAP50-95", "precision", "recall", "fitness", "box_loss", "cls_loss")
SERIES: Final = (*(f"train/{name}" for name in TRAIN_NAMES), *(f"val/{name}" for name in VAL_NAMES))


@dataclass(frozen=True, slots=True)
class Workload:
    """``epochs`` x ``steps`` training reports and one validation report an epoch."""

    epochs: int
    steps: int

    @property
    def calls(self) -> int:
        return self.epochs * (self.steps + 1)

    @property
    def points(self) -> int:
        return self.epochs * (self.steps * len(TRAIN_NAMES) + len(VAL_NAMES))


FULL: Final = Workload(epochs=100, steps=500)
"""300,800 points in 14 series, 50,000 of them in each training series."""


def train_metrics(step: int) -> dict[str, float]:
    wave = math.sin(step * 0.01)
    return {name: 1.0 / (1 + step * 0.001) + 0.01 * wave + index for index, name in enumerate(TRAIN_NAMES)}


def val_metrics(epoch: int) -> dict[str, float]:
    return {name: 1.0 - 1.0 / (epoch + 1) + index for index, name in enumerate(VAL_NAMES)}
