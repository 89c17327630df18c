"""The configuration of a timm run, checked before anything is downloaded or trained.

Neither torch nor timm is imported here: the API checks configurations with this module too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from events.config_check import did_you_mean
from trainers.configuration import InvalidConfig, read_parts

MODELS_FILE: Final = Path(__file__).with_name("models.json")
TASK: Final = "classification"
IMGSZ_MIN: Final = 32
UNUSED: Final = "Accepted and not used: the platform decides where results go."
WARMUP_EPOCHS_DEFAULT_MAX: Final = 5

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Below1 = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
PositiveShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Factor = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]

# fmt: off
Optimizer = Literal[
    "SGD", "Momentum", "Adam", "AdamW", "NAdam", "NAdamW", "RAdam", "Adamax", "Adagrad", "AdaBelief", "Adan", "ADOPT",
    "LAMB", "LARS", "Lion", "LaProp", "MADGRAD", "Muon", "RMSprop", "RMSpropTF",
]
# fmt: on
"""timm's names are these in small letters."""

# Metrics of the validation that may choose the best checkpoint, and which direction is better.
MODES: Final[dict[str, Literal["max", "min"]]] = {
    "accuracy": "max",
    "accuracy_top5": "max",
    "val_loss": "min",
    "eval_top1": "max",
    "eval_top5": "max",
    "eval_loss": "min",
}


@dataclass(frozen=True, slots=True)
class Devices:
    """``indices``: one rank per entry; of GPUs their numbers, on the CPU they only count."""

    kind: Literal["cpu", "cuda"]
    indices: tuple[int, ...]


def devices_of(device: str | None) -> Devices | None:
    """What a valid ``device`` asks for: ``cpu``, ``cpu:2`` (two processes), ``0``, ``cuda:0`` or ``0,1``.

    None: the trainer chooses.
    """
    if not device:
        return None
    if device.startswith("cpu"):
        return Devices("cpu", tuple(range(int(device.partition(":")[2] or 1))))
    numbers = device.removeprefix("cuda").removeprefix(":") or "0"
    # A GPU that is named twice counts once: two processes would only fight for it.
    return Devices("cuda", tuple(dict.fromkeys(int(number) for number in numbers.split(","))))


