from __future__ import annotations

from dataclasses import replace
from typing import Any

from events.envelope import Event, Position
from events.types.metrics import MetricsReported
from projections.core.epochs import WHOLE_EPOCH, epoch_values
from tests.builders import event, metrics_reported
from training_sdk.wire import METRICS


def at(offset: int, data: MetricsReported, attempt: int = 1) -> Event[Any]:
    return replace(event(data, attempt=attempt), position=Position(METRICS, 0, offset))


def values(*events: Event[Any]) -> dict[tuple[str, int], float]:
    return {(row["name"], row["epoch"]): row["value"] for row in epoch_values(events)}


def test_the_report_of_a_whole_epoch_counts_before_its_steps_and_the_last_step_before_earlier_ones() -> None:
    steps = metrics_reported({"mAP50": [0.1, 0.2]}, phase="val", first_step=10)
    whole = metrics_reported({"mAP50": [0.5]}, phase="val", first_step=None)
    assert values(at(1, steps)) == {("val/mAP50", 1): 0.2}
    assert values(at(1, whole), at(2, steps)) == {("val/mAP50", 1): 0.5}
    assert epoch_values([at(1, whole)])[0]["step"] == WHOLE_EPOCH


def test_the_newest_attempt_counts_and_within_it_the_last_report() -> None:
    def report(value: float) -> MetricsReported:
        return metrics_reported({"mAP50": [value]}, phase="val", first_step=None)

    assert values(at(5, report(0.9), attempt=1), at(3, report(0.4), attempt=2)) == {("val/mAP50", 1): 0.4}
    assert values(at(1, report(0.9)), at(2, report(0.3))) == {("val/mAP50", 1): 0.3}


def test_steps_of_training_are_left_out_and_gaps_are_no_values() -> None:
    assert values(at(1, metrics_reported({"loss": [1.0, 2.0]}))) == {}
    of_epoch = metrics_reported({"loss": [1.0], "lr": [None]}, first_step=None, epoch=4)
    assert values(at(1, of_epoch)) == {("train/loss", 4): 1.0}
