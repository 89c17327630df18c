"""Train a YOLO model on a registered data set; everything comes from the environment, as the launcher sets it.

JOB_ID=25 MODEL_NAME=yolo11n TASK_TYPE=detection DATASET_ID=42 EPOCHS=5 IMGSZ=160 python -m trainers.ultralytics.train
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

from trainers.configuration import InvalidConfig
from trainers.converters.dice_to_yolo import Converted, convert
from trainers.devices import check_device
from trainers.failures import error_code_of, message_of
from trainers.ultralytics import callbacks
from trainers.ultralytics.config import UltralyticsConfig
from trainers.ultralytics.offline import keep_to_itself, refuse_downloads, switch_off_reporters
from trainers.ultralytics.progress import Progress
from trainers.ultralytics.ranks import RankFailed, Ranks
from trainers.ultralytics.resume import Earlier, read_checkpoint
from trainers.weights import fetch_weights
from training_sdk import TrainerSDK

CLOSE_TIMEOUT_S: Final = 60.0
RUN_FOLDER: Final = "run"


class CheckpointUploadFailed(RuntimeError):
    """The last checkpoint is not even on its way to the store: nobody could use this run or go on from it."""


def main() -> int:
    sdk = callbacks.sdk()
    try:
        return train(sdk)
    except BaseException as error:
        trace = "".join(traceback.format_exception(error))
        print(trace, file=sys.stderr)
        sdk.log_error(trace[-8_000:])
        code = error.code if isinstance(error, RankFailed) else error_code_of(error)
        sdk.report_failed(code, message_of(error), callbacks.STATE.progress.epochs_done or None)
        if isinstance(error, Exception):
            return 1
        raise
    finally:
        sdk.close(CLOSE_TIMEOUT_S)


def train(sdk: TrainerSDK) -> int:
    # 1. What is asked for, checked before anything is fetched.
    config = callbacks.config()
    output = callbacks.output_folder()
    keep_to_itself(output)
    check_values(config)
    sdk.report_started(gpu_info(), total_epochs=config.basic.epochs)
    sdk.log_info("Training started", model=config.model_name, task=config.task_type, epochs=config.basic.epochs)

    # 2. The data set: fetched, checked, converted.
    data = fetch_data(sdk, config, output)
    if sdk.should_stop():
        sdk.report_stopped(sdk.resume_epoch)
        return 0

    # 3. The model: of an earlier attempt, else its architecture with the weights that our own store has.
    earlier = read_earlier(sdk, config, data, output)
    if earlier is not None and earlier.epochs_done >= config.basic.epochs:
        return report_finished(sdk, config, earlier)
    model = build_model(config.architecture)
    if earlier is None:
        load_weights(sdk, model, config)
    for event, found in callbacks.CALLBACKS.items():
        for callback in found:
            model.add_callback(event, callback)

    # 4. Train. The callbacks report; checkpoints go up while training goes on.
    began = time.monotonic()
    ranks = Ranks() if (config.gpus or 0) > 1 else None
    try:
        model.train(
            data=str(data.data_yaml),
            resume=str(earlier.path) if earlier is not None else False,
            project=str(output),
            name=RUN_FOLDER,
            save_dir=str(output / RUN_FOLDER),
            exist_ok=True,
            verbose=False,
            # The platform decides when to stop, and which checkpoints are kept.
            patience=0,
            save_period=-1,
            **config.train_arguments(),
        )
    except callbacks.StoppedBeforeTraining:
        sdk.report_stopped(sdk.resume_epoch)
        return 0
    except subprocess.CalledProcessError as error:
        failure = ranks.failure() if ranks is not None else None
        raise failure or error from error
    finally:
        if ranks is not None:
            callbacks.STATE.progress = ranks.progress

    # 5. How it ended.
    progress = callbacks.STATE.progress
    seconds = time.monotonic() - began + (earlier.seconds if earlier is not None else 0.0)
    results = training_results(progress, seconds, config)
    if sdk.settings.s3_endpoint and not progress.kept:
        raise CheckpointUploadFailed(f"the checkpoint of epoch {progress.epochs_done} could not be copied for upload")
    report_end(sdk, progress, results)
    return 0


def check_values(config: UltralyticsConfig) -> None:
    """Ultralytics' own check of its parameters, before anything is fetched. Raises InvalidConfig."""
    import torch
    from ultralytics.cfg import get_cfg

    try:
        get_cfg(overrides=config.train_arguments())
    except (SyntaxError, TypeError, ValueError) as error:
        raise InvalidConfig(str(error)) from error
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    check_device(config.basic.device, there)


