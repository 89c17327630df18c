"""One epoch of training, and one validation."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any, Final

import torch
from timm.models import model_parameters
from timm.utils import dispatch_clip_grad, distribute_bn
from torch import nn

from trainers.timm.config import TimmConfig
from trainers.timm.data import Loaders
from trainers.timm.parts import Parts, memory_format
from trainers.timm.progress import Progress
from trainers.timm.ranks import Ranks
from training_sdk import TrainerSDK

CONFUSION_CLASSES_MAX: Final = 1000
"""With more classes the matrix has too many cells to keep, and to look at."""


class Diverged(RuntimeError):
    """The weights are no numbers any more."""


@dataclass(frozen=True, slots=True)
class Validation:
    """``loss`` and shares over the pictures of all ranks; predictions of rank 0's own, in its loader's order."""

    loss: float
    top1: float
    top5: float
    confusion: torch.Tensor | None
    """Pictures by true class (row) and predicted class; None with too many classes."""
    predicted: torch.Tensor
    confidence: torch.Tensor

    def metrics(self) -> dict[str, float]:
        """Canonical names (shares from 0 to 1), and the names and percentages of timm's own training script."""
        canonical = {"accuracy": self.top1, "accuracy_top5": self.top5, "val_loss": self.loss}
        return {**canonical, "eval_loss": self.loss, "eval_top1": 100 * self.top1, "eval_top5": 100 * self.top5}


def train_epoch(
    epoch: int, parts: Parts, loaders: Loaders, config: TimmConfig, ranks: Ranks, progress: Progress, sdk: TrainerSDK
) -> dict[str, float]:
    """Train epoch ``epoch`` (from 1); the epoch's metrics."""
    loaders.sampler.set_epoch(epoch)
    if parts.mixup is not None:
        off = config.advanced.mixup_off_epoch
        parts.mixup.mixup_enabled = not off or epoch < off
    parts.trained.train()
    parts.optimizer.zero_grad()
    batches, at_once = len(loaders.train), config.advanced.grad_accum_steps
    total = torch.zeros((), dtype=torch.float64)
    for number, (pictures, labels) in enumerate(loaders.train, start=1):
        pictures = pictures.to(ranks.device, memory_format=memory_format(config), non_blocking=True)
        labels = labels.to(ranks.device, non_blocking=True)
        if parts.mixup is not None:
            pictures, labels = parts.mixup(pictures, labels)
        begun = (number - 1) // at_once * at_once
        of_update = min(at_once, batches - begun)
        updates = number == begun + of_update
        with contextlib.nullcontext() if updates or ranks.count == 1 else parts.trained.no_sync():  # type: ignore[operator]
            with autocast(config, ranks):
                loss = parts.loss(parts.trained(pictures), labels)
            parts.scaler.scale(loss / of_update).backward()
        rate = learning_rate(parts.optimizer)
        if updates:
            progress.updates += 1
            update(parts, config, progress.updates)
        progress.step += 1
        mean = ranks.mean(loss.detach())
        total = total.to(mean.device) + mean
        sdk.report_metrics(epoch, "train", {"loss": mean, "lr": rate}, step=progress.step)
    mean_loss = float(total) / batches
    return {"loss": mean_loss, "train_loss": mean_loss, "lr": rate}


def update(parts: Parts, config: TimmConfig, number: int) -> None:
    """One step of the optimizer, and of all that follows it."""
    clip, mode = config.advanced.clip_grad, config.advanced.clip_mode
    if clip is not None:
        parts.scaler.unscale_(parts.optimizer)
        dispatch_clip_grad(model_parameters(parts.model, exclude_head=mode == "agc"), value=clip, mode=mode)
    parts.scaler.step(parts.optimizer)
    parts.scaler.update()
    parts.optimizer.zero_grad()
    if parts.ema is not None:
        parts.ema.update(parts.model, step=number)
    parts.schedule.step_update(number)


@torch.no_grad()
def validate(parts: Parts, loaders: Loaders, config: TimmConfig, ranks: Ranks, classes: int) -> Validation:
    """The moving average where there is one, else the model, on every picture of val once."""
    if ranks.count > 1:
        # Each rank has seen other batches: one set of running means for all, as timm does it.
        for module in (parts.model, parts.validated):
            distribute_bn(module, ranks.count, reduce=True)
    model = parts.validated.eval()
    loss_of = nn.CrossEntropyLoss(reduction="sum")
    sums = torch.zeros(4, dtype=torch.float64)
    confusion = torch.zeros(classes * classes, dtype=torch.int64) if classes <= CONFUSION_CLASSES_MAX else None
    predicted, confidence = [], []
    for pictures, labels in loaders.val:
        pictures = pictures.to(ranks.device, memory_format=memory_format(config), non_blocking=True)
        with autocast(config, ranks):
            scores = model(pictures)
        scores = scores.float().cpu()
        best = scores.topk(min(5, classes), dim=1).indices
        hits = best == labels[:, None]
        sums += torch.stack(
            [
                loss_of(scores, labels),
                hits[:, 0].sum(),
                hits.sum(),
                torch.tensor(len(labels)),
            ]
        )
        if confusion is not None:
            confusion += torch.bincount(labels * classes + best[:, 0], minlength=classes * classes)
        predicted.append(best[:, 0])
        confidence.append(scores.softmax(dim=1).gather(1, best[:, :1])[:, 0])
    loss, top1, top5, count = ranks.sum(sums.to(ranks.device)).tolist()
    if confusion is not None:
        confusion = ranks.sum(confusion.to(ranks.device)).cpu().reshape(classes, classes)
    return Validation(
        loss=loss / count,
        top1=top1 / count,
        top5=top5 / count,
        confusion=confusion,
        predicted=torch.cat(predicted) if predicted else torch.empty(0, dtype=torch.int64),
        confidence=torch.cat(confidence) if confidence else torch.empty(0),
    )


def autocast(config: TimmConfig, ranks: Ranks) -> Any:
    dtype = torch.float16 if config.advanced.amp_dtype == "float16" else torch.bfloat16
    return torch.autocast(ranks.device.type, dtype=dtype, enabled=config.advanced.amp)


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The highest one; with layer_decay the groups of parameters have different ones."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


def check_finite(parts: Parts, epoch: int, loss: float) -> str | None:
    """A sentence for the log where the loss is no number though the weights still are (a skipped step of float16).

    Raises Diverged when the weights are lost: no later epoch could mend them.
    """
    if math.isfinite(loss):
        return None
    if not all(bool(torch.isfinite(weights).all()) for weights in parts.model.parameters()):
        raise Diverged(
            f"the loss of epoch {epoch} is {loss} and the weights are no numbers any more; "
            "a smaller lr0, a warm-up (warmup_epochs) or clip_grad help"
        )
    return f"The loss of epoch {epoch} is {loss}; the weights are still finite, training goes on"