class BasicConfig(BaseModel):
    """Parameters that every trainer of the platform knows."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    imgsz: int = Field(
        default=224,
        ge=IMGSZ_MIN,
        le=2048,
        description="Side of the square pictures in pixels; transformers want a multiple of 16 or 32. Also image_size.",
    )
    epochs: int = Field(default=100, ge=1, le=100_000, description="Passes over the training pictures.")
    batch: int = Field(
        default=16, ge=2, le=65_536, description="Pictures of one step, of all processes together. Also batch_size."
    )
    lr0: Number = Field(
        default=0.01, gt=0, le=10, description="Highest learning rate, reached after the warm-up. Also learning_rate."
    )
    optimizer: Optimizer = Field(
        default="SGD",
        description="SGD has Nesterov's momentum, Momentum the plain one. AdamW and its kin want lr0 of about 0.001.",
    )
    augment: bool = Field(
        default=True, description="Change training pictures at random; false: no crop, flip, mixup, erasing or colours."
    )
    workers: int = Field(default=2, ge=0, le=64, description="Processes that load pictures, for each one that trains.")
    device: str | None = Field(
        default=None,
        pattern=r"^(cpu(:[1-9]\d?)?|cuda|(cuda:)?\d{1,3}(,\d{1,3})*)$",
        description="cpu, numbers of GPUs (0 or 0,1), or cpu:2 for two processes; without it the first GPU, else cpu.",
    )
    seed: int = Field(default=42, ge=0, le=2**31, description="Seed of all random choices.")
    pretrained: bool = Field(
        default=False,
        description="Begin with the weights that the platform's store has for the model, random ones without.",
    )
    cache: bool | Literal["ram", "disk"] = Field(
        default=False, description="Accepted and not used: pictures are read from the disk in each epoch."
    )
    save_period: int = Field(
        default=-1, ge=-1, le=100_000, description="Accepted and not used: each epoch's checkpoint is kept."
    )
    project: str | None = Field(default=None, max_length=1000, description=UNUSED)
    name: str | None = Field(default=None, max_length=1000, description=UNUSED)


class AdvancedConfig(BaseModel):
    """Parameters of timm, under the names of its own training script or of the platform's design."""

    model_config = ConfigDict(extra="forbid")

    # The model
    drop_rate: Below1 = Field(default=0.0, description="Dropout before the classifier.")
    drop_path_rate: Share | None = Field(
        default=None, description="Stochastic depth: share of blocks left out at random; without it the model's own."
    )
    label_smoothing: Below1 = Field(default=0.1, description="Share of each label that is spread over all classes.")
    grad_checkpointing: bool = Field(default=False, description="Less memory for more time: compute activations twice.")
    sync_bn: bool = Field(default=False, description="Batch norm over all GPUs, where there are several.")

    # Augmentation of pictures
    aa: str | None = Field(
        default=None,
        max_length=200,
        description="AutoAugment policy, e.g. rand-m9-mstd0.5, augmix-m3-w3 or original; without it none.",
    )
    color_jitter: Share = Field(default=0.4, description="Change of brightness, contrast and saturation; not with aa.")
    scale: tuple[PositiveShare, PositiveShare] = Field(
        default=(0.08, 1.0), description="Least and most that a random crop keeps of a picture's area."
    )
    ratio: tuple[Positive, Positive] = Field(
        default=(0.75, 1.3333), description="Least and most that a random crop is wide for its height."
    )
    hflip: Share = Field(default=0.5, description="Probability that a picture is mirrored left to right.")
    vflip: Share = Field(default=0.0, description="Probability that a picture is mirrored upside down.")
    reprob: Share = Field(default=0.0, description="Probability that a rectangle of a picture is erased.")
    remode: Literal["const", "rand", "pixel"] = Field(
        default="pixel", description="What fills it: black, one random colour, or a random colour a pixel."
    )
    recount: int = Field(default=1, ge=1, le=64, description="Rectangles that are erased.")
    crop_pct: PositiveShare | None = Field(
        default=None, description="Side of the middle part that validation sees; without it the model's own."
    )

    # Augmentation of batches
    mixup_alpha: Factor = Field(default=0.0, description="Mixup, two pictures blended; 0: off.")
    cutmix_alpha: Factor = Field(default=0.0, description="CutMix, a part of one picture put into another; 0: off.")
    mixup_prob: Share = Field(default=1.0, description="Probability that a batch is mixed at all.")
    mixup_switch_prob: Share = Field(default=0.5, description="Probability of CutMix where both are on.")
    mixup_mode: Literal["batch", "pair", "elem"] = Field(
        default="batch", description="One mixture for the batch, for each pair, or for each picture."
    )
    mixup_off_epoch: int = Field(default=0, ge=0, le=100_000, description="Epoch from which nothing is mixed; 0: none.")

    # Optimizer and schedule
    weight_decay: Factor = Field(default=2e-5, description="Not of biases and norms; AdamW wants about 0.05.")
    momentum: Below1 = Field(default=0.9, description="Of the optimizers that have one.")
    opt_eps: Number | None = Field(default=None, gt=0, le=1, description="Epsilon of AdamW and its kin.")
    opt_betas: tuple[Below1, Below1] | None = Field(default=None, description="Betas of AdamW and its kin.")
    layer_decay: PositiveShare | None = Field(
        default=None, description="Each layer learns slower by this factor than the one after it; without it all alike."
    )
    clip_grad: Number | None = Field(default=None, gt=0, le=1e6, description="Limit of the gradients; without it none.")
    clip_mode: Literal["norm", "value", "agc"] = Field(
        default="norm", description="What is limited: the norm of all, each value, or each by its weight's norm (agc)."
    )
    grad_accum_steps: int = Field(
        default=1, ge=1, le=1024, description="Batches whose gradients make one step of the optimizer."
    )
    sched: Literal["cosine", "tanh", "step", "poly", "constant"] = Field(
        default="cosine", description="How the learning rate falls after the warm-up."
    )
    warmup_epochs: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="Epochs in which the learning rate rises to lr0; without it a tenth of all, at most 5.",
    )
    warmup_lr: Factor = Field(default=1e-5, description="Learning rate that the warm-up begins with.")
    min_lr: Factor = Field(default=0.0, description="Learning rate that the schedule ends with.")
    cooldown_epochs: int = Field(default=0, ge=0, le=100_000, description="Last epochs, trained with min_lr.")
    decay_epochs: int = Field(default=90, ge=1, le=100_000, description="Of sched step: epochs between two falls.")
    decay_rate: Positive = Field(default=0.1, description="Of sched step: factor of a fall; of sched poly: the power.")

    # What is kept, and how it is computed
    model_ema: bool = Field(
        default=False, description="Keep a moving average of the weights; it is what is validated and compared."
    )
    model_ema_decay: Below1 = Field(default=0.9999, description="How much of the average each step keeps.")
    model_ema_warmup: bool = Field(
        default=True,
        description="Begin with a smaller decay; else the average of a short run is mostly its beginning.",
    )
    amp: bool = Field(default=False, description="Mixed precision.")
    amp_dtype: Literal["float16", "bfloat16"] = Field(
        default="bfloat16", description="Of mixed precision; float16 is for GPUs only."
    )
    channels_last: bool = Field(default=False, description="The memory layout that convolutions on GPUs prefer.")

    @field_validator("scale", "ratio")
    @classmethod
    def _ordered(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if pair[0] > pair[1]:
            raise ValueError(f"the least, {pair[0]}, is above the most, {pair[1]}")
        return pair


class TimmConfig(BaseModel):
    """What a run is to do, all of it."""

    architecture: str
    basic: BasicConfig
    advanced: AdvancedConfig
    primary_metric: str
    primary_mode: Literal["max", "min"]

    @property
    def warmup_epochs(self) -> int:
        given = self.advanced.warmup_epochs
        return given if given is not None else min(WARMUP_EPOCHS_DEFAULT_MAX, self.basic.epochs // 10)

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed."""
        advanced = self.advanced
        return self.basic.augment and (advanced.mixup_alpha > 0 or advanced.cutmix_alpha > 0)


@cache
def models() -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in json.loads(MODELS_FILE.read_text())["models"]}


def read_config(
    model_name: str | None, task_type: str | None, basic: dict[str, Any], advanced: dict[str, Any]
) -> TimmConfig:
    """Raises InvalidConfig naming every problem."""
    problems: list[str] = []
    model = models().get(model_name or "")
    if model is None:
        problems.append(f"model {model_name!r:.100} is not known{did_you_mean(model_name, models())}")
    if task_type not in (None, "", TASK):
        problems.append(f"task_type is {task_type!r:.60}; timm trains {TASK} only")
    found_basic, found_advanced, faults = read_parts(BasicConfig, AdvancedConfig, basic, advanced)
    problems += faults
    primary, mode = primary_of(basic, problems)
    if found_basic is not None and found_advanced is not None:
        problems += contradictions(found_basic, found_advanced, model or {})
    if problems:
        raise InvalidConfig("; ".join(problems))
    assert model is not None and found_basic is not None and found_advanced is not None
    return TimmConfig(
        architecture=model["architecture"],
        basic=found_basic,
        advanced=found_advanced,
        primary_metric=primary,
        primary_mode=mode,
    )


def primary_of(basic: dict[str, Any], problems: list[str]) -> tuple[str, Literal["max", "min"]]:
    """Which metric chooses the best checkpoint. The lowest loss is best even where the mode says max: the platform
    fills in that word for everybody who gave none."""
    name = basic.get("primary_metric") or "accuracy"
    if not isinstance(name, str) or name not in MODES:
        problems.append(
            f"config.primary_metric: {name!r:.60} is not one of {', '.join(MODES)}{did_you_mean(name, MODES)}"
        )
        return "accuracy", "max"
    mode = basic.get("primary_metric_mode") or MODES[name]
    if mode not in ("max", "min"):
        problems.append(f"config.primary_metric_mode: {mode!r:.60} is neither max nor min")
    return name, "min" if mode == "min" or MODES[name] == "min" else "max"


def contradictions(basic: BasicConfig, advanced: AdvancedConfig, model: dict[str, Any]) -> list[str]:
    """Values that are right by themselves and not together."""
    problems = []
    step, least = model.get("imgsz_multiple_of", 1), model.get("imgsz_min", IMGSZ_MIN)
    if basic.imgsz % step:
        problems.append(f"config.imgsz: {model['name']} wants a multiple of {step}, {basic.imgsz} is none")
    if basic.imgsz < least:
        problems.append(f"config.imgsz: {model['name']} wants at least {least}, not {basic.imgsz}")
    devices = devices_of(basic.device)
    ranks = len(devices.indices) if devices is not None else 1
    if basic.batch % ranks:
        problems.append(f"config.batch: {basic.batch} cannot be shared by {ranks} processes equally")
    if basic.augment and (advanced.mixup_alpha or advanced.cutmix_alpha) and (basic.batch // ranks) % 2:
        problems.append("config.batch: mixup and cutmix mix pairs, so the batch of each process must be even")
    if (advanced.warmup_epochs or 0) + advanced.cooldown_epochs >= basic.epochs and (
        advanced.warmup_epochs or advanced.cooldown_epochs
    ):
        problems.append(
            f"advanced_config.warmup_epochs: with cooldown_epochs {advanced.cooldown_epochs} nothing is left of "
            f"{basic.epochs} epochs"
        )
    if advanced.amp and advanced.amp_dtype == "float16" and devices is not None and devices.kind == "cpu":
        problems.append("advanced_config.amp_dtype: float16 is for GPUs, bfloat16 works on a CPU")
    return problems
