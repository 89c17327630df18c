"""The trainer's environment beside the design's sections 4.4.1, 4.7, 4.8 and 5.3, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from events.job import Job
from tests.builders import NOON
from trainers.catalogue import FRAMEWORKS, Framework, basic_defaults
from trainers.launcher.environment import config_file, default_device, trainer_environment
from trainers.launcher.settings import Settings
from trainers.ultralytics.config import read_config
from training_sdk import RunSettings

GIVEN = {
    "EPOCHLOG_API_PORT": "8123",
    "S3_ENDPOINT": "http://s3:9002",
    "S3_ACCESS_KEY": "access",
    "S3_SECRET_KEY": "hidden",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "CUDA_VISIBLE_DEVICES": "",
}


def job(**fields: Any) -> Job:
    given = {"id": 25, "created_at": NOON, "model_name": "yolo11n", "framework": "ultralytics", "dataset_id": 42}
    return Job.model_validate({**given, "task_type": "detection", "dataset_uri": "s3://d/42/", **fields})


def environment(folder: Path, job: Job, **variables: str) -> dict[str, str]:
    settings = Settings.from_env({**GIVEN, "EPOCHLOG_DATA_DIR": str(folder), **variables})
    found = trainer_environment(job, 1, settings, folder)
    Path(found["CONFIG_PATH"]).write_text(json.dumps(config_file(job, settings.frameworks)))
    return found


def test_a_job_without_a_config_gets_the_designs_defaults(tmp_path: Path) -> None:
    found = environment(tmp_path, job())
    expected = {
        # 4.4.1
        "JOB_ID": "25",
        "CALLBACK_URL": "http://127.0.0.1:8123/api/v1",
        "MODEL_NAME": "yolo11n",
        "TASK_TYPE": "detection",
        "FRAMEWORK": "ultralytics",
        "DATASET_ID": "42",
        "DATASET_S3_URI": "s3://d/42/",
        "EPOCHS": "100",
        "BATCH_SIZE": "16",
        "LEARNING_RATE": "0.01",
        "IMGSZ": "640",
        "DEVICE": "cpu",
        "EXTERNAL_STORAGE_ENDPOINT": "http://s3:9002",
        "EXTERNAL_STORAGE_ACCESS_KEY": "access",
        "EXTERNAL_STORAGE_SECRET_KEY": "hidden",
        # 4.8
        "CONFIG_IMGSZ": "640",
        "CONFIG_EPOCHS": "100",
        "CONFIG_BATCH": "16",
        "CONFIG_LR0": "0.01",
        "CONFIG_OPTIMIZER": "SGD",
        "CONFIG_AUGMENT": "True",
        "ADVANCED_CONFIG": "{}",
        # 5.3
        "TRAINING_JOB_ID": "25",
        "BACKEND_URL": "http://127.0.0.1:8123/api/v1",
        "S3_ENDPOINT": "http://s3:9002",
        "S3_ACCESS_KEY": "access",
        "S3_SECRET_KEY": "hidden",
        "DATASET_PATH": "s3://d/42/",
        "OUTPUT_PATH": str(tmp_path / "output"),
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert json.loads(found["CONFIG"]) == {
        "advanced_config": {},
        "primary_metric": None,
        "primary_metric_mode": "max",
        "custom_prompts": None,
        "split_strategy": None,
        "early_stopping": None,
        "optimizer": "SGD",
        "augment": True,
    }
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "basic": {"imgsz": 640, "epochs": 100, "batch": 16, "lr0": 0.01, "optimizer": "SGD", "augment": True},
        "advanced": {},
    }


CONFIG = {
    "image_size": 64,
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 0.002,
    "optimizer": "AdamW",
    "augment": False,
    "device": 0,
    "pretrained": False,
    "cache": "ram",
    "workers": 2,
    "save_period": 5,
    "project": "p",
    "name": "n",
    "seed": 7,
    "primary_metric": "mAP50",
    "primary_metric_mode": "min",
    "custom_prompts": ["a cat"],
    "split_strategy": {"type": "ratio", "ratios": [0.8, 0.2]},
    "early_stopping": {"patience": 3},
    "augmentation": {"free": 1},
    "limits": {"max_seconds": 60},
    "max_retries": 1,
}


@pytest.mark.parametrize("without", [None, "CONFIG", "CONFIG_PATH"])
def test_every_parameter_reaches_the_trainer(tmp_path: Path, without: str | None) -> None:
    found = environment(tmp_path, job(config=CONFIG, advanced_config={"mosaic": 0.5}))
    assert json.loads(found["CONFIG"]) == {
        "advanced_config": {"mosaic": 0.5},
        **{name: CONFIG[name] for name in list(CONFIG)[4:]},
        # The metric that is meant where none is named: whoever reads the trainer's session knows no other part of it.
        "early_stopping": {"metric": "mAP50", "mode": "min", "patience": 3},
    }
    assert (found["DEVICE"], found["CONFIG_AUGMENT"], found["CONFIG_OPTIMIZER"]) == ("0", "False", "AdamW")
    # Each way of handing it over is enough.
    settings = RunSettings.from_env({name: value for name, value in found.items() if name != without})
    basic = settings.basic_config()
    own = ("pretrained", "cache", "workers", "save_period", "project", "name", "seed", "optimizer", "augment")
    assert basic == {"imgsz": 64, "epochs": 3, "batch": 4, "lr0": 0.002, "device": "0"} | {
        name: CONFIG[name] for name in own
    }
    assert settings.advanced_config() == {"mosaic": 0.5}
    read = read_config("yolo11n", "detection", basic, settings.advanced_config())
    assert (read.basic.cache, read.basic.pretrained, read.basic.save_period) == ("ram", False, 5)
    arguments = read.train_arguments()
    assert (arguments["mosaic"], arguments["fliplr"], arguments["optimizer"]) == (0.5, 0.0, "AdamW")
    assert not {"project", "name", "pretrained", "augment"} & set(arguments)


def test_a_frameworks_own_defaults_count_before_the_designs(tmp_path: Path) -> None:
    found = environment(tmp_path, job(framework="other", config={"epochs": 2}), EPOCHLOG_TRAINERS='{"other": "x.y"}')
    assert (found["IMGSZ"], found["EPOCHS"]) == ("640", "2")
    for framework in FRAMEWORKS.values():
        form = basic_defaults(framework, ("imgsz", "epochs", "batch", "lr0", "optimizer", "augment"))
        found = environment(tmp_path, job(framework=framework.name))
        assert (found["IMGSZ"], found["LEARNING_RATE"]) == (str(form["imgsz"]), str(form["lr0"])), framework.name
        assert RunSettings.from_env(found).basic_config()["optimizer"] == form["optimizer"], framework.name
    assert basic_defaults(Framework("mine", "my.train"), ("imgsz",)) == {}


def test_the_first_gpu_is_the_default_where_there_is_one(tmp_path: Path) -> None:
    assert default_device({}, tmp_path) == "cpu"
    (tmp_path / "nvidia0").touch()
    assert default_device({}, tmp_path) == "0"
    assert default_device({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == "cpu"


def test_secrets_of_a_trainer_are_handed_on_by_name(tmp_path: Path) -> None:
    variables = {"HF_TOKEN": "hf_abcdef", "OTHER_TOKEN": "t", "EPOCHLOG_TRAINER_VARIABLES": "HF_TOKEN, MISSING"}
    found = environment(tmp_path, job(), **variables)
    assert found["HF_TOKEN"] == "hf_abcdef"
    assert "OTHER_TOKEN" not in found and "MISSING" not in found
