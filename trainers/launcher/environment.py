"""A trainer's environment: all three generations of variables, so that any trainer finds its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from events.config_check import with_canonical_names
from events.early_stopping import early_stopping_of
from events.job import Job
from trainers.catalogue import Framework, basic_defaults
from trainers.launcher.settings import Settings

# What the process needs of ours to run at all. Nothing else is passed on: the service's secrets are none of a
# trainer's business.
PASSED_ON: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "PYTHONPATH"),
    *("VIRTUAL_ENV", "TZ", "SSL_CERT_FILE", "XDG_CACHE_HOME", "EPOCHLOG_LOG_LEVEL", "OMP_NUM_THREADS"),
)
DEFAULTS: Final[Mapping[str, Any]] = {
    "imgsz": 640,
    "epochs": 100,
    "batch": 16,
    "lr0": 0.01,
    "optimizer": "SGD",
    "augment": True,
}
"""The design's; a framework that has others in its configuration gets those."""
VARIABLES: Final = ("imgsz", "epochs", "batch", "lr0")
"""What has a variable of its own in the newest generation, and is not repeated in CONFIG."""
OUTPUT_FOLDER: Final = "output"
CONFIG_FILE: Final = "config.json"
VARIABLE_BYTES_MAX: Final = 128 * 1024 - 1
"""Linux hands over no longer one, its name and = included (MAX_ARG_STRLEN, execve(2))."""


class InvalidEnvironment(ValueError):
    """A value of the job cannot stand in an environment variable."""


def basic_config(job: Job, frameworks: Mapping[str, Framework]) -> dict[str, Any]:
    """The job's config with canonical names and defaults, without what is nested beside it."""
    given = {name: value for name, value in with_canonical_names(job.config).items() if name != "advanced_config"}
    framework = frameworks.get(job.framework or "")
    return {**DEFAULTS, **(basic_defaults(framework, DEFAULTS) if framework is not None else {}), **given}


def advanced_config(job: Job) -> dict[str, Any]:
    inside = job.config.get("advanced_config")
    return {**(inside if isinstance(inside, dict) else {}), **(job.advanced_config or {})}


def config_file(job: Job, frameworks: Mapping[str, Framework]) -> dict[str, Any]:
    """What the file at CONFIG_PATH holds (section 4.7 of the design)."""
    return {"basic": basic_config(job, frameworks), "advanced": advanced_config(job)}