def fetch_data(sdk: TrainerSDK, config: UltralyticsConfig, output: Path) -> Converted:
    dice = sdk.download_dataset(sdk.dataset_id, config.task_type)
    data = convert(Path(dice), config.task_type, output / "data", sdk.settings.config().get("split_strategy"))
    for note in data.notes:
        sdk.log_warning(note)
    sdk.log_info(f"Data set {sdk.dataset_id}: {data.counts}, {len(data.classes)} classes")
    return data


def read_earlier(sdk: TrainerSDK, config: UltralyticsConfig, data: Converted, output: Path) -> Earlier | None:
    """What this attempt goes on from, None to begin anew. Raises CheckpointNotUsable rather than to begin anew."""
    path = sdk.resume_checkpoint()
    if path is None:
        return None
    # Classification's classes are called as their folders are.
    folders = sorted(folder.name for folder in (data.folder / "train").glob("*") if folder.is_dir())
    earlier = read_checkpoint(path, config.basic.epochs, folders or data.classes)
    earlier.write_results(output / RUN_FOLDER)
    sdk.log_info(f"Going on after epoch {earlier.epochs_done} of {config.basic.epochs}, from {sdk.settings.resume_uri}")
    return earlier


def report_finished(sdk: TrainerSDK, config: UltralyticsConfig, earlier: Earlier) -> int:
    """An earlier attempt trained all epochs and was lost before it could say so."""
    progress = callbacks.STATE.progress
    progress.go_on_from(earlier, sdk.resume_step, config.primary)
    sdk.log_info("Every epoch was trained by an earlier attempt; only its end was not reported")
    report_end(sdk, progress, training_results(progress, earlier.seconds, config))
    return 0


def build_model(architecture: str) -> Any:
    # Imported here: a wrong configuration is told within a second or two, without loading all of it.
    import torch
    from ultralytics import YOLO  # type: ignore[attr-defined]  # exported lazily

    switch_off_reporters()
    refuse_downloads()
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return YOLO(architecture)


def load_weights(sdk: TrainerSDK, model: Any, config: UltralyticsConfig) -> None:
    """Pretrained ones where the job wants them and our own store has some. Raises WeightsNotUsable."""
    weights = fetch_weights(sdk, "ultralytics", config.model_name) if config.basic.pretrained else None
    if weights is not None:
        model.load(weights)
    else:
        sdk.log_info(f"{config.architecture}: built from its architecture file, with random weights")


def gpu_info() -> list[dict[str, Any]] | None:
    """Name and memory of each GPU, None without any."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_total_gb": round(gpu.total_memory / 1024**3, 1)} for gpu in found]


def training_results(progress: Progress, seconds: float, config: UltralyticsConfig) -> dict[str, Any]:
    """The design's training_results object (section 7.2). Of the whole run, over all attempts."""
    # Ultralytics takes one GPU where none is named.
    gpus = min(1, len(gpu_info() or [])) if config.gpus is None else config.gpus
    return {
        "total_epochs": progress.epochs_done,
        "best_epoch": progress.best.epoch,
        "best_metrics": dict(progress.best.metrics or {}),
        "final_metrics": progress.last_metrics,
        "training_time_seconds": round(seconds, 3),
        "gpu_hours": round(seconds / 3600 * gpus, 6),
    }


def report_end(sdk: TrainerSDK, progress: Progress, results: dict[str, Any]) -> None:
    """With the checkpoints' places, also when another attempt or another process uploaded them."""
    best = place_of(sdk, "best.pt") if progress.best.epoch is not None else None
    last = place_of(sdk, "last.pt") if progress.epochs_done else None
    if progress.stopped:
        sdk.log_info(f"Stopped after epoch {progress.epochs_done}: {sdk.stop_reason or 'asked to'}")
        sdk.report_stopped(progress.epochs_done, best, last, training_results=results)
    else:
        sdk.log_info("Training completed successfully")
        sdk.report_completed(results, best, last)


def place_of(sdk: TrainerSDK, name: str) -> str | None:
    settings = sdk.settings
    if not settings.s3_endpoint or settings.job_id is None:
        return None
    return f"s3://{settings.checkpoints_bucket}/checkpoints/{settings.job_id}/{name}"


if __name__ == "__main__":
    sys.exit(main())
