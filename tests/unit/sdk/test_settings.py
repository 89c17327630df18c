from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from training_sdk import TrainerSDK
from training_sdk.opening import create_session
from training_sdk.settings import RunSettings, SettingsError

NEWEST = {
    "JOB_ID": "25",
    "CALLBACK_URL": "http://new:8000/api/v1/",
    "MODEL_NAME": "yolo11n",
    "TASK_TYPE": "detection",
    "FRAMEWORK": "ultralytics",
    "DATASET_ID": "42",
    "DATASET_S3_URI": "s3://training-datasets/42/",
    "EPOCHS": "5",
    "BATCH_SIZE": "8",
    "LEARNING_RATE": "0.02",
    "IMGSZ": "320",
    "DEVICE": "cpu",
    "CONFIG": json.dumps({"advanced_config": {"mosaic": 0.5}, "optimizer": "AdamW", "augment": False}),
    "EXTERNAL_STORAGE_ENDPOINT": "http://store:9002",
    "EXTERNAL_STORAGE_ACCESS_KEY": "a",
    "EXTERNAL_STORAGE_SECRET_KEY": "s",
}
CONFIG_VARIABLES = {
    "CONFIG_IMGSZ": "416",
    "CONFIG_EPOCHS": "7",
    "CONFIG_BATCH": "4",
    "CONFIG_LR0": "0.5",
    "CONFIG_OPTIMIZER": "Adam",
    "CONFIG_AUGMENT": "False",
    "ADVANCED_CONFIG": '{"mosaic": 0.25}',
}
OLDEST = {
    "TRAINING_JOB_ID": "24",
    "BACKEND_URL": "http://old:8000/api/v1",
    "S3_ENDPOINT": "http://old:9002",
    "S3_ACCESS_KEY": "oa",
    "S3_SECRET_KEY": "os",
    "DATASET_PATH": "s3://training-datasets/41/",
    "OUTPUT_PATH": "/workspace/output",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
}


def test_the_newest_generation_is_read() -> None:
    settings = RunSettings.from_env(NEWEST)
    assert (settings.job_id, settings.backend_url, settings.dataset_id) == (25, "http://new:8000/api/v1", 42)
    assert (settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key) == ("http://store:9002", "a", "s")
    assert settings.basic_config() == {
        "imgsz": 320,
        "epochs": 5,
        "batch": 8,
        "lr0": 0.02,
        "optimizer": "AdamW",
        "augment": False,
        "device": "cpu",
    }
    assert settings.advanced_config() == {"mosaic": 0.5}


def test_the_config_variables_are_read() -> None:
    settings = RunSettings.from_env(CONFIG_VARIABLES)
    assert settings.basic_config() == {
        "imgsz": 416,
        "epochs": 7,
        "batch": 4,
        "lr0": 0.5,
        "optimizer": "Adam",
        "augment": False,
    }
    assert settings.advanced_config() == {"mosaic": 0.25}


def test_the_oldest_generation_is_read() -> None:
    settings = RunSettings.from_env(OLDEST)
    assert (settings.job_id, settings.backend_url) == (24, "http://old:8000/api/v1")
    assert (settings.dataset_uri, settings.output_path) == ("s3://training-datasets/41/", "/workspace/output")
    assert settings.s3_endpoint == "http://old:9002"


def test_the_newest_generation_wins_where_all_are_set() -> None:
    settings = RunSettings.from_env({**OLDEST, **CONFIG_VARIABLES, **NEWEST})
    assert settings.job_id == 25 and settings.s3_endpoint == "http://store:9002"
    assert settings.basic_config()["imgsz"] == 320 and settings.basic_config()["optimizer"] == "AdamW"
    assert settings.advanced_config() == {"mosaic": 0.5}


def test_the_defaults_are_those_of_the_spec() -> None:
    settings = RunSettings.from_env({})
    assert settings.basic_config() == {
        "imgsz": 640,
        "epochs": 100,
        "batch": 16,
        "lr0": 0.01,
        "optimizer": "SGD",
        "augment": True,
    }
    assert settings.advanced_config() == {} and settings.attempt == 1 and settings.rank == 0
    assert not settings.was_given("epochs")


def test_a_config_file_is_read_with_its_aliases(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"basic": {"image_size": 224, "batch_size": 2}, "advanced": {"mixup": 0.1}}))
    settings = RunSettings.from_env({"CONFIG_PATH": str(path)})
    assert settings.basic_config()["imgsz"] == 224 and settings.basic_config()["batch"] == 2
    assert settings.advanced_config() == {"mixup": 0.1}
    assert settings.was_given("imgsz")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"EPOCHS": "many"}, "EPOCHS is 'many', wanted a whole number"),
        ({"CONFIG": "{"}, "CONFIG is not JSON"),
        ({"CONFIG_AUGMENT": "maybe"}, "CONFIG_AUGMENT is 'maybe', wanted true or false"),
        ({"CONFIG_PATH": "/nowhere.json"}, "'/nowhere.json' cannot be read"),
    ],
)
def test_a_wrong_config_is_named_with_its_value(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        RunSettings.from_env(environment).basic_config()


def test_a_wrong_job_id_is_left_out_and_named() -> None:
    settings = RunSettings.from_env({"JOB_ID": "twenty", "TRAINING_JOB_ID": "24"})
    assert settings.job_id == 24 and "JOB_ID is 'twenty'" in settings.problems[0]


def test_secrets_do_not_show_in_the_representation() -> None:
    assert "SECRET" not in repr(RunSettings.from_env({"S3_SECRET_KEY": "SECRET", "CONFIG": '{"a": "SECRET"}'}))


def test_what_to_go_on_from_is_read_and_nothing_means_from_the_beginning(tmp_path: Path) -> None:
    resumed = RunSettings.from_env(
        {
            "TRAINING_RESUME_URI": "s3://c/checkpoints/25/attempt-1/ab.pt",
            "TRAINING_RESUME_SHA256": "ab",
            "TRAINING_RESUME_SIZE": "7",
            "TRAINING_RESUME_EPOCH": "3",
            "TRAINING_RESUME_STEP": "301",
        }
    )
    assert (resumed.resume_uri, resumed.resume_sha256, resumed.resume_size) == (
        "s3://c/checkpoints/25/attempt-1/ab.pt",
        "ab",
        7,
    )
    sdk = TrainerSDK(resumed)
    session = create_session(replace(resumed, spool_dir=tmp_path), pytest.fail)
    assert (session.about.opened["resume_epoch"], session.about.opened["resume_step"]) == (3, 301)
    session.let_go()
    anew = create_session(RunSettings.from_env({"EPOCHLOG_SPOOL_DIR": str(tmp_path)}), pytest.fail)
    assert (anew.about.opened["resume_epoch"], anew.about.opened["resume_step"]) == (0, 0)
    anew.let_go()
    assert (sdk.resume_epoch, sdk.resume_step) == (3, 301)
    new = TrainerSDK(RunSettings.from_env({}))
    assert (new.resume_checkpoint(), new.resume_epoch, new.resume_step) == (None, 0, 0)
