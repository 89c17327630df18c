"""Train a YOLO model on a registered data set; everything comes from the environment, as the launcher sets it.

JOB_ID=25 MODEL_NAME=yolo11n TASK_TYPE=detection DATASET_ID=42 EPOCHS=5 IMGSZ=160 python -m trainers.ultralytics.train
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from trainers.configuration import InvalidConfig
from trainers.converters.dice_to_yolo import convert
from trainers.failures import error_code_of, message_of
from trainers.ultralytics import callbacks
from trainers.ultralytics.config import UltralyticsConfig, plain_name, read_config
from trainers.weights import fetch_weights
from training_sdk import TrainerSDK

CLOSE_TIMEOUT_S = 60.0


def main() -> int:
    sdk = callbacks.sdk()
    try:
        return train(sdk)
    except BaseException as error:
        sdk.log_error("".join(traceback.format_exception(error))[-8_000:])
        sdk.report_failed(error_code_of(error), message_of(error), callbacks.STATE.epochs_done or None)
        if isinstance(error, Exception):
            return 1
        raise
    finally:
        sdk.close(CLOSE_TIMEOUT_S)


def train(sdk: TrainerSDK) -> int:
    # 1. What is asked for, checked before anything is fetched.
    config = read_config(sdk.model_name, sdk.task_type, sdk.get_basic_config(), sdk.get_advanced_config())
    output = Path(os.environ.get("OUTPUT_PATH") or "output").resolve()
    keep_to_itself(output)
    check_values(config)
    sdk.report_started(gpu_info(), total_epochs=config.basic.epochs)
    sdk.log_info("Training started", model=sdk.model_name, epochs=config.basic.epochs)

    # 2. The data set: fetched, checked, converted.
    dice = sdk.download_dataset(sdk.dataset_id, sdk.task_type or "detection")
    data = convert(Path(dice), sdk.task_type or "detection", output / "data")
    for note in data.notes:
        sdk.log_warning(note)
    sdk.log_info(f"Data set {sdk.dataset_id}: {data.counts}, {len(data.classes)} classes")
    if sdk.should_stop():
        sdk.report_stopped(0)
        return 0

    # 3. The model, from its architecture, and weights where our own store has some.
    model = build_model(config)
    weights = fetch_weights(sdk, "ultralytics", plain_name(sdk.model_name)) if config.basic.pretrained else None
    if weights is not None:
        model.load(weights)
    else:
        sdk.log_info(f"{config.architecture}: built from its architecture file, with random weights")
    for event, callback in callbacks.CALLBACKS.items():
        model.add_callback(event, callback)

    # 4. Train. The callbacks report; checkpoints go up while training goes on.
    began = time.monotonic()
    model.train(
        data=str(data.data_yaml),
        project=str(output),
        name="run",
        exist_ok=True,
        plots=False,
        verbose=False,
        # The platform decides when to stop.
        patience=0,
        **config.train_arguments(),
    )

    # 5. How it ended.
    results = training_results(time.monotonic() - began)
    if callbacks.STATE.stopped:
        sdk.log_info(f"Stopped after epoch {callbacks.STATE.epochs_done}: {sdk.stop_reason or 'asked to'}")
        sdk.report_stopped(callbacks.STATE.epochs_done, training_results=results)
    else:
        sdk.log_info("Training completed successfully")
        sdk.report_completed(results)
    return 0


def keep_to_itself(output: Path) -> None:
    """Ultralytics may not write settings of the user's, install packages, or fetch the font that it draws with.

    To be called before it is imported: it reads these variables then.
    """
    import matplotlib

    folder = output / "settings"
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        wanted = folder / "Ultralytics" / name
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.unlink(missing_ok=True)
        wanted.symlink_to(font)


def check_values(config: UltralyticsConfig) -> None:
    """Ultralytics' own check of its parameters, before anything is fetched. Raises InvalidConfig."""
    from ultralytics.cfg import get_cfg

    try:
        get_cfg(overrides=config.train_arguments())
    except (SyntaxError, TypeError, ValueError) as error:
        raise InvalidConfig(str(error)) from error


def build_model(config: UltralyticsConfig) -> Any:
    # Imported here: a wrong configuration is told within a second, without loading torch.
    import torch
    from ultralytics import YOLO, settings  # type: ignore[attr-defined]  # exported lazily

    # Its own reporting off: the mirror writes the run to MLflow, and nothing is told to other hosts.
    settings.update({"mlflow": False, "sync": False})  # type: ignore[no-untyped-call]
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return YOLO(config.architecture)


def gpu_info() -> list[dict[str, Any]] | None:
    """Name and memory of each GPU, None without any."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_total_gb": round(gpu.total_memory / 1024**3, 1)} for gpu in found]


def training_results(seconds: float) -> dict[str, Any]:
    """The design's training_results object (section 7.2)."""
    state = callbacks.STATE
    gpus = len(gpu_info() or [])
    return {
        "total_epochs": state.epochs_done,
        "best_epoch": state.best_epoch,
        "best_metrics": state.best_metrics,
        "final_metrics": state.last_metrics,
        "training_time_seconds": round(seconds, 3),
        "gpu_hours": round(seconds / 3600 * gpus, 6),
    }


if __name__ == "__main__":
    sys.exit(main())
