"""The configuration of a transformers run, checked before anything is downloaded or trained.

Neither torch nor transformers is imported here: the catalogue registers what this file says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from events.config_check import did_you_mean
from events.types.vocabulary import JsonObject
from trainers.configuration import InvalidConfig, read_parts

MODELS_FILE: Final = Path(__file__).with_name("models.json")
IMGSZ_STEP: Final = 32
Number = Annotated[float, Field(allow_inf_nan=False)]
Optimizer = Literal["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]
Scheduler = Literal["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"]
UNUSED: Final = "Accepted and not used: the platform decides where results go."


class BasicConfig(BaseModel):
    """Parameters that every trainer of the platform knows."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    imgsz: int = Field(
        default=224,
        ge=IMGSZ_STEP,
        le=2048,
        multiple_of=IMGSZ_STEP,
        description=f"Side of the square pictures in pixels, a multiple of {IMGSZ_STEP}. Also accepted as image_size.",
    )
    epochs: int = Field(default=100, ge=1, le=100_000, description="Passes over the training pictures.")
    batch: int = Field(
        default=16, ge=1, le=4096, description="Pictures of one forward pass. Also accepted as batch_size."
    )
    lr0: Number = Field(
        default=0.0005, gt=0, le=10, description="Learning rate after the warm-up. Also accepted as learning_rate."
    )
    optimizer: Optimizer = Field(
        default="AdamW", description="Optimizer; SGD has momentum and wants a larger lr0 than the others."
    )
    augment: bool = Field(
        default=True, description="Whether training pictures are flipped and change their colours at random."
    )
    pretrained: bool = Field(
        default=True,
        description="Begin with the weights that the platform's store has for the model; with random ones if none.",
    )
    workers: int = Field(default=0, ge=0, le=64, description="Processes that load pictures; 0: the trainer itself.")
    device: str | None = Field(
        default=None,
        pattern=r"^(cpu|cuda|(cuda:)?\d+)$",
        description="cpu, or the number of one GPU; the first GPU if none is given. torchrun uses several.",
    )
    seed: int = Field(default=0, ge=0, le=2**31, description="Seed of all random choices.")
    cache: bool | Literal["ram", "disk"] = Field(
        default=False, description="Accepted and not used: pictures are read from the disk in each epoch."
    )
    save_period: int = Field(
        default=-1,
        ge=-1,
        le=100_000,
        description="Keep a checkpoint under its epoch's number every so many epochs; -1: the best and last only.",
    )
    project: str | None = Field(default=None, max_length=1000, description=UNUSED)
    name: str | None = Field(default=None, max_length=1000, description=UNUSED)


class AdvancedConfig(BaseModel):
    """Parameters of the library's Trainer, under its names."""

    model_config = ConfigDict(extra="forbid")

    gradient_checkpointing: bool = Field(
        default=False, description="Less memory for more time: activations are computed again in the backward pass."
    )
    fp16: bool = Field(
        default=False, description="Mixed precision with 16-bit floats. On a CPU it stays off, with a warning."
    )
    bf16: bool = Field(default=False, description="Mixed precision with bfloat16.")
    tf32: bool | None = Field(
        default=None, description="TensorFloat-32 on GPUs that have it; torch decides if not given."
    )
    gradient_accumulation_steps: int = Field(
        default=1, ge=1, le=1024, description="Batches whose gradients make one step of the optimizer."
    )
    warmup_ratio: Number = Field(
        default=0.0, ge=0, lt=1, description="Share of all steps in which the learning rate rises to lr0."
    )
    warmup_steps: int = Field(
        default=0, ge=0, le=10_000_000, description="The same as a number of steps; counts before warmup_ratio."
    )
    lr_scheduler_type: Scheduler = Field(default="linear", description="How the learning rate falls after the warm-up.")
    weight_decay: Number = Field(default=0.0, ge=0, le=1, description="Decay of the weights, not of biases and norms.")
    max_grad_norm: Number = Field(default=1.0, ge=0, le=1000, description="Gradients are cut to this norm; 0: never.")
    label_smoothing_factor: Number = Field(
        default=0.0, ge=0, lt=1, description="Share of a label that is spread over all classes (classification)."
    )
    momentum: Number = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD and RMSprop.")
    adam_beta1: Number = Field(default=0.9, ge=0, lt=1, description="First beta of Adam and AdamW.")
    adam_beta2: Number = Field(default=0.999, ge=0, lt=1, description="Second beta of Adam and AdamW.")
    adam_epsilon: Number = Field(default=1e-8, gt=0, le=1, description="Epsilon of Adam and AdamW.")
    logging_steps: int = Field(
        default=1, ge=1, le=10_000_000, description="Training metrics are reported every so many steps."
    )
    eval_steps: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Validate every so many steps, and after each epoch anyway."
    )
    save_steps: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Upload a checkpoint every so many steps, and after each epoch anyway.",
    )


