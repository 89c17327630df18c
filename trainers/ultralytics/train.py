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
from trainers.ultralytics.plots import upload_plots
from trainers.ultralytics.resume import read_checkpoint
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
    split_strategy = sdk.settings.config().get("split_strategy")
    data = convert(Path(dice), sdk.task_type or "detection", output / "data", split_strategy)
    for note in data.notes:
        sdk.log_warning(note)
    sdk.log_info(f"Data set {sdk.dataset_id}: {data.counts}, {len(data.classes)} classes")
    if sdk.should_stop():
        sdk.report_stopped(0)
        return 0

    # 3. The model: of an earlier attempt, else from its architecture with the weights that our own store has.
    checkpoint = sdk.resume_checkpoint()
    earlier = read_checkpoint(checkpoint, config.basic.epochs) if checkpoint is not None else None
    callbacks.STATE.save_period = config.basic.save_period
    arguments = {**config.train_arguments(), "data": str(data.data_yaml), "verbose": False, "save_period": -1}
    if earlier is not None:
        callbacks.go_on_from(earlier)
        if earlier.epochs_done >= config.basic.epochs:
            sdk.log_info("Every epoch was trained by an earlier attempt; only its end was not reported")
            sdk.report_completed(training_results(earlier.seconds))
            return 0
        sdk.log_info(
            f"Going on after epoch {earlier.epochs_done} of {config.basic.epochs}, from {sdk.settings.resume_uri}"
        )
        model = build_model(str(earlier.path))
        earlier.write_results(output / "run")
        arguments |= {"resume": True, "save_dir": str(output / "run")}
    else:
        model = build_model(config.architecture)
        load_weights(sdk, model, config)
        # The platform decides when to stop.
        arguments |= {"project": str(output), "name": "run", "exist_ok": True, "patience": 0}
    for event, callback in callbacks.CALLBACKS.items():
        model.add_callback(event, callback)

    # 4. Train. The callbacks report; checkpoints go up while training goes on.
    began = time.monotonic()
    model.train(**arguments)

    # 5. How it ended.
    results = training_results(time.monotonic() - began + (earlier.seconds if earlier is not None else 0.0))
    pictures = upload_plots(sdk, output / "run", callbacks.STATE.epochs_done)
    sdk.log_info(f"{pictures} plots and pictures are kept as artifacts")
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


def load_weights(sdk: TrainerSDK, model: Any, config: UltralyticsConfig) -> None:
    """Pretrained ones where the job wants them and our own store has some. Raises WeightsNotUsable."""
    weights = fetch_weights(sdk, "ultralytics", plain_name(sdk.model_name)) if config.basic.pretrained else None
    if weights is not None:
        model.load(weights)
    else:
        sdk.log_info(f"{config.architecture}: built from its architecture file, with random weights")


def build_model(source: str) -> Any:
    """``source`` is an architecture file's name, or a checkpoint."""
    # Imported here: a wrong configuration is told within a second, without loading torch.
    import torch
    from ultralytics import YOLO, settings  # type: ignore[attr-defined]  # exported lazily

    # Its own reporting off: the mirror writes the run to MLflow, and nothing is told to other hosts.
    settings.update({"mlflow": False, "sync": False})  # type: ignore[no-untyped-call]
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return YOLO(source)


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
        "best_epoch": state.best.epoch,
        "best_metrics": dict(state.best.metrics or {}),
        "final_metrics": state.last_metrics,
        "training_time_seconds": round(seconds, 3),
        "gpu_hours": round(seconds / 3600 * gpus, 6),
    }


if __name__ == "__main__":
    sys.exit(main())
