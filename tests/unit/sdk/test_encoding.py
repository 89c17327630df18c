from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training_sdk import encoding
from training_sdk.delivery.packer import pack
from training_sdk.encoding import Tensors, metrics_call


def values_of(metrics: Any, tensors: Tensors | None = None) -> tuple[Any, list[str]]:
    """What a call's metrics are after ring and packer, and the complaints."""
    kept = tensors if tensors is not None else Tensors()
    packed = pack([orjson.loads(metrics_call(1, "train", metrics, 0, kept))], kept.read)
    if not packed.drafts:
        return {}, packed.problems
    return {name: column[0] for name, column in orjson.loads(packed.drafts[0].data)["values"].items()}, packed.problems


def test_non_finite_values_travel_as_words() -> None:
    values, problems = values_of({"a": math.nan, "b": math.inf, "c": -math.inf, "d": np.float64("nan"), "e": 1.5})
    assert values == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": "NaN", "e": 1.5}
    assert problems == []


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.float16(0.5), 0.5),
        (np.array(0.25), 0.25),
        (Decimal("0.75"), 0.75),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([2], dtype=torch.int64), 2),
        (torch.nn.Parameter(torch.tensor(0.125)), 0.125),
        (np.float32("inf"), "Infinity"),
        (torch.tensor(float("nan")), "NaN"),
        (2**70, float(2**70)),
    ],
)
def test_numbers_of_other_libraries_are_numbers(value: Any, number: Any) -> None:
    values, problems = values_of({"m": value, "n": 1})
    assert values == {"m": number, "n": 1}
    assert problems == []


class DeviceTensor:
    """A tensor on a device: reading it is what the caller's thread must not do."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.device = type("Device", (), {"type": "xpu"})()
        self.reads = 0
        self.copies: list[DeviceTensor] = []

    def detach(self) -> DeviceTensor:
        return self

    def clone(self) -> DeviceTensor:
        self.copies.append(DeviceTensor(self.value))
        return self.copies[-1]

    def item(self) -> float:
        self.reads += 1
        return self.value

    def __float__(self) -> float:
        return self.item()


def test_a_tensor_on_a_device_is_copied_at_the_call_and_read_later() -> None:
    tensors, tensor = Tensors(), DeviceTensor(0.5)
    payload = metrics_call(1, "train", {"loss": tensor}, 0, tensors)
    tensor.value = 99.0  # training writes into the same buffer
    assert tensor.reads == 0 and tensor.copies[0].reads == 0
    packed = pack([orjson.loads(payload)], tensors.read)
    assert orjson.loads(packed.drafts[0].data)["values"] == {"loss": [0.5]}
    assert tensor.reads == 0 and tensor.copies[0].reads == 1


def test_a_device_tensor_whose_process_is_gone_is_named_as_lost() -> None:
    payload = metrics_call(1, "train", {"loss": DeviceTensor(0.5), "lr": 0.1}, 0, Tensors())
    packed = pack([orjson.loads(payload)])
    assert orjson.loads(packed.drafts[0].data)["values"] == {"lr": [0.1]}
    assert "could not be read any more" in packed.problems[0]


def test_a_value_that_is_no_number_is_named_and_the_rest_stays() -> None:
    values, problems = values_of({"good": 1.0, "bad": object(), "tensor": torch.zeros(3), 5: 2.0, "\ud800": 3.0})
    assert values == {"good": 1.0, "5": 2.0, "?": 3.0}
    assert len(problems) == 2


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(epoch=json_like, phase=json_like, metrics=st.dictionaries(st.text(), json_like), step=json_like)
def test_whatever_is_passed_the_events_are_valid(epoch: Any, phase: Any, metrics: Any, step: Any) -> None:
    from events.codec import parse_data

    try:
        payload = metrics_call(epoch, phase, metrics, step, Tensors())
    except TypeError:
        return  # named by the client in one warning
    for draft in pack([orjson.loads(payload)]).drafts:
        parse_data(draft.type, draft.topic, draft.data)


def test_training_results_keep_the_good_fields_and_name_the_bad() -> None:
    problems: list[str] = []
    results = {
        "total_epochs": np.int64(5),
        "best_epoch": "three",
        "best_metrics": {"mAP50": np.float32(0.5), "bad": "x"},
        "training_time_seconds": math.nan,
        "unknown": 1,
    }
    assert encoding.training_results(results, problems.append) == {"total_epochs": 5, "best_metrics": {"mAP50": 0.5}}
    assert len(problems) == 3


def test_a_lifecycle_event_that_would_not_fit_keeps_its_plain_fields() -> None:
    huge = {f"{number:04d}{'n' * 240}": float(number) for number in range(2_000)}
    payload = encoding.event_call("t", "e", {"error_code": "OOM", "details": huge, "more": huge})
    assert len(payload) < encoding.EVENT_BYTES_MAX and orjson.loads(payload)[4] == {"error_code": "OOM"}
