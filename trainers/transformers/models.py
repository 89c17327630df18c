"""Models from their architecture, with random weights: nothing is fetched from a model hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    DetrImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    RTDetrImageProcessor,
    ViTImageProcessor,
)

from trainers.transformers.config import Model
from trainers.weights import WeightsNotUsable
from training_sdk import CheckpointNotUsable

DETECTION: Final = "detection"
SWIN_WINDOW: Final = 7
SWIN_STRIDE: Final = 32
# Architectures whose scores are one yes or no per class; the others have a class "no object".
SIGMOID: Final = frozenset({"rt_detr"})


def model_config(model: Model, imgsz: int, classes: list[str]) -> PreTrainedConfig:
    """The library's configuration: the catalogue's arguments, the pictures' size, the data set's classes."""
    names: dict[str, Any] = {
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
    }
    backbone = model.config.get("backbone_config")
    parts = {"backbone_config": AutoConfig.for_model(**backbone)} if backbone else {}
    made: PreTrainedConfig = AutoConfig.for_model(
        model.architecture, **{**model.config, **sizes(model.architecture, imgsz), **parts, **names}
    )
    return made


def sizes(architecture: str, imgsz: int) -> dict[str, Any]:
    """The arguments of an architecture that depend on the pictures' size; a convolutional one has none."""
    if architecture == "yolos":
        return {"image_size": [imgsz, imgsz]}
    if architecture == "swin":
        # No stage may be smaller than a window: the last one has a thirty-second of the picture's side.
        return {"image_size": imgsz, "window_size": min(SWIN_WINDOW, imgsz // SWIN_STRIDE)}
    return {"image_size": imgsz} if architecture in ("vit", "mobilenet_v2") else {}


def build_model(model: Model, task_type: str, imgsz: int, classes: list[str]) -> PreTrainedModel:
    kind = AutoModelForObjectDetection if task_type == DETECTION else AutoModelForImageClassification
    built: PreTrainedModel = kind.from_config(model_config(model, imgsz, classes))  # type: ignore[no-untyped-call]
    return built


def build_processor(model: Model, task_type: str, imgsz: int) -> Any:
    """What makes numbers of pictures; it travels in each checkpoint, for whoever uses the model later."""
    size = {"height": imgsz, "width": imgsz}
    if task_type != DETECTION:
        return ViTImageProcessor(size=size)
    kind = RTDetrImageProcessor if model.architecture in SIGMOID else DetrImageProcessor
    return kind(size=size, do_pad=False)


def load_checkpoint(model: PreTrainedModel, folder: Path) -> None:
    """Take over all weights of a checkpoint's folder. Raises CheckpointNotUsable.

    Through from_pretrained: the files keep the names of the library's older versions, and its Trainer, which does not
    translate them, would go on with random weights and say so in a log line only.
    """
    try:
        saved = type(model).from_pretrained(str(folder))
        model.load_state_dict(saved.state_dict())
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointNotUsable(f"{folder.name} does not fit {type(model).__name__}: {error}") from error


def load_weights(model: PreTrainedModel, path: Path) -> tuple[int, int]:
    """Take over the weights of a file or a checkpoint's folder that have the same names and shapes.

    Returns how many of the model's tensors were found, and how many there are: the head of another number of classes
    keeps its random weights. Raises WeightsNotUsable when nothing fits.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = path if path.is_dir() else as_folder(path, Path(scratch))
        try:
            found: Any = type(model).from_pretrained(
                str(folder), config=model.config, ignore_mismatched_sizes=True, output_loading_info=True
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise WeightsNotUsable(f"{path.name} cannot be read: {error}") from error
    loaded, report = found
    tensors = loaded.state_dict()
    missing = set(report["missing_keys"]) | {mismatch[0] for mismatch in report["mismatched_keys"]}
    taken = {name: tensor for name, tensor in tensors.items() if name not in missing}
    if not taken:
        raise WeightsNotUsable(f"{path.name} has none of the {len(tensors)} tensors of {type(model).__name__}")
    model.load_state_dict(taken, strict=False)
    return len(taken), len(tensors)


def as_folder(path: Path, folder: Path) -> Path:
    """A file of weights as the library wants to find it. Raises WeightsNotUsable."""
    if path.suffix == ".safetensors":
        (folder / "model.safetensors").symlink_to(path.resolve())
        return folder
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile have errors of their own
        raise WeightsNotUsable(f"{path.name} cannot be read: {error}") from error
    inside = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    tensors = {name: tensor for name, tensor in inside.items() if isinstance(tensor, torch.Tensor)}
    if not tensors:
        raise WeightsNotUsable(f"{path.name} holds no tensors by their names")
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder
