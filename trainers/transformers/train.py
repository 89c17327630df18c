"""Train a Hugging Face model on a registered data set; everything comes from the environment, as the launcher sets it.

JOB_ID=25 MODEL_NAME=vit-tiny-patch16 TASK_TYPE=classification DATASET_ID=42 EPOCHS=5 IMGSZ=64 \
    python -m trainers.transformers.train
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.devices import check_device
from trainers.failures import error_code_of, message_of
from trainers.transformers.config import TransformersConfig, read_config
from trainers.weights import fetch_weights
from training_sdk import TrainerSDK

CLOSE_TIMEOUT_S = 60.0
FRAMEWORK = "transformers"
WEIGHTS_SUFFIX = ".safetensors"


@dataclass(slots=True)
class Progress:
    """What is known when training ends, however it ends."""

    reporter: Any = None

    @property
    def epochs_done(self) -> int:
        return self.reporter.epochs_done if self.reporter is not None else 0


def main() -> int:
    sdk = TrainerSDK.from_env()
    progress = Progress()
    try:
        return train(sdk, progress)
    except BaseException as error:
        # The library calls no callback when training ends by an exception.
        sdk.log_error("".join(traceback.format_exception(error))[-8_000:])
        sdk.report_failed(error_code_of(error), message_of(error), progress.epochs_done or None)
        if isinstance(error, Exception):
            return 1
        raise
    finally:
        sdk.close(CLOSE_TIMEOUT_S)


def train(sdk: TrainerSDK, progress: Progress) -> int:
    # 1. What is asked for, checked before anything is fetched and before the library is loaded.
    config = read_config(sdk.model_name, sdk.task_type, sdk.get_basic_config(), sdk.get_advanced_config())
    output = Path(os.environ.get("OUTPUT_PATH") or "output").resolve()
    keep_to_itself(config, output)
    from trainers.transformers import learning, models
    from trainers.transformers.checkpoints import Memory, check_folder, read_memory, steps_of_epoch
    from trainers.transformers.reports import Reporter

    arguments = learning.training_arguments(config, output / "run")
    if config.advanced.fp16 and not arguments.fp16:
        sdk.log_warning("fp16 stays off: 16-bit floats are for GPUs, and this run is on a CPU")
    on_gpu = learning.on_gpu(config)
    if not on_gpu:
        check_device(config.basic.device, 0)
    sdk.report_started(gpu_info() if on_gpu else None, total_epochs=config.basic.epochs)
    sdk.log_info("Training started", model=sdk.model_name, epochs=config.basic.epochs)

    # 2. The data set: fetched, checked, converted.
    dice = Path(sdk.download_dataset(sdk.dataset_id, config.task_type))
    data = load_data(sdk, config, dice, output / f"data-{sdk.settings.rank}")
    if sdk.should_stop():
        sdk.report_stopped(sdk.resume_epoch)
        return 0

    # 3. The model, from its architecture; with the platform's weights of it where they are wanted.
    import transformers

    transformers.set_seed(config.basic.seed)
    model = models.build_model(config.model, config.task_type, config.basic.imgsz, data.classes)
    processor = models.build_processor(config.model, config.task_type, config.basic.imgsz)
    sdk.log_info(f"{config.model.name}: built from its architecture, {model.num_parameters() / 1e6:.1f} M parameters")
    checkpoint = sdk.resume_checkpoint()
    if config.basic.pretrained and checkpoint is None:
        begin_with_weights(sdk, model, config)

    # 4. Where an earlier attempt ended.
    memory, epochs_done = Memory(), 0
    if checkpoint is not None:
        advanced, world = config.advanced, arguments.world_size
        each = steps_of_epoch(len(data.train), config.basic.batch, advanced.gradient_accumulation_steps, world)
        step = check_folder(Path(checkpoint), each, config.basic.epochs)
        memory, epochs_done = read_memory(Path(checkpoint)), step // each
        sdk.log_info(f"Going on after step {step} of {each * config.basic.epochs}")

    # 5. Train. The reporter reports; checkpoints go up while training goes on.
    primary, mode = primary_metric(sdk, config.task_type)
    reporter = progress.reporter = Reporter(
        sdk,
        primary=primary,
        mode=mode,
        memory=memory,
        epochs_done=epochs_done,
        eval_steps=config.advanced.eval_steps,
        save_steps=config.advanced.save_steps,
        save_period=config.basic.save_period,
    )
    trainer = learning.build_trainer(
        config,
        arguments,
        model=model,
        processor=processor,
        train=data.train,
        val=data.val,
        truth=data.truth,
        reporter=reporter,
    )
    trainer.train(resume_from_checkpoint=checkpoint)

    # 6. What the model says about some pictures. It is worth no failed training.
    results = training_results(reporter, gpus=int(on_gpu) * arguments.world_size)
    try:
        draw(sdk, config, trainer, data, output)
    except Exception as error:
        sdk.log_warning(f"No pictures of predictions: {message_of(error)}")

    # 7. How it ended.
    if reporter.stopped:
        sdk.log_info(f"Stopped after epoch {reporter.epochs_done}: {sdk.stop_reason or 'asked to'}")
        sdk.report_stopped(reporter.epochs_done, training_results=results)
    else:
        sdk.log_info("Training completed successfully")
        sdk.report_completed(results)
    return 0


def keep_to_itself(config: TransformersConfig, output: Path) -> None:
    """Nothing is fetched from or told to other hosts, and nothing is written into the user's home.

    To be called before the library is imported: it reads these variables then. One process uses one GPU; the library
    would take all that it sees, each with a batch of its own.
    """
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "HF_HOME": str(output / "settings"),
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    device = config.basic.device or "0"
    if device != "cpu" and "LOCAL_RANK" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpu(device, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible_gpu(device: str, visible: str | None) -> str:
    """CUDA_VISIBLE_DEVICES with that one GPU of those that are visible now; empty when there is no such one."""
    number = int(device.removeprefix("cuda").removeprefix(":") or 0)
    if visible is None:
        return str(number)
    listed = [name for name in visible.split(",") if name]
    return listed[number] if number < len(listed) else ""


@dataclass(frozen=True, slots=True)
class Data:
    """``truth`` is the COCO document of the validation's pictures, None for classification."""

    train: Any
    val: Any
    classes: list[str]
    truth: dict[str, Any] | None


