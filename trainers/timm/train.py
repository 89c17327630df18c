"""Train a timm classifier on a registered data set; everything comes from the environment, as the launcher sets it.

JOB_ID=25 MODEL_NAME=resnet10t TASK_TYPE=classification DATASET_ID=42 EPOCHS=5 IMGSZ=64 python -m trainers.timm.train

With ``device`` 0,1 or cpu:2 it starts itself again, once a device; torchrun may as well start it.
"""

from __future__ import annotations

import math
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainers.converters.dice_to_image_folder import ImageFolders, convert
from trainers.failures import error_code_of, message_of
from trainers.timm import ranks as places
from trainers.timm.config import TASK, devices_of, read_config
from trainers.timm.progress import Progress
from trainers.weights import fetch_weights
from training_sdk import RunSettings, TrainerSDK
from training_sdk.settings import BASIC_DEFAULTS

if TYPE_CHECKING:
    from trainers.timm.data import Loaders
    from trainers.timm.epochs import Validation

CLOSE_TIMEOUT_S: Final = 60.0
CHECKPOINT: Final = "last.pt"


def main() -> int:
    # Not from_env: a process that only starts the others reports nothing, so it opens nothing either.
    sdk = TrainerSDK(RunSettings.from_env())
    output = Path(sdk.settings.output_path or "output").resolve()
    progress = Progress()
    try:
        return train(sdk, output, progress)
    except BaseException as error:
        trace = "".join(traceback.format_exception(error))
        print(trace, file=sys.stderr)
        if sdk.settings.rank > 0:
            places.note_failure(output, error)
        else:
            sdk.log_error(trace[-8_000:])
            code, message = places.failure_of_another(output, error) or (error_code_of(error), message_of(error))
            sdk.report_failed(code, message, progress.epochs_done or None)
        if isinstance(error, Exception):
            return 1
        raise
    finally:
        sdk.close(CLOSE_TIMEOUT_S)


def train(sdk: TrainerSDK, output: Path, progress: Progress) -> int:
    # 1. What is asked for, checked before anything is fetched.
    config = read_config(sdk.model_name, sdk.task_type, given_config(sdk), sdk.get_advanced_config())
    output.mkdir(parents=True, exist_ok=True)
    # Imported here: a wrong configuration is told within a second, without loading torch.
    from timm.utils import random_seed

    from trainers.timm import checkpoints
    from trainers.timm.data import load
    from trainers.timm.epochs import check_finite, train_epoch, validate
    from trainers.timm.parts import build, check_parts, create_model, normalization

    devices = places.choose_devices(devices_of(config.basic.device))
    check_parts(config)

    # 2. Several devices: a process for each, which does all that follows; this one waits for them.
    if len(devices.indices) > 1 and not places.under_torchrun():
        return places.start_ranks(len(devices.indices), output)
    sdk.start()
    ranks = places.join(devices, output)
    if ranks.speaks:
        sdk.report_started(gpu_info(), total_epochs=config.basic.epochs)
        sdk.log_info("Training started", model=sdk.model_name, epochs=config.basic.epochs, processes=ranks.count)

    # 3. The data set: fetched, checked and converted by rank 0.
    data = ranks.share(fetch_data(sdk, output) if ranks.speaks else None)
    assert data is not None
    if ranks.share(sdk.should_stop()):
        sdk.report_stopped(sdk.resume_epoch)
        return 0

    # 4. The model, with random or pretrained weights, and all that trains it.
    checkpoint = ranks.share(sdk.resume_checkpoint() if ranks.speaks else None)
    wanted = config.basic.pretrained and checkpoint is None
    weights = ranks.share(fetch_weights(sdk, "timm", config.architecture) if wanted and ranks.speaks else None)
    random_seed(config.basic.seed)
    model = create_model(config, len(data.classes), weights)
    normal = normalization(config, model)
    loaders = load(data.folder, list(data.class_folders), config, ranks, normal)
    updates_per_epoch = math.ceil(len(loaders.train) / config.advanced.grad_accum_steps)
    parts = build(config, model, len(data.classes), updates_per_epoch, ranks)
    if parts.ema is not None:
        sdk.log_info("Validated, reported and compared is the moving average of the weights (model_ema), not the model")

    # 5. Where an earlier attempt ended, with its schedule.
    if checkpoint is not None:
        checkpoints.restore(checkpoint, parts, progress, config, data.classes, ranks.device)
        sdk.log_info(f"Going on after epoch {progress.epochs_done} (step {progress.step}) of an earlier attempt")

    # 6. Epochs.
    began, done_before, total, stopped = time.monotonic(), progress.epochs_done, config.basic.epochs, False
    seconds_before = progress.seconds
    shown: tuple[int, Validation] | None = None
    for epoch in range(progress.epochs_done + 1, total + 1):
        # The same draws in this epoch whether or not an attempt ended before it.
        random_seed(config.basic.seed + epoch * ranks.count, ranks.rank)
        sdk.report_progress(epoch, total, "train", eta(began, epoch - 1 - done_before, total - epoch + 1))
        trained = train_epoch(epoch, parts, loaders, config, ranks, progress, sdk)
        sdk.report_metrics(epoch, "train", trained)
        validation = validate(parts, loaders, config, ranks, len(data.classes))
        metrics = validation.metrics()
        sdk.report_metrics(epoch, "val", metrics)
        sdk.report_progress(epoch, total, "val", eta(began, epoch - done_before, total - epoch))
        if warning := check_finite(parts, epoch, trained["loss"]):
            sdk.log_warning(warning, epoch=epoch)
        is_best = progress.note_epoch(epoch, metrics, config)
        progress.seconds = seconds_before + time.monotonic() - began
        sdk.log_info(
            f"Epoch {epoch}/{total}: loss {trained['loss']:.4f}, accuracy {validation.top1:.4f}, "
            f"val_loss {validation.loss:.4f}{', the best so far' if is_best else ''}",
            epoch=epoch,
        )
        if is_best or shown is None or shown[0] != progress.best_epoch:
            shown = (epoch, validation)
        if ranks.speaks:
            path = output / CHECKPOINT
            checkpoints.save(path, parts, progress, config, data.classes, normal)
            sdk.upload_checkpoint(str(path), is_best, epoch=epoch, metrics=metrics, step=progress.step, resumable=True)
        # What rank 0 sees counts for all: one that left alone would leave the others waiting. After the last epoch
        # there is nothing to stop.
        stopped = ranks.share(sdk.should_stop()) and epoch < total
        if stopped:
            break

    # 7. How it ended.
    if ranks.speaks:
        if shown is not None:
            upload_pictures(sdk, output, data, loaders, shown)
        results = training_results(progress, ranks)
        if stopped:
            sdk.log_info(f"Stopped after epoch {progress.epochs_done}: {sdk.stop_reason or 'asked to'}")
            sdk.report_stopped(progress.epochs_done, training_results=results)
        else:
            sdk.log_info("Training completed successfully")
            sdk.report_completed(results)
    places.leave()
    return 0