def trainer_environment(job: Job, attempt: int, settings: Settings, folder: Path) -> dict[str, str]:
    """Every variable of sections 4.4.1, 4.8 and 5.3 of the design, and our own. Raises InvalidEnvironment."""
    basic, advanced = basic_config(job, settings.frameworks), advanced_config(job)
    dataset_uri = job.dataset_uri or f"s3://{settings.datasets_bucket}/{job.dataset_id}/"
    nested = {
        "advanced_config": advanced,
        "primary_metric": basic.get("primary_metric"),
        "primary_metric_mode": basic.get("primary_metric_mode", "max"),
        "custom_prompts": basic.get("custom_prompts"),
        "split_strategy": basic.get("split_strategy"),
        **{name: value for name, value in basic.items() if name not in VARIABLES},
        "early_stopping": early_stopping_of(job.config),
    }
    names = (*PASSED_ON, *settings.trainer_variables)
    passed = {name: settings.inherited[name] for name in names if name in settings.inherited}
    first_generation = {
        "TRAINING_JOB_ID": str(job.id),
        "BACKEND_URL": settings.backend_url,
        "S3_ENDPOINT": settings.s3_endpoint,
        "S3_ACCESS_KEY": settings.s3_access_key,
        "S3_SECRET_KEY": settings.s3_secret_key,
        "DATASET_PATH": dataset_uri,
        "OUTPUT_PATH": str(folder / OUTPUT_FOLDER),
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
    }
    second_generation = {
        "CONFIG_IMGSZ": str(basic["imgsz"]),
        "CONFIG_EPOCHS": str(basic["epochs"]),
        "CONFIG_BATCH": str(basic["batch"]),
        "CONFIG_LR0": str(basic["lr0"]),
        "CONFIG_OPTIMIZER": str(basic["optimizer"]),
        "CONFIG_AUGMENT": str(basic["augment"]),
        "ADVANCED_CONFIG": json.dumps(advanced),
        "CONFIG_PATH": str(folder / CONFIG_FILE),
    }
    third_generation = {
        "JOB_ID": str(job.id),
        "CALLBACK_URL": settings.backend_url,
        "MODEL_NAME": job.model_name or "",
        "TASK_TYPE": job.task_type or "",
        "FRAMEWORK": job.framework or "",
        "DATASET_ID": str(job.dataset_id),
        "DATASET_S3_URI": dataset_uri,
        "EPOCHS": str(basic["epochs"]),
        "BATCH_SIZE": str(basic["batch"]),
        "LEARNING_RATE": str(basic["lr0"]),
        "IMGSZ": str(basic["imgsz"]),
        "DEVICE": str(basic["device"]) if basic.get("device") not in (None, "") else default_device(settings.inherited),
        "CONFIG": json.dumps(nested),
        "EXTERNAL_STORAGE_ENDPOINT": settings.s3_endpoint,
        "EXTERNAL_STORAGE_ACCESS_KEY": settings.s3_access_key,
        "EXTERNAL_STORAGE_SECRET_KEY": settings.s3_secret_key,
    }
    ours = {
        "TRAINING_ATTEMPT": str(attempt),
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "EPOCHLOG_TOPIC_PREFIX": settings.topic_prefix,
        "EPOCHLOG_SPOOL_DIR": str(settings.spool_dir),
        "EPOCHLOG_DATA_DIR": str(settings.data_dir),
        "EPOCHLOG_DATASETS_BUCKET": settings.datasets_bucket,
        "EPOCHLOG_CHECKPOINTS_BUCKET": settings.checkpoints_bucket,
        "EPOCHLOG_MODELS_BUCKET": settings.models_bucket,
        "PYTHONUNBUFFERED": "1",
        # Nothing is fetched from or told to other hosts by the frameworks.
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "MPLBACKEND": "Agg",
    }
    resume = resume_variables(job, attempt)
    environment = {**passed, **first_generation, **second_generation, **third_generation, **ours, **resume}
    for name, value in environment.items():
        check_variable(name, value)
    return environment


def default_device(environment: Mapping[str, str], devices: Path = Path("/dev")) -> str:
    """The design's first GPU; ``cpu`` on a machine that has none or hides it."""
    hidden = environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    has_one = any(devices.glob("nvidia[0-9]*")) or (devices / "kfd").exists()
    return "0" if has_one and not hidden else "cpu"


def resume_variables(job: Job, attempt: int) -> dict[str, str]:
    """What an attempt goes on from: the newest checkpoint of the attempts before it. None for one that begins anew."""
    checkpoint = job.resume_checkpoint
    if checkpoint is None or checkpoint.object_uri is None or checkpoint.attempt >= attempt:
        return {}
    numbers = {
        "TRAINING_RESUME_SIZE": checkpoint.file_size_bytes,
        "TRAINING_RESUME_EPOCH": checkpoint.epoch,
        "TRAINING_RESUME_STEP": None if checkpoint.step is None else checkpoint.step + 1,
    }
    texts = {"TRAINING_RESUME_URI": checkpoint.object_uri, "TRAINING_RESUME_SHA256": checkpoint.sha256}
    return {name: str(value) for name, value in {**texts, **numbers}.items() if value is not None}


def check_variable(name: str, value: str) -> None:
    """Raises InvalidEnvironment."""
    try:
        size = len(os.fsencode(f"{name}={value}"))
    except UnicodeEncodeError as error:
        raise InvalidEnvironment(f"{name} is not valid Unicode: {value[:100]!r}") from error
    if "\0" in value:
        raise InvalidEnvironment(f"{name} contains the character U+0000")
    if size > VARIABLE_BYTES_MAX:
        raise InvalidEnvironment(f"{name} has {size} bytes; the trainer can be handed at most {VARIABLE_BYTES_MAX}")
