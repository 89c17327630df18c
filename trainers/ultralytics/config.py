"""The configuration of an Ultralytics run, checked before anything is downloaded or trained.

Neither torch nor ultralytics is imported here: the catalogue registers what this file says.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from events.config_check import did_you_mean
from events.types.vocabulary import canonical_task_type
from trainers.configuration import InvalidConfig, read_parts
from trainers.ultralytics.names import DEFAULT_TASK, SUFFIXES, Primary, measured_of, with_suffix

MODELS_FILE: Final = Path(__file__).with_name("models.json")
IMGSZ_STEP: Final = 32
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Optimizer = Literal["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSProp", "MuSGD", "auto"]


def share(default: float, text: str) -> Any:
    return Field(default=default, ge=0, le=1, description=text)


class BasicConfig(BaseModel):
    """Parameters that every trainer of the platform knows."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    imgsz: int = Field(
        default=640,
        ge=IMGSZ_STEP,
        le=8192,
        multiple_of=IMGSZ_STEP,
        description=f"Side of the pictures in pixels, a multiple of {IMGSZ_STEP}. Also accepted as image_size.",
    )
    epochs: int = Field(default=100, ge=1, le=100_000, description="Passes over the training pictures.")
    batch: int = Field(default=16, ge=1, le=4096, description="Pictures of one step. Also accepted as batch_size.")
    lr0: Number = Field(
        default=0.01, gt=0, le=1, description="Learning rate after the warm-up. Also accepted as learning_rate."
    )
    optimizer: Optimizer = Field(
        default="SGD", description="Optimizer; auto lets Ultralytics choose it, and the learning rate with it."
    )
    augment: bool = Field(
        default=True,
        description="Whether pictures are changed at random; false sets all augmentations to 0 that are not given.",
    )
    pretrained: bool = Field(
        default=True,
        description="Begin with the weights that the platform's store has for the model; with random ones if none.",
    )
    cache: bool | Literal["ram", "disk"] = Field(
        default=False, description="Keep the pictures in memory (true, ram) or decoded on the disk (disk)."
    )
    workers: int = Field(default=0, ge=0, le=64, description="Processes that load pictures; 0: the trainer itself.")
    device: str | None = Field(
        default=None, pattern=r"^(cpu|mps|(cuda:)?\d+(,\d+)*)$", description="cpu, or numbers of GPUs: 0 or 0,1."
    )
    seed: int = Field(default=0, ge=0, le=2**31, description="Seed of all random choices.")
    save_period: int = Field(
        default=-1, ge=-1, le=100_000, description="Keep a checkpoint every so many epochs; -1: the best and last only."
    )
    project: str | None = Field(
        default=None, max_length=1000, description="Accepted and not used: the platform decides where results go."
    )
    name: str | None = Field(
        default=None, max_length=1000, description="Accepted and not used: the platform decides where results go."
    )


def add_other_parameters(schema: dict[str, Any]) -> None:
    """Ultralytics' many others, by name and kind of value; its own check knows their ranges."""
    own = schema["properties"]
    for name, default in sorted(parameters().items()):
        if name not in own and name not in OURS and name not in BasicConfig.model_fields:
            kind = None if name in OF_SEVERAL_KINDS else kind_of(default)
            text = f"Ultralytics' parameter {name}, handed on as it is."
            own[name] = {"title": name, **({"type": kind} if kind else {}), "description": text, "default": default}
    schema["additionalProperties"] = False


