from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from events.config_check import config_problems
from events.config_schema import schema_of, with_platform_keys
from tests.services import ROOT
from trainers.configuration import InvalidConfig
from trainers.timm.config import (
    AdvancedConfig,
    BasicConfig,
    Devices,
    TimmConfig,
    contradictions,
    devices_of,
    models,
    read_config,
)

DESIGNS_TABLE: dict[str, Any] = {
    "drop_rate": 0.0,
    "drop_path_rate": 0.1,
    "mixup_alpha": 0.8,
    "cutmix_alpha": 1.0,
    "label_smoothing": 0.1,
    "aa": "rand-m9-mstd0.5",
    "reprob": 0.25,
    "remode": "pixel",
    "model_ema": True,
    "model_ema_decay": 0.9999,
}


def read(basic: dict[str, Any] | None = None, advanced: dict[str, Any] | None = None) -> TimmConfig:
    return read_config("resnet50", "classification", basic or {}, advanced or {})


def problems_of(basic: dict[str, Any], advanced: dict[str, Any], model: str = "resnet50") -> str:
    with pytest.raises(InvalidConfig) as caught:
        read_config(model, "classification", basic, advanced)
    return str(caught.value)


def test_the_designs_table_is_accepted_and_means_what_it_says() -> None:
    basic = {"imgsz": 224, "epochs": 100, "batch": 16, "lr0": 0.01, "optimizer": "SGD", "augment": True}
    config = read(basic, DESIGNS_TABLE)
    given = config.advanced.model_dump()
    assert {name: given[name] for name in DESIGNS_TABLE} == DESIGNS_TABLE
    assert config.mixes and not read({**basic, "augment": False}, DESIGNS_TABLE).mixes


def test_the_registered_schema_accepts_what_the_trainer_accepts() -> None:
    schema = with_platform_keys(schema_of("resnet50", BasicConfig, AdvancedConfig))
    basic = {"batch_size": 8, "device": "cpu:2", "primary_metric": "val_loss", "early_stopping": {"patience": 3}}
    assert config_problems(schema, basic, {**DESIGNS_TABLE, "scale": [0.5, 1], "opt_betas": [0.9, 0.95]}) == []
    (found,) = config_problems(schema, {"optimizer": "adamw"}, {})
    assert "did you mean AdamW?" in str(found)


def test_every_parameter_has_a_default_and_a_word_of_help() -> None:
    for kind in (BasicConfig, AdvancedConfig):
        for name, field in kind.model_fields.items():
            assert not field.is_required() and field.description, name


def test_every_problem_is_named_at_once() -> None:
    found = problems_of(
        {"imgsz": 8, "epochs": 0, "epoch": 3, "primary_metric": "acuracy"},
        {"mixup_alpah": 1, "remode": "pixels", "scale": [0.9, 0.1], "reprob": 2},
        model="resnet5",
    )
    for words in (
        *("model 'resnet5' is not known; did you mean resnet50?", "config.imgsz", "config.epochs"),
        *("config.epoch: there is no such parameter; did you mean epochs?", "did you mean accuracy?"),
        *("advanced_config.mixup_alpah: there is no such parameter; did you mean mixup_alpha?",),
        *("did you mean pixel?", "advanced_config.reprob: must be at most 1"),
    ):
        assert words in found
    assert "the least, 0.9, is above the most, 0.1" in problems_of({}, {"scale": [0.9, 0.1]})


@pytest.mark.parametrize(
    ("model", "basic", "advanced", "words"),
    [
        ("vit_tiny_patch16_224", {"imgsz": 40}, {}, "vit_tiny_patch16_224 wants a multiple of 16, 40 is none"),
        ("inception_v3", {"imgsz": 64}, {}, "inception_v3 wants at least 75, not 64"),
        ("resnet50", {"batch": 9}, {"cutmix_alpha": 1.0}, "must be even"),
        ("resnet50", {"batch": 6, "device": "cpu:2"}, {"mixup_alpha": 1.0}, "must be even"),
        ("resnet50", {"batch": 9, "device": "0,1"}, {}, "9 cannot be shared by 2 processes"),
        ("resnet50", {"epochs": 5}, {"warmup_epochs": 5}, "nothing is left of 5 epochs"),
        ("resnet50", {"device": "cpu"}, {"amp": True, "amp_dtype": "float16"}, "float16 is for GPUs"),
        ("resnet50", {"device": "gpu7"}, {}, "config.device"),
        ("resnet50", {"primary_metric": "mAP50-95"}, {}, "config.primary_metric: 'mAP50-95' is not one of accuracy"),
    ],
)
def test_values_that_do_not_go_together(
    model: str, basic: dict[str, Any], advanced: dict[str, Any], words: str
) -> None:
    assert words in problems_of(basic, advanced, model)


def test_another_task_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="timm trains classification only"):
        read_config("resnet50", "detection", {}, {})


@pytest.mark.parametrize(
    ("device", "devices"),
    [
        (None, None),
        ("cpu", Devices("cpu", (0,))),
        ("cpu:3", Devices("cpu", (0, 1, 2))),
        ("cuda", Devices("cuda", (0,))),
        ("cuda:1", Devices("cuda", (1,))),
        ("0,2", Devices("cuda", (0, 2))),
        ("1,1", Devices("cuda", (1,))),
    ],
)
def test_devices(device: str | None, devices: Devices | None) -> None:
    assert devices_of(device) == devices


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, ("accuracy", "max")),
        ({"primary_metric": "accuracy_top5"}, ("accuracy_top5", "max")),
        # The platform writes max where nobody said anything: of a loss that would keep the worst epoch.
        ({"primary_metric": "val_loss", "primary_metric_mode": "max"}, ("val_loss", "min")),
        ({"primary_metric": "eval_loss"}, ("eval_loss", "min")),
        ({"primary_metric": "accuracy", "primary_metric_mode": "min"}, ("accuracy", "min")),
    ],
)
def test_which_epoch_is_best(given: dict[str, Any], chosen: tuple[str, str]) -> None:
    config = read(given)
    assert (config.primary_metric, config.primary_mode) == chosen


def test_warm_up_is_a_tenth_of_a_short_run() -> None:
    assert [read({"epochs": epochs}).warmup_epochs for epochs in (3, 20, 300)] == [0, 2, 5]
    assert read({"epochs": 3}, {"warmup_epochs": 1}).warmup_epochs == 1


def test_every_model_takes_the_default_size() -> None:
    for model in models().values():
        assert contradictions(BasicConfig(), AdvancedConfig(), model) == [], model["name"]
        assert model["task_types"] == ["classification"] and model["description"] and model["parameters_millions"] > 0


def test_a_configuration_is_checked_without_loading_torch() -> None:
    script = "import sys, trainers.timm.config; print([name for name in ('torch', 'timm') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