def given_config(sdk: TrainerSDK) -> dict[str, Any]:
    """What somebody gave, without the SDK's own defaults: this trainer has others."""
    everything = {name: value for name, value in sdk.settings.config().items() if name != "advanced_config"}
    basic = {
        name: value
        for name, value in sdk.get_basic_config().items()
        if name not in BASIC_DEFAULTS or sdk.settings.was_given(name)
    }
    return {**everything, **basic}


def fetch_data(sdk: TrainerSDK, output: Path) -> ImageFolders:
    dice = sdk.download_dataset(sdk.dataset_id, TASK)
    data = convert(Path(dice), output / "data", sdk.settings.config().get("split_strategy"))
    for note in data.notes:
        sdk.log_warning(note)
    sdk.log_info(f"Data set {sdk.dataset_id}: {data.counts}, {len(data.classes)} classes")
    return data


def upload_pictures(
    sdk: TrainerSDK, output: Path, data: ImageFolders, loaders: Loaders, shown: tuple[int, Validation]
) -> None:
    """Of the best epoch of this attempt: the confusion matrix, and what it says of some pictures of val."""
    from trainers.timm import pictures

    epoch, validation = shown
    if validation.confusion is not None:
        path = output / "confusion_matrix.png"
        pictures.confusion_matrix(validation.confusion.tolist(), data.classes).save(path)
        sdk.upload_artifact(str(path), "plot", path.name, epoch)
    path = output / "predictions.png"
    pictures.predictions(pictures.chosen(loaders, validation, data.classes)).save(path)
    sdk.upload_artifact(str(path), "prediction", path.name, epoch)


def eta(began: float, done: int, left: int) -> float | None:
    """Seconds left, from the mean duration of this attempt's epochs so far; None before the first has ended."""
    return (time.monotonic() - began) / done * left if done else None


def gpu_info() -> list[dict[str, Any]] | None:
    """Name and memory of each GPU, None without any."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_total_gb": round(gpu.total_memory / 1024**3, 1)} for gpu in found]


def training_results(progress: Progress, ranks: places.Ranks) -> dict[str, Any]:
    """The design's training_results object (section 7.2)."""
    gpus = ranks.count if ranks.device.type == "cuda" else 0
    return {
        "total_epochs": progress.epochs_done,
        "best_epoch": progress.best_epoch,
        "best_metrics": progress.best_metrics,
        "final_metrics": progress.last_metrics,
        "training_time_seconds": round(progress.seconds, 3),
        "gpu_hours": round(progress.seconds / 3600 * gpus, 6),
    }


if __name__ == "__main__":
    sys.exit(main())