def load_data(sdk: TrainerSDK, config: TransformersConfig, dice: Path, output: Path) -> Data:
    from trainers.converters import dice_to_coco, dice_to_image_folder
    from trainers.transformers.data import Augmentation, Pictures, Scenes, samples_of

    strategy = sdk.settings.config().get("split_strategy")
    augmentation = Augmentation(config.basic.seed) if config.basic.augment else None
    if config.task_type == "classification":
        folders = dice_to_image_folder.convert(dice, output, strategy)
        found = folders.notes, folders.counts, folders.classes
        train, val = (samples_of(folders, split) for split in ("train", "val"))
        data = Data(Pictures(train, augmentation), Pictures(val), folders.classes, None)
    else:
        coco = dice_to_coco.convert(dice, config.task_type, output, strategy)
        found = coco.notes, coco.counts, coco.classes
        documents = {split: json.loads(coco.annotation_files[split].read_text()) for split in ("train", "val")}
        scenes = {
            split: Scenes(document, coco.image_folders[split], augmentation if split == "train" else None)
            for split, document in documents.items()
        }
        data = Data(scenes["train"], scenes["val"], coco.classes, documents["val"])
    notes, counts, classes = found
    for note in notes:
        sdk.log_warning(note)
    sdk.log_info(f"Data set {sdk.dataset_id}: {counts}, {len(classes)} classes")
    return data


def begin_with_weights(sdk: TrainerSDK, model: Any, config: TransformersConfig) -> None:
    from trainers.transformers.models import load_weights

    path = fetch_weights(sdk, FRAMEWORK, config.model.name, WEIGHTS_SUFFIX)
    if path is not None:
        taken, of = load_weights(model, Path(path))
        sdk.log_info(f"{config.model.name}: {taken} of {of} tensors taken over from the platform's weights")


def primary_metric(sdk: TrainerSDK, task_type: str) -> tuple[str, str]:
    """Which metric makes a checkpoint the best, and whether more of it is better."""
    asked = sdk.settings.config()
    name = asked.get("primary_metric") or ("accuracy" if task_type == "classification" else "mAP50-95")
    name = str(name).removeprefix("val/").removeprefix("eval_")
    if name == "loss":
        name = "val_loss"
    # The platform's default mode is max, and nobody means a largest loss.
    mode = "min" if asked.get("primary_metric_mode") == "min" or "loss" in name else "max"
    return name, mode


def draw(sdk: TrainerSDK, config: TransformersConfig, trainer: Any, data: Data, output: Path) -> None:
    """Pictures of the model as it is now, and the confusion of classes on the validation's pictures."""
    from trainers.transformers import pictures
    from trainers.transformers.data import Collator
    from trainers.transformers.models import SIGMOID

    if not trainer.is_world_process_zero():
        return
    sigmoid = config.model.architecture in SIGMOID
    path = output / "predictions.png"
    collator = Collator(trainer.processing_class)
    pictures.draw_predictions(trainer.model, collator, data.val, data.classes, path, sigmoid=sigmoid)
    sdk.upload_artifact(str(path), "prediction")
    counts = getattr(trainer.compute_metrics, "counts", None)
    if counts is not None and len(data.classes) <= pictures.CLASSES_MAX:
        path = output / "confusion_matrix.png"
        pictures.draw_confusion(counts, data.classes, path)
        sdk.upload_artifact(str(path), "plot")


def gpu_info() -> list[dict[str, Any]]:
    """Name and memory of each GPU that this process sees."""
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_total_gb": round(gpu.total_memory / 1024**3, 1)} for gpu in found]


def training_results(reporter: Any, gpus: int) -> dict[str, Any]:
    """The design's training_results object (section 7.2)."""
    return {
        "total_epochs": reporter.epochs_done,
        "best_epoch": reporter.memory.best_epoch,
        "best_metrics": reporter.memory.best_metrics,
        "final_metrics": reporter.memory.last_metrics,
        "training_time_seconds": round(reporter.seconds, 3),
        "gpu_hours": round(reporter.seconds / 3600 * gpus, 6),
    }


if __name__ == "__main__":
    sys.exit(main())
