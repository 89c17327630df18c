from __future__ import annotations

import math

from trainers.timm.config import read_config
from trainers.timm.progress import Progress


def best_epochs(primary: str, values: list[float]) -> list[int]:
    config = read_config("resnet50", "classification", {"primary_metric": primary}, {})
    progress = Progress()
    return [
        epoch for epoch, value in enumerate(values, start=1) if progress.note_epoch(epoch, {primary: value}, config)
    ]


def test_only_a_better_epoch_is_the_best() -> None:
    assert best_epochs("accuracy", [0.5, 0.5, 0.4, 0.7]) == [1, 4]


def test_of_a_loss_the_lowest_is_best() -> None:
    assert best_epochs("val_loss", [2.0, 3.0, 1.0]) == [1, 3]


def test_nan_is_never_the_best_and_hides_none() -> None:
    assert best_epochs("val_loss", [math.nan, 3.0, math.nan, 2.0]) == [2, 4]
