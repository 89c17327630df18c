"""Every event has a line for people."""

from __future__ import annotations

import math

import pytest

from events.asyncapi import example_of
from events.describing import describe
from events.registry import EVENT_TYPES, EventType
from events.types.vocabulary import Fact


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda event_type: event_type.wire_name)
def test_every_type_says_something_of_its_example_and_of_data_that_say_nothing(event_type: EventType) -> None:
    data: Fact = event_type.model.model_validate(example_of(event_type)["data"])
    said = describe(event_type.wire_name, data.model_dump(mode="json", exclude_none=True))
    assert said and "None" not in said and "\n" not in said
    assert describe(event_type.wire_name, {})


def test_a_decision_names_rule_values_and_epochs() -> None:
    decided = {"rule": "target", "metric": "val/mAP50", "epoch": 9, "value": 0.9, "reason": "0.9 is reached"}
    assert describe("training.stop.decided.v1", decided) == (
        "early stopping: target on val/mAP50 = 0.9 at epoch 9: 0.9 is reached"
    )


def test_a_summary_of_metrics_names_a_few_and_the_steps() -> None:
    data = {"phase": "train", "rows": 100, "names": [f"m{n}" for n in range(8)], "steps": [0, 99], "epochs": [1, 1]}
    assert describe("training.metrics.reported.v1", data) == (
        "100 reports of train: m0, m1, m2, m3, m4 and 3 more, steps 0 to 99"
    )


def test_what_is_not_known_is_named_as_it_is() -> None:
    assert describe("training.unheard.of.v1", {"x": math.nan}) == "training.unheard.of.v1"
