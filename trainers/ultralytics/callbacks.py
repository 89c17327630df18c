"""What is reported while Ultralytics trains. Functions of the module, because multi-GPU training pickles them.

Order of an epoch: batches, on_train_epoch_end, validation, files written, on_model_save, on_fit_epoch_end. After the
last epoch, also after a stop, one more on_fit_epoch_end brings the final validation of the best checkpoint, under the
number of an epoch that was never trained.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from training_sdk import TrainerSDK

CANONICAL: Final = {
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
    "metrics/mAP50(B)": "mAP50",
    "metrics/mAP50-95(B)": "mAP50-95",
}
"""Canonical names beside the framework's own keys."""
PRIMARY: Final = "mAP50-95"
RANK: Final = int(os.environ.get("RANK", "-1"))


@dataclass(slots=True)
class Progress:
    """What the callbacks of this process remember between calls."""

    sdk: TrainerSDK | None = None
    step: int = 0
    began: float = field(default_factory=time.monotonic)
    epoch_losses: dict[str, float] = field(default_factory=dict)
    last_metrics: dict[str, float] = field(default_factory=dict)
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_epoch: int | None = None
    best_fitness: float = -math.inf
    epochs_done: int = 0
    stopped: bool = False
    epoch_trained: bool = False
    """An epoch was trained and not yet reported as a whole."""


STATE: Final = Progress()


def sdk() -> TrainerSDK:
    """This process's SDK, made when it is first needed: a worker of multi-GPU training makes its own."""
    if STATE.sdk is None:
        STATE.sdk = TrainerSDK.from_env()
    return STATE.sdk


def reporting() -> bool:
    """Whether this process speaks for the run: rank 0, or the only one."""
    return RANK in (-1, 0)


def number(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)


def losses_of(trainer: Any) -> dict[str, float]:
    """The running mean of the losses, by their own names: box_loss, cls_loss, dfl_loss."""
    items = trainer.label_loss_items(trainer.tloss, prefix="train")
    return {name.removeprefix("train/"): number(value) for name, value in items.items()}


def learning_rate(trainer: Any) -> float:
    return number(trainer.optimizer.param_groups[0]["lr"])


def with_total(losses: Mapping[str, float]) -> dict[str, float]:
    return {"loss": sum(losses.values()), **losses}


def on_pretrain_routine_end(trainer: Any) -> None:
    """A stop that came before training is set again here: the trainer's set-up forgets it."""
    if sdk().should_stop():
        trainer.stop = True


def on_train_start(trainer: Any) -> None:
    """From here on epochs are counted: what came before, such as the data set's download, is no part of them."""
    STATE.began = time.monotonic()


def on_train_epoch_start(trainer: Any) -> None:
    if reporting():
        done = STATE.epochs_done
        spent = time.monotonic() - STATE.began
        left = spent / done * (trainer.epochs - done) if done else None
        sdk().report_progress(trainer.epoch + 1, trainer.epochs, "train", left)


def on_train_batch_end(trainer: Any) -> None:
    if reporting():
        STATE.step += 1
        losses = losses_of(trainer)
        values = {**with_total(losses), "lr": learning_rate(trainer)}
        sdk().report_metrics(trainer.epoch + 1, "train", values, step=STATE.step)


def on_train_epoch_end(trainer: Any) -> None:
    STATE.epoch_trained = True
    if reporting():
        STATE.epoch_losses = losses_of(trainer)
        sdk().report_metrics(
            trainer.epoch + 1, "train", {**with_total(STATE.epoch_losses), "lr": learning_rate(trainer)}
        )


def on_model_save(trainer: Any) -> None:
    """Upload what was just written; the SDK copies the files, the next epoch overwrites them."""
    if not reporting():
        return
    epoch = trainer.epoch + 1
    metrics = canonical(trainer.metrics)
    # Ultralytics writes best.pt again when an epoch is as good as the best; news is only a better one.
    fitness = number(trainer.fitness) if trainer.fitness is not None else -math.inf
    if fitness > STATE.best_fitness and trainer.best.exists():
        STATE.best_fitness = fitness
        STATE.best_epoch, STATE.best_metrics = epoch, metrics
        sdk().upload_checkpoint(str(trainer.best), True, epoch=epoch, metrics=metrics)
    if trainer.last.exists():
        sdk().upload_checkpoint(str(trainer.last), False, epoch=epoch, metrics=metrics)


def on_fit_epoch_end(trainer: Any) -> None:
    if not reporting():
        return
    if not STATE.epoch_trained:
        best = ", ".join(f"{name} {value:.4f}" for name, value in canonical(trainer.metrics).items())
        sdk().log_info(f"Validation of the best checkpoint: {best}", epoch=STATE.best_epoch)
        return
    STATE.epoch_trained = False
    epoch = trainer.epoch + 1
    STATE.epochs_done = epoch
    raw = {name: number(value) for name, value in (trainer.metrics or {}).items()}
    named = canonical(trainer.metrics)
    val_losses = [value for name, value in raw.items() if name.startswith("val/")]
    if val_losses:
        named["val_loss"] = sum(val_losses)
    STATE.last_metrics = canonical(trainer.metrics)
    sdk().report_metrics(epoch, "val", {**raw, **named})
    sdk().report_progress(epoch, trainer.epochs, "val", eta(trainer, epoch))
    sdk().log_info(f"Epoch {epoch}/{trainer.epochs} completed: mAP50={named.get('mAP50', math.nan):.3f}", epoch=epoch)
    if sdk().should_stop() and not STATE.stopped:
        # Only here: with several GPUs the flag of rank 0 is shared between epochs.
        STATE.stopped = True
        trainer.stop = True


def eta(trainer: Any, epoch: int) -> float:
    """Seconds left, from the mean duration of the epochs so far."""
    epochs: int = trainer.epochs
    return (time.monotonic() - STATE.began) / epoch * (epochs - epoch)


def canonical(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Metrics of the validation under their canonical names."""
    return {name: number(metrics[key]) for key, name in CANONICAL.items() if metrics and key in metrics}


CALLBACKS: Final[Mapping[str, Callable[[Any], None]]] = {
    "on_pretrain_routine_end": on_pretrain_routine_end,
    "on_train_start": on_train_start,
    "on_train_epoch_start": on_train_epoch_start,
    "on_train_batch_end": on_train_batch_end,
    "on_train_epoch_end": on_train_epoch_end,
    "on_model_save": on_model_save,
    "on_fit_epoch_end": on_fit_epoch_end,
}