class AdvancedConfig(BaseModel):
    """Ultralytics' own parameters; others of its many may be given, by their names, and are handed on as they are."""

    model_config = ConfigDict(extra="allow", json_schema_extra=add_other_parameters)

    # Augmentation
    mosaic: Number = share(1.0, "Probability that four pictures are put together to one.")
    mixup: Number = share(0.0, "Probability that two pictures are laid over each other.")
    cutmix: Number = share(0.0, "Probability that a piece of another picture is put in.")
    copy_paste: Number = share(0.0, "Probability that objects are copied into other pictures (segmentation).")
    degrees: Number = Field(default=0.0, ge=-180, le=180, description="Rotation by up to so many degrees.")
    translate: Number = share(0.1, "Shift by up to this share of the picture.")
    scale: Number = Field(default=0.5, ge=0, le=1, description="Larger or smaller by up to this share.")
    shear: Number = Field(default=0.0, ge=-180, le=180, description="Shear by up to so many degrees.")
    perspective: Number = Field(default=0.0, ge=0, le=0.001, description="Strength of a change of perspective.")
    flipud: Number = share(0.0, "Probability of a flip upside down.")
    fliplr: Number = share(0.5, "Probability of a flip from left to right.")
    bgr: Number = share(0.0, "Probability that the colour channels are swapped.")
    hsv_h: Number = share(0.015, "Change of the hue by up to this share.")
    hsv_s: Number = share(0.7, "Change of the saturation by up to this share.")
    hsv_v: Number = share(0.4, "Change of the brightness by up to this share.")
    erasing: Number = share(0.4, "Probability that a piece is erased (classification).")
    auto_augment: Literal["randaugment", "autoaugment", "augmix"] | None = Field(
        default="randaugment", description="Policy of automatic augmentation (classification)."
    )
    multi_scale: bool | Share = Field(
        default=False, description="Change the size of the pictures from step to step: a switch, or by which share."
    )
    close_mosaic: int = Field(default=10, ge=0, le=100_000, description="Last epochs that are trained without mosaic.")
    # Learning rate and regularisation
    cos_lr: bool = Field(default=False, description="Let the learning rate fall along a cosine.")
    lrf: Number = share(0.01, "Learning rate at the end, as a share of lr0.")
    momentum: Number = share(0.937, "Momentum of SGD, beta1 of Adam.")
    weight_decay: Number = share(0.0005, "Decay of the weights.")
    warmup_epochs: Number = Field(default=3.0, ge=0, le=1000, description="Epochs in which the learning rate rises.")
    warmup_momentum: Number = share(0.8, "Momentum at the start of the warm-up.")
    warmup_bias_lr: Number = share(0.1, "Learning rate of the biases at the start of the warm-up.")
    dropout: Number = share(0.0, "Dropout (classification).")
    # Losses
    box: Number = Field(default=7.5, ge=0, le=1000, description="Weight of the boxes' loss.")
    cls: Number = Field(default=0.5, ge=0, le=1000, description="Weight of the classes' loss.")
    dfl: Number = Field(default=1.5, ge=0, le=1000, description="Weight of the distribution focal loss.")
    pose: Number = Field(default=12.0, ge=0, le=1000, description="Weight of the keypoints' loss (pose).")
    kobj: Number = Field(default=1.0, ge=0, le=1000, description="Weight of the keypoints' presence (pose).")
    # Validation
    iou: Share | None = Field(default=None, description="Overlap above which boxes are one, in validation.")
    nms: bool | Share | None = Field(
        default=None, description="A number means iou; true or false is Ultralytics' own switch."
    )
    conf: Share | None = Field(default=None, description="Least confidence of a box, in validation.")
    plots: bool = Field(
        default=True, description="Draw confusion matrix, curves and sample predictions, and keep them as artifacts."
    )
    max_det: int = Field(default=300, ge=1, le=100_000, description="Most boxes of a picture, in validation.")


AUGMENTATIONS: Final = (
    *("mosaic", "mixup", "cutmix", "copy_paste", "degrees", "translate", "scale", "shear", "perspective", "flipud"),
    *("fliplr", "bgr", "hsv_h", "hsv_s", "hsv_v", "erasing"),
)
NO_AUGMENTATION: Final[Mapping[str, Any]] = {**dict.fromkeys(AUGMENTATIONS, 0.0), "auto_augment": None}
"""What ``augment: false`` means."""

# Arguments that the platform decides itself; given ones would send files, names or reports elsewhere, or change what
# a resumed run would then not find again.
OURS: Final = frozenset(
    {
        *("data", "model", "project", "name", "exist_ok", "resume", "save", "save_dir", "mode", "task", "cfg"),
        *("patience", "pretrained", "time", "verbose", "augment", "cache", "workers", "device", "seed", "epochs"),
        *("batch", "imgsz", "lr0", "optimizer", "save_period"),
        # Of prediction, export and tracking: training does not look at them.
        *("source", "vid_stride", "stream_buffer", "visualize", "retina_masks", "embed", "show", "save_frames"),
        *("save_txt", "save_conf", "save_crop", "show_labels", "show_conf", "show_boxes", "line_width", "format"),
        *("optimize", "dynamic", "simplify", "opset", "workspace", "tracker", "quantize", "distill_model"),
    }
)
OF_SEVERAL_KINDS: Final = frozenset({"amp", "compile", "fraction"})
"""A switch or text, a share, a count or a list: the default does not say what is allowed."""
NOT_HANDED_ON: Final = frozenset({"project", "name", "pretrained", "augment", "save_period"})
"""Basic parameters that do not go to Ultralytics under their own name."""


