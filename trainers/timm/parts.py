"""What a training is made of, built with timm: model, average, optimizer, schedule, losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import timm
import torch
from timm.data import Mixup, resolve_data_config
from timm.layers import convert_sync_batchnorm
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.models import get_pretrained_cfg
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainers.configuration import InvalidConfig
from trainers.timm.config import TimmConfig
from trainers.timm.data import train_transform
from trainers.timm.ranks import Ranks

CLASSES_OF_THE_CHECK: Final = 2


@dataclass(slots=True)
class Parts:
    """``model`` is what is trained; ``trained`` the same, wrapped where several processes share it."""

    model: nn.Module
    trained: nn.Module
    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: torch.amp.GradScaler
    mixup: Mixup | None
    loss: nn.Module

    @property
    def validated(self) -> nn.Module:
        """The moving average where there is one: it is what people will use."""
        module: nn.Module = self.model if self.ema is None else self.ema.module
        return module


def check_parts(config: TimmConfig) -> None:
    """timm's own check of what the configuration's values mean for this model, without computing anything.

    Raises InvalidConfig.
    """
    try:
        with torch.device("meta"):
            model = create_model(config, CLASSES_OF_THE_CHECK)
        create_optimizer(config, model)
        train_transform(config, normalization(config, model))
        size = config.basic.imgsz
        with torch.no_grad():
            model.eval()(torch.empty(2, 3, size, size, device="meta"))
    except (AssertionError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise InvalidConfig(f"timm refuses this configuration of {config.architecture}: {reason[:500]}") from error


def create_model(config: TimmConfig, classes: int, weights: str | None = None) -> nn.Module:
    """``weights`` is a file of pretrained ones; None for random ones. Nothing is fetched."""
    given: dict[str, Any] = {}
    if get_pretrained_cfg(config.architecture).fixed_input_size:
        given["img_size"] = config.basic.imgsz
    if weights is not None:
        given |= {"pretrained": True, "pretrained_cfg_overlay": {"file": weights}}
    model: nn.Module = timm.create_model(
        config.architecture,
        num_classes=classes,
        drop_rate=config.advanced.drop_rate,
        drop_path_rate=config.advanced.drop_path_rate,
        **given,
    )
    if config.advanced.grad_checkpointing:
        model.set_grad_checkpointing(enable=True)  # type: ignore[operator]  # every model of timm has it
    return model


def normalization(config: TimmConfig, model: nn.Module) -> dict[str, Any]:
    """input_size, mean, std, interpolation and crop_pct, as the model was made for, with the size that is asked for."""
    size = config.basic.imgsz
    found: dict[str, Any] = resolve_data_config({"input_size": (3, size, size)}, model=model)
    return found


def create_optimizer(config: TimmConfig, model: nn.Module) -> torch.optim.Optimizer:
    advanced = config.advanced
    given: dict[str, Any] = {"eps": advanced.opt_eps, "betas": advanced.opt_betas}
    made: torch.optim.Optimizer = create_optimizer_v2(
        model,
        config.basic.optimizer.lower(),
        lr=config.basic.lr0,
        weight_decay=advanced.weight_decay,
        momentum=advanced.momentum,
        layer_decay=advanced.layer_decay,
        **{name: value for name, value in given.items() if value is not None},
    )
    return made


def create_schedule(config: TimmConfig, optimizer: torch.optim.Optimizer, updates_per_epoch: int) -> Any:
    """A schedule that is told after each update of the optimizer."""
    advanced = config.advanced
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched=advanced.sched,
        num_epochs=config.basic.epochs - advanced.cooldown_epochs,
        decay_epochs=advanced.decay_epochs,
        decay_rate=advanced.decay_rate,
        min_lr=advanced.min_lr,
        warmup_lr=advanced.warmup_lr,
        warmup_epochs=config.warmup_epochs,
        cooldown_epochs=advanced.cooldown_epochs,
        step_on_epochs=False,
        updates_per_epoch=updates_per_epoch,
    )
    schedule.step_update(0)
    return schedule


def build(config: TimmConfig, model: nn.Module, classes: int, updates_per_epoch: int, ranks: Ranks) -> Parts:
    """All that trains ``model``, which is moved to its device."""
    advanced = config.advanced
    if advanced.sync_bn and ranks.count > 1 and ranks.device.type == "cuda":
        model = convert_sync_batchnorm(model)
    model.to(ranks.device).to(memory_format=memory_format(config))
    optimizer = create_optimizer(config, model)
    mixup = None
    if config.mixes:
        mixup = Mixup(
            mixup_alpha=advanced.mixup_alpha,
            cutmix_alpha=advanced.cutmix_alpha,
            prob=advanced.mixup_prob,
            switch_prob=advanced.mixup_switch_prob,
            mode=advanced.mixup_mode,
            label_smoothing=advanced.label_smoothing,
            num_classes=classes,
        )
    return Parts(
        model=model,
        trained=model if ranks.count == 1 else DistributedDataParallel(model),
        ema=ModelEmaV3(model, decay=advanced.model_ema_decay, use_warmup=advanced.model_ema_warmup)
        if advanced.model_ema
        else None,
        optimizer=optimizer,
        schedule=create_schedule(config, optimizer, updates_per_epoch),
        scaler=torch.amp.GradScaler(
            ranks.device.type, enabled=advanced.amp and advanced.amp_dtype == "float16" and ranks.device.type == "cuda"
        ),
        mixup=mixup,
        # Mixup has the smoothing in its targets.
        loss=SoftTargetCrossEntropy() if mixup is not None else LabelSmoothingCrossEntropy(advanced.label_smoothing),
    )


def memory_format(config: TimmConfig) -> torch.memory_format:
    return torch.channels_last if config.advanced.channels_last else torch.contiguous_format