# Names that a user of transformers expects here, and where the platform has them.
ELSEWHERE: Final = {
    "learning_rate": "config.lr0",
    "num_train_epochs": "config.epochs",
    "max_steps": "config.epochs",
    "per_device_train_batch_size": "config.batch",
    "per_device_eval_batch_size": "config.batch",
    "optim": "config.optimizer",
    "dataloader_num_workers": "config.workers",
    "use_cpu": "config.device",
    "data_seed": "config.seed",
    "image_size": "config.imgsz",
}
OURS: Final = frozenset(
    {
        *("output_dir", "report_to", "run_name", "resume_from_checkpoint", "save_total_limit"),
        *("load_best_model_at_end", "disable_tqdm"),
        *("metric_for_best_model", "greater_is_better", "eval_strategy", "save_strategy", "logging_strategy"),
        *("push_to_hub", "hub_model_id", "hub_token", "hub_strategy", "logging_nan_inf_filter"),
    }
)
"""Decided by the platform: given ones would send files or reports elsewhere, or break stopping and resuming."""


class Model(BaseModel):
    """An entry of models.json. ``config``: the arguments of the library's configuration of ``architecture``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    architecture: str
    task_types: tuple[str, ...]
    description: str
    parameters_millions: float
    imgsz_min: int = IMGSZ_STEP
    gradient_checkpointing: bool
    config: dict[str, Any]


class TransformersConfig(BaseModel):
    model: Model
    task_type: str
    basic: BasicConfig
    advanced: AdvancedConfig


@cache
def models() -> dict[str, Model]:
    """The entries of models.json by name."""
    entries = (Model.model_validate(entry) for entry in json.loads(MODELS_FILE.read_text())["models"])
    return {model.name: model for model in entries}


def model_problems(model_name: str | None, task_type: str | None) -> list[str]:
    """What is wrong with the model that was asked for."""
    if model_name not in models():
        meant = did_you_mean(model_name or "", models())
        return [f"model {model_name!r} is not known; there are {', '.join(sorted(models()))}{meant}"]
    tasks = models()[model_name].task_types
    if task_type not in tasks:
        return [f"model {model_name} is for {' and '.join(tasks)}, not for {task_type}"]
    return []


def read_config(
    model_name: str | None, task_type: str | None, basic: dict[str, Any], advanced: dict[str, Any]
) -> TransformersConfig:
    """Raises InvalidConfig naming every problem."""
    problems = model_problems(model_name, task_type)
    problems += [
        f"advanced_config.{name}: given as {ELSEWHERE[name]}" for name in sorted(ELSEWHERE.keys() & advanced.keys())
    ]
    ours = sorted(OURS.intersection(advanced))
    if ours:
        problems.append(f"advanced_config: set by the platform and not by a job: {', '.join(ours)}")
    others = {name: value for name, value in advanced.items() if name not in OURS and name not in ELSEWHERE}
    read_basic, read_advanced, found = read_parts(BasicConfig, AdvancedConfig, basic, others)
    problems += found
    model = models().get(model_name or "")
    if model is not None and read_basic is not None and read_advanced is not None:
        problems += disagreements(model, task_type, read_basic, read_advanced)
    if problems or model is None or read_basic is None or read_advanced is None:
        raise InvalidConfig("; ".join(problems))
    return TransformersConfig(model=model, task_type=task_type or "", basic=read_basic, advanced=read_advanced)


def disagreements(model: Model, task_type: str | None, basic: BasicConfig, advanced: AdvancedConfig) -> list[str]:
    """Values that are right by themselves and not together."""
    problems = []
    if basic.imgsz < model.imgsz_min:
        problems.append(f"config.imgsz: {model.name} needs at least {model.imgsz_min}, not {basic.imgsz}")
    if advanced.fp16 and advanced.bf16:
        problems.append("advanced_config: fp16 and bf16 exclude each other")
    if advanced.gradient_checkpointing and not model.gradient_checkpointing:
        problems.append(f"advanced_config.gradient_checkpointing: {model.name} cannot do it")
    if advanced.label_smoothing_factor and task_type != "classification":
        problems.append("advanced_config.label_smoothing_factor: for classification only")
    return problems


def fit_schema(entry: Mapping[str, Any], schema: JsonObject) -> None:
    """Narrow the schema to one entry of models.json: what ``disagreements`` says of the model alone."""
    model = Model.model_validate(entry)
    config, advanced = (schema["properties"][part]["properties"] for part in ("config", "advanced_config"))
    config["imgsz"]["minimum"] = model.imgsz_min
    if not model.gradient_checkpointing:
        advanced["gradient_checkpointing"]["const"] = False
    if "classification" not in model.task_types:
        advanced["label_smoothing_factor"]["maximum"] = 0
