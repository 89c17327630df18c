from __future__ import annotations

import pytest

from projections.early_stop.names import is_loss, preference

SAME, OTHER_NAME = False, True


@pytest.mark.parametrize(
    ("watched", "phase", "key", "expected"),
    [
        ("mAP50", "val", "mAP50", (0, SAME)),
        ("mAP50", "val", "metrics/mAP50(B)", (0, OTHER_NAME)),
        ("mAP50", "val", "mAP50-95", None),
        ("val/mAP50", "val", "metrics/mAP50(B)", (0, OTHER_NAME)),
        ("val/mAP50", "train", "mAP50", None),
        ("metrics/mAP50(B)", "val", "mAP50", (0, OTHER_NAME)),
        ("metrics/mAP50(B)", "val", "metrics/mAP50(B)", (0, SAME)),
        ("mAP50", "val", "metrics/mAP50(M)", None),
        ("metrics/mAP50(M)", "val", "metrics/mAP50(M)", (0, SAME)),
        ("accuracy", "val", "metrics/accuracy_top1", (0, OTHER_NAME)),
        ("accuracy", "train", "accuracy", (2, SAME)),
        ("accuracy", "test", "accuracy", (1, SAME)),
        ("accuracy", "mine", "accuracy", (3, SAME)),
        ("val_loss", "val", "loss", (0, OTHER_NAME)),
        ("val/loss", "val", "val_loss", (0, OTHER_NAME)),
        ("val_loss", "train", "loss", None),
        ("loss", "train", "loss", (2, SAME)),
        ("loss", "val", "loss", (0, SAME)),
        ("loss", "val", "val_loss", None),
        ("val/box_loss", "val", "val/box_loss", (0, SAME)),
        ("train/", "train", "train/", (2, SAME)),
    ],
)
def test_a_metric_is_found_under_each_of_its_names(
    watched: str, phase: str, key: str, expected: tuple[int, bool] | None
) -> None:
    assert preference(watched, phase, key) == expected


def test_losses_are_known_by_their_names() -> None:
    assert all(map(is_loss, ("loss", "val_loss", "box_loss", "train/box_loss", "val/loss")))
    assert not any(map(is_loss, ("lr", "mAP50", "lossless", "loss/scale", "glossary")))
