from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from trainers.configuration import InvalidConfig
from trainers.transformers.config import (
    ELSEWHERE,
    MODELS_FILE,
    OURS,
    AdvancedConfig,
    BasicConfig,
    TransformersConfig,
    models,
    read_config,
)

# Section 4.6 of the design, HuggingFace.
SPEC = {
    "gradient_checkpointing": True,
    "fp16": True,
    "gradient_accumulation_steps": 4,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "logging_steps": 100,
    "eval_steps": 500,
    "save_steps": 1000,
}


def read(
    basic: dict[str, Any] | None = None,
    advanced: dict[str, Any] | None = None,
    model: str = "vit-tiny-patch16",
    task_type: str = "classification",
) -> TransformersConfig:
    return read_config(model, task_type, basic or {}, advanced or {})


def test_every_name_of_the_design_is_taken_as_given() -> None:
    config = read({"imgsz": 64, "epochs": 3, "batch": 8, "lr0": 0.001, "optimizer": "AdamW", "augment": False}, SPEC)
    assert {name: getattr(config.advanced, name) for name in SPEC} == SPEC
    assert (config.basic.imgsz, config.basic.epochs, config.basic.batch, config.basic.augment) == (64, 3, 8, False)


def test_every_parameter_has_a_help_text_and_numbers_have_a_range() -> None:
    for kind in (BasicConfig, AdvancedConfig):
        for name, field in kind.model_json_schema()["properties"].items():
            assert field["description"], name
            assert "default" in field, name
            for form in field.get("anyOf", [field]):
                if form.get("type") in ("integer", "number"):
                    assert {"minimum", "exclusiveMinimum"} & set(form), name
                    assert {"maximum", "exclusiveMaximum"} & set(form), name


def test_every_problem_is_named() -> None:
    with pytest.raises(InvalidConfig) as caught:
        read_config(
            "vit-tiny-patch-16", "classification", {"imgsz": 100, "epochs": 0}, {"warmup_ratio": 2, "warmup_ration": 1}
        )
    for words in (
        "'vit-tiny-patch-16' is not known",
        "did you mean vit-tiny-patch16?",
        "config.imgsz: ",
        "multiple of 32",
        "config.epochs",
        "advanced_config.warmup_ratio",
        "advanced_config.warmup_ration: there is no such parameter; did you mean warmup_ratio?",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("learning_rate", "advanced_config.learning_rate: given as config.lr0"),
        ("report_to", "set by the platform and not by a job: report_to"),
        ("logging_nan_inf_filter", "set by the platform and not by a job: logging_nan_inf_filter"),
        ("qqqq", "advanced_config.qqqq: there is no such parameter"),
    ],
)
def test_the_librarys_other_parameters_are_refused_with_a_reason(name: str, words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        read(advanced={name: 1})
    assert not (set(ELSEWHERE) | OURS) & set(AdvancedConfig.model_fields)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"advanced": {"fp16": True, "bf16": True}}, "exclude each other"),
        ({"advanced": {"gradient_checkpointing": True}, "model": "resnet-18"}, "resnet-18 cannot do it"),
        ({"basic": {"imgsz": 32}, "model": "swin-tiny"}, "swin-tiny needs at least 64, not 32"),
        ({"model": "yolos-tiny"}, "yolos-tiny is for detection, not for classification"),
        (
            {"advanced": {"label_smoothing_factor": 0.1}, "model": "yolos-tiny", "task_type": "detection"},
            "for classification only",
        ),
        ({"basic": {"device": "0,1"}}, "config.device: must be of the form"),
        ({"basic": {"optimizer": "adamw"}}, "config.optimizer: .*did you mean AdamW"),
        ({"basic": {"lr0": float("nan")}}, "config.lr0"),
        ({"advanced": {"eval_steps": 0}}, "config.eval_steps: must be at least 1"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        read(**given)


@pytest.mark.parametrize("device", ["cpu", "0", "cuda:1", "cuda", "", None])
def test_one_device_is_named_in_many_ways(device: str | None) -> None:
    assert read({"device": device}).basic.device == (device or None)


def test_parameters_of_other_trainers_and_of_the_platform_do_no_harm_in_the_basic_part() -> None:
    given = {"cache": True, "project": "x", "save_period": 5, "early_stopping": {"enabled": True}}
    assert read(given).basic.model_copy(update={"cache": False, "project": None, "save_period": -1}) == BasicConfig()


def test_the_catalogue_has_what_each_model_needs() -> None:
    for entry in json.loads(MODELS_FILE.read_text())["models"]:
        assert {"name", "architecture", "task_types", "description", "parameters_millions"} <= set(entry)
        assert set(entry["task_types"]) <= {"classification", "detection"}
    assert {task for model in models().values() for task in model.task_types} == {"classification", "detection"}


def test_reading_a_configuration_loads_neither_torch_nor_the_library() -> None:
    code = "import sys, trainers.transformers.config; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
