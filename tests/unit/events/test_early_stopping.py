from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.early_stopping import OFF, EarlyStopping, early_stopping_of, read_settings
from events.types.vocabulary import JsonObject


def test_the_defaults_are_a_patience_of_ten_epochs_on_the_validation_loss() -> None:
    expected = {"enabled": True, "metric": "val_loss", "mode": "min", "patience": 10, "min_delta": 0.0}
    assert EarlyStopping().model_dump() == {**expected, "warmup_epochs": 0, "target": None}
    assert EarlyStopping.model_validate({"metric": None, "patience": None}) == EarlyStopping()


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("mAP50", "max"), ("metrics/mAP50(B)", "max"), ("train/loss", "min"), ("val/box_loss", "min"), ("error", "min")],
)
def test_the_name_says_what_is_better_unless_the_mode_does(metric: str, mode: str) -> None:
    assert EarlyStopping(metric=metric).mode == mode
    assert EarlyStopping(metric=metric, mode="max").mode == "max"


def test_whoever_names_a_target_only_gets_no_patience() -> None:
    assert EarlyStopping(metric="mAP50", target=0.9).patience is None
    assert EarlyStopping(metric="mAP50", target=0.9, patience=3).patience == 3


def test_a_key_that_makes_no_sense_is_left_out_with_the_reason() -> None:
    settings, ignored = read_settings({"metric": "mAP50", "patience": "5", "mode": "up", "colour": 1})
    assert settings == EarlyStopping(metric="mAP50")
    assert [reason.partition(":")[0] for reason in ignored] == [
        "mode is left out",
        "patience is left out",
        "colour is left out",
    ]


def test_nobody_is_stopped_who_may_not_have_wanted_it() -> None:
    assert read_settings(None) == (OFF, ())
    settings, ignored = read_settings({"enabled": "no", "patience": 1})
    assert not settings.enabled and len(ignored) == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(list(EarlyStopping.model_fields)) | st.text(max_size=5)


@given(st.dictionaries(keys, values, max_size=8))
def test_whatever_stands_in_the_log_can_be_read(given_settings: JsonObject) -> None:
    settings, ignored = read_settings(given_settings)
    left_out = {reason.partition(" is left out")[0] for reason in ignored}
    for key, value in given_settings.items():
        if key not in left_out and key in EarlyStopping.model_fields and value is not None and settings != OFF:
            assert getattr(settings, key) == value or value != value


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"early_stopping": "on"}, None),
        ({"early_stopping": {"patience": 3}}, {"patience": 3}),
        (
            {"early_stopping": {"patience": 3}, "primary_metric": "accuracy", "primary_metric_mode": "max"},
            {"metric": "accuracy", "mode": "max", "patience": 3},
        ),
        (
            {"early_stopping": {"metric": None, "mode": "min"}, "primary_metric": "x", "primary_metric_mode": 7},
            {"metric": "x", "mode": "min"},
        ),
        (
            {"early_stopping": {"metric": "val_loss"}, "primary_metric": "x", "primary_metric_mode": "max"},
            {"metric": "val_loss"},
        ),
    ],
)
def test_the_jobs_primary_metric_is_watched_where_no_other_is_named(
    config: JsonObject, expected: dict[str, Any] | None
) -> None:
    assert early_stopping_of(config) == expected
