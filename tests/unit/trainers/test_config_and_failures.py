from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from events.job import Job
from tests.builders import NOON
from trainers.catalogue import FRAMEWORKS, InvalidCatalogue, frameworks
from trainers.configuration import InvalidConfig
from trainers.failures import error_code_of, message_of
from trainers.launcher.environment import InvalidEnvironment, advanced_config, config_file, trainer_environment
from trainers.launcher.settings import Settings
from trainers.ultralytics.callbacks import CALLBACKS
from trainers.ultralytics.config import read_config
from training_sdk import RunSettings
from training_sdk.storage.datasets import DatasetNotFound


def test_the_designs_nms_threshold_means_iou() -> None:
    arguments = read_config("yolo11n", "detection", {}, {"nms": 0.7, "cos_lr": True}).train_arguments()
    assert arguments["iou"] == 0.7
    assert "nms" not in arguments
    assert read_config("yolo11n.pt", "detection", {}, {"nms": True}).train_arguments()["nms"] is True


def test_every_problem_of_a_configuration_is_named() -> None:
    with pytest.raises(InvalidConfig) as caught:
        read_config("resnet50", "detection", {"imgsz": 100, "epochs": 0}, {"mosaic": 2, "project": "/etc"})
    for words in ("resnet50", "config.imgsz: ", "multiple of 32", "config.epochs", "advanced_config.mosaic", "project"):
        assert words in str(caught.value)


def test_a_misspelt_parameter_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidConfig) as caught:
        read_config("yolo11n", "detection", {}, {"warmup_epoch": 1, "qqqq": 1})
    assert "advanced_config.warmup_epoch: there is no such parameter; did you mean warmup_epochs?" in str(caught.value)
    assert "advanced_config.qqqq: there is no such parameter" in str(caught.value)
    arguments = read_config("yolo11n", "detection", {}, {"warmup_epochs": 1, "close_mosaic": 0}).train_arguments()
    assert (arguments["warmup_epochs"], arguments["close_mosaic"]) == (1, 0)


def test_callbacks_can_be_handed_to_the_processes_of_multi_gpu_training() -> None:
    assert pickle.loads(pickle.dumps(dict(CALLBACKS))) == dict(CALLBACKS)


class OutOfMemoryError(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "OOM"),
        (RuntimeError("CUDA error: out of memory"), "OOM"),
        (MemoryError(), "OOM"),
        (DatasetNotFound("s3://training-datasets/7/"), "DATASET_NOT_FOUND"),
        (InvalidConfig("imgsz"), "INVALID_CONFIG"),
        (TimeoutError(), "TIMEOUT"),
        (ZeroDivisionError("division by zero"), "UNKNOWN"),
    ],
)
def test_the_cause_of_a_failure_has_the_designs_code(error: BaseException, code: str) -> None:
    assert error_code_of(error) == code
    wrapped = RuntimeError("training failed")
    wrapped.__cause__ = error
    assert error_code_of(wrapped) == code
    assert type(error).__name__ in message_of(error)


def job(**fields: Any) -> Job:
    given = {"id": 25, "created_at": NOON, "model_name": "yolo11n", "framework": "ultralytics", "dataset_id": 42}
    return Job.model_validate({**given, "task_type": "detection", "dataset_uri": "s3://d/42/", **fields})


def settings(tmp_path: Path) -> Settings:
    environment = {"PATH": "/bin", "HOME": "/root", "DATABASE_URL": "postgresql://secret@db/x", "AWS_TOKEN": "t"}
    return Settings.from_env({**environment, "EPOCHLOG_DATA_DIR": str(tmp_path), "S3_SECRET_KEY": "hidden"})


def test_a_trainer_finds_its_run_in_each_generation_of_variables(tmp_path: Path) -> None:
    config = {"image_size": 160, "epochs": 5, "batch_size": 8, "learning_rate": 0.003, "optimizer": "AdamW"}
    given = job(config=config, advanced_config={"mosaic": 0.0})
    environment = trainer_environment(given, 2, settings(tmp_path), tmp_path)
    assert environment["JOB_ID"] == environment["TRAINING_JOB_ID"] == "25"
    assert environment["IMGSZ"] == environment["CONFIG_IMGSZ"] == "160"
    assert environment["BATCH_SIZE"] == environment["CONFIG_BATCH"] == "8"
    assert environment["BACKEND_URL"] == environment["CALLBACK_URL"]
    assert environment["BACKEND_URL"].endswith("/api/v1")
    assert environment["S3_SECRET_KEY"] == environment["EXTERNAL_STORAGE_SECRET_KEY"] == "hidden"
    assert environment["TRAINING_ATTEMPT"] == "2"
    Path(environment["CONFIG_PATH"]).write_text(json.dumps(config_file(given, FRAMEWORKS)))
    read = RunSettings.from_env(environment)
    assert (read.job_id, read.attempt, read.dataset_uri) == (25, 2, "s3://d/42/")
    basic = read.basic_config()
    assert (basic["imgsz"], basic["epochs"], basic["batch"], basic["lr0"]) == (160, 5, 8, 0.003)
    assert basic["optimizer"] == "AdamW"
    assert read.advanced_config() == {"mosaic": 0.0}


def test_the_services_own_secrets_are_not_passed_on(tmp_path: Path) -> None:
    environment = trainer_environment(job(), 1, settings(tmp_path), tmp_path)
    assert "DATABASE_URL" not in environment
    assert "AWS_TOKEN" not in environment


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"config": {"custom_prompts": ["x" * 140_000]}}, r"CONFIG has \d+ bytes"),
        ({"model_name": "yolo11n\0"}, "MODEL_NAME contains the character"),
        ({"model_name": "yolo\ud800"}, "MODEL_NAME is not valid Unicode"),
    ],
)
def test_what_no_process_can_be_handed_is_named(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidEnvironment, match=words):
        trainer_environment(job().model_copy(update=fields), 1, settings(tmp_path), tmp_path)


def test_advanced_parameters_may_stand_beside_or_inside_the_config() -> None:
    inside = job(config={"epochs": 3, "advanced_config": {"mixup": 0.5}})
    assert advanced_config(inside) == {"mixup": 0.5}
    assert "advanced_config" not in config_file(inside, FRAMEWORKS)["basic"]


def test_trainers_of_ones_own_are_named_in_the_environment() -> None:
    assert frameworks('{"mine": "my_package.train"}')["mine"].module == "my_package.train"
    assert set(frameworks(None)) == set(FRAMEWORKS)
    for wrong in ("{", "[]", '{"mine": 7}'):
        with pytest.raises(InvalidCatalogue, match="EPOCHLOG_TRAINERS"):
            frameworks(wrong)
