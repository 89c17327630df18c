"""What the trainers register: their schemas say what their own checks say."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from events.config_check import config_problems
from events.config_schema import PLATFORM_KEYS, with_platform_keys
from events.types.vocabulary import TaskType
from trainers.catalogue import FRAMEWORKS, Framework, offered_models
from training_sdk import settings

SAMPLES = Path(__file__).resolve().parent.parent.parent / "spec_samples"
# Sections 4.3, 4.6 and 4.9 of the design.
BASIC = {"imgsz", "pretrained", "epochs", "batch", "lr0", "optimizer", "augment", "cache", "workers"}
BASIC |= {"project", "name", "save_period"}
ADVANCED = {
    "ultralytics": {
        *("mosaic", "mixup", "copy_paste", "degrees", "translate", "scale", "shear", "perspective", "flipud"),
        *("fliplr", "cos_lr", "nms", "multi_scale", "conf", "iou"),
    },
    "timm": {
        *("drop_rate", "drop_path_rate", "mixup_alpha", "cutmix_alpha", "label_smoothing", "aa", "reprob", "remode"),
        *("model_ema", "model_ema_decay"),
    },
    "transformers": {
        *("gradient_checkpointing", "fp16", "gradient_accumulation_steps", "warmup_ratio", "weight_decay"),
        *("max_grad_norm", "logging_steps", "eval_steps", "save_steps"),
    },
}
OFFERING = [framework for framework in FRAMEWORKS.values() if framework.config is not None]
every_framework = pytest.mark.parametrize("framework", OFFERING, ids=lambda framework: framework.name)


@every_framework
def test_each_model_has_a_schema_with_the_designs_names_defaults_and_help(framework: Framework) -> None:
    models = offered_models(framework)
    assert len({model["name"] for model in models}) == len(models) > 0
    for model in models:
        assert {TaskType(task) for task in model["task_types"]}
        assert model["parameters"] > 0 and model["description"]
    schema = models[0]["config_schema"]
    Draft202012Validator.check_schema(schema)
    config, advanced = (schema["properties"][part] for part in ("config", "advanced_config"))
    assert set(config["properties"]) >= BASIC
    assert set(advanced["properties"]) >= ADVANCED[framework.name]
    for field in (*config["properties"].values(), *advanced["properties"].values()):
        assert field.get("description") and "default" in field, field
    defaults = [
        {name: field["default"] for name, field in part["properties"].items() if field["default"] is not None}
        for part in (config, advanced)
    ]
    assert config_problems(with_platform_keys(schema), *defaults) == []


VALUES: list[Any] = [True, 0, 1, -1, 64, 0.5, 1e9, "0", "cpu", [1], {"a": 1}]


@every_framework
def test_the_schema_and_the_trainer_say_the_same_of_every_parameter(framework: Framework) -> None:
    offered = offered_models(framework)
    for model in (offered[0], offered[-1]):
        whole = with_platform_keys(model["config_schema"])
        parts = ("config", "advanced_config")
        names = [(part, name) for part in parts for name in model["config_schema"]["properties"][part]["properties"]]
        for part, name in (*names, ("config", "nothing_like_it"), ("advanced_config", "nothing_like_it")):
            for value in VALUES:
                given = {name: value}
                case = (given, {}) if part == "config" else ({}, given)
                problems = config_problems(whole, *case)
                refused = refusal(framework, model, case)
                said = f"{part}.{name} = {value!r}: the schema says {problems}, the trainer {refused}"
                assert bool(problems) == (refused is not None), said


def refusal(framework: Framework, model: dict[str, Any], case: tuple[dict[str, Any], dict[str, Any]]) -> str | None:
    read_config = importlib.import_module(str(framework.config)).read_config
    try:
        read_config(model["name"], model["task_types"][0], *case)
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_the_platforms_keys_are_the_same_for_the_sdk() -> None:
    assert settings.PLATFORM_KEYS == PLATFORM_KEYS


def test_showing_the_catalogue_loads_no_framework() -> None:
    code = (
        "import sys\nfrom trainers.registration import main\nassert main(['show']) == 0\n"
        "heavy = {'torch', 'ultralytics', 'timm', 'transformers', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "yolo11n" in [json.loads(line)["name"] for line in shown.stdout.splitlines() if line.startswith("{")]