class UltralyticsConfig(BaseModel):
    model_name: str
    """With the suffix of its task."""
    task_type: str
    architecture: str
    basic: BasicConfig
    advanced: AdvancedConfig
    primary: Primary

    @property
    def gpus(self) -> int | None:
        """How many are asked for; None: whatever is there."""
        device = self.basic.device
        if device is None:
            return None
        return 0 if device in ("cpu", "mps") else device.count(",") + 1

    def train_arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``YOLO.train`` that come from the job."""
        advanced = self.advanced.model_dump(exclude_none=True)
        # Here none is a value: no policy at all.
        advanced["auto_augment"] = self.advanced.auto_augment
        nms = advanced.pop("nms", None)
        if nms is not None and not isinstance(nms, bool):
            # The design's `nms: 0.7` is the threshold that Ultralytics calls iou; its own nms is a switch.
            advanced.setdefault("iou", nms)
        elif nms is not None:
            advanced["nms"] = nms
        if not self.basic.augment:
            # Ultralytics' own `augment` is about prediction; what the platform means are these.
            given = self.advanced.model_fields_set
            advanced |= {name: value for name, value in NO_AUGMENTATION.items() if name not in given}
        basic = self.basic.model_dump(exclude_none=True, exclude=set(NOT_HANDED_ON))
        return {**basic, **advanced}


@cache
def models() -> dict[str, dict[str, Any]]:
    """The entries of models.json by name."""
    return {model["name"]: model for model in json.loads(MODELS_FILE.read_text())["models"]}


def model_problems(model_name: str | None, task_type: str) -> list[str]:
    """What is wrong with the model that was asked for."""
    name = plain_name(model_name)
    if task_type not in SUFFIXES:
        return [f"task {task_type!r} is not one of {', '.join(SUFFIXES)}"]
    if name not in models():
        meant = did_you_mean(name, models())
        return [f"model {model_name!r} is not known; there are {', '.join(sorted(models()))}{meant}"]
    tasks = models()[name]["task_types"]
    if task_type not in tasks:
        return [f"model {model_name} is for {' and '.join(tasks)}, not for {task_type}"]
    return []


def primary_problems(primary: Primary, task_type: str) -> list[str]:
    """A metric that is never measured would make the first epoch the best for ever."""
    names = measured_of(task_type) if task_type in SUFFIXES else (primary.name,)
    if primary.name in names:
        return []
    meant = did_you_mean(primary.name, names)
    return [f"config.primary_metric: {primary.name!r:.60} is not one of {', '.join(names)}{meant}"]


def plain_name(model_name: str | None) -> str:
    """A model's name with or without ``.pt``."""
    return (model_name or "").removesuffix(".pt").removesuffix(".yaml")


@cache
def parameters() -> dict[str, Any]:
    """All that Ultralytics knows and its defaults, from its file of them: importing it would load torch first."""
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("ultralytics is not installed")
    defaults: dict[str, Any] = yaml.safe_load((Path(spec.origin).parent / "cfg" / "default.yaml").read_text())
    return defaults


def kind_of(default: Any) -> str | None:
    """JSON Schema's name for the kind of a value; None for text or no default, where others are possible."""
    return {bool: "boolean", int: "number", float: "number"}.get(type(default))


def read_config(
    model_name: str | None, task_type: str | None, basic: dict[str, Any], advanced: dict[str, Any]
) -> UltralyticsConfig:
    """Raises InvalidConfig naming every problem. ``basic`` may hold the platform's keys as well."""
    task = str(canonical_task_type(task_type or DEFAULT_TASK))
    primary = Primary.of(task, basic)
    problems = [*model_problems(model_name, task), *primary_problems(primary, task)]
    ours = sorted(OURS.intersection(advanced))
    if ours:
        problems.append(f"advanced_config: set by the platform and not by a job: {', '.join(ours)}")
    others = {name: value for name, value in advanced.items() if name not in OURS}
    read_basic, read_advanced, found = read_parts(BasicConfig, AdvancedConfig, basic, others)
    problems += found
    if problems or read_basic is None or read_advanced is None:
        raise InvalidConfig("; ".join(problems))
    name = with_suffix(plain_name(model_name), task)
    return UltralyticsConfig(
        model_name=name,
        task_type=task,
        architecture=f"{name}.yaml",
        basic=read_basic,
        advanced=read_advanced,
        primary=primary,
    )
