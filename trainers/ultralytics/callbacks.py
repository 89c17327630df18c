"""What is reported while Ultralytics trains. Functions of the module, because multi-GPU training pickles them.

Order of an epoch: batches, on_train_epoch_end, validation, files written, on_model_save, on_fit_epoch_end. After the
last epoch, also after a stop, one more on_fit_epoch_end brings the final validation of the best checkpoint, under the
number of an epoch that was never trained.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trainers.ultralytics.names import Best, Primary, best_of, canonical, number
from trainers.ultralytics.resume import Earlier
from training_sdk import TrainerSDK

RANK: Final = int(os.environ.get("RANK", "-1"))


@dataclass(slots=True)
class Progress:
    """What the callbacks of this process remember between calls."""

    sdk: TrainerSDK | None = None
    primary: Primary | None = None
    step: int = 0
    """Of the whole run, over all attempts."""
    epoch_begun: int | None = None
    step_before_epoch: int = 0
    began: float = field(default_factory=time.monotonic)
    epochs_before: int = 0
    """Trained by earlier attempts."""
    epochs_done: int = 0
    epoch_losses: dict[str, float] = field(default_factory=dict)
    last_metrics: dict[str, float] = field(default_factory=dict)
    best: Best = field(default_factory=Best)
    save_period: int = -1
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


def primary() -> Primary:
    if STATE.primary is None:
        STATE.primary = Primary.of(sdk().task_type, sdk().settings.config())
    return STATE.primary


def go_on_from(earlier: Earlier) -> None:
    """Remember what earlier attempts did: their epochs, their steps, and what a better epoch has to beat."""
    STATE.epochs_before = STATE.epochs_done = earlier.epochs_done
    STATE.step = max(0, sdk().resume_step - 1)
    history = earlier.history()
    STATE.best = best_of(history, primary())
    STATE.last_metrics = history[-1][1] if history else {}


def losses_of(trainer: Any) -> dict[str, float]:
    """The running mean of the losses, by their own names: box_loss, cls_loss, dfl_loss."""
    items = trainer.label_loss_items(trainer.tloss, prefix="train")
    return {name.removeprefix("train/"): number(value) for name, value in items.items()}


def learning_rate(trainer: Any) -> float:
    return number(trainer.optimizer.param_groups[0]["lr"])


def with_total(losses: Mapping[str, float]) -> dict[str, float]:
    return {"loss": sum(losses.values()), **losses}


def on_train_start(trainer: Any) -> None:
    """From here on epochs are counted: what came before, such as the data set's download, is no part of them."""
    STATE.began = time.monotonic()
    if STATE.epochs_before and not STATE.step:
        # The checkpoint's announcement did not say after which step it was written.
        STATE.step = STATE.epochs_before * len(trainer.train_loader)


def on_train_epoch_start(trainer: Any) -> None:
    if STATE.epoch_begun == trainer.epoch:
        # Ultralytics trains an epoch again after running out of memory (with half the batch) or after NaN.
        STATE.step = STATE.step_before_epoch
        if reporting():
            sdk().log_warning(f"Epoch {trainer.epoch + 1} is trained again, with batches of {trainer.args.batch}")
    STATE.epoch_begun, STATE.step_before_epoch = trainer.epoch, STATE.step
    if reporting():
        sdk().report_progress(trainer.epoch + 1, trainer.epochs, "train", eta(trainer, STATE.epochs_done))


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
    """Upload what was just written; the SDK copies the files, the next epoch overwrites them.

    Before the end: Ultralytics strips its files then, and nobody could go on from them.
    """
    if not reporting() or not trainer.last.exists():
        return
    epoch, metrics, last = trainer.epoch + 1, canonical(trainer.metrics), str(trainer.last)
    best = STATE.best.or_better(epoch, metrics, primary())
    if best is not STATE.best:
        STATE.best = best
        # Not its best.pt: that is the best by Ultralytics' own measure.
        sdk().upload_checkpoint(last, True, epoch=epoch, metrics=metrics, step=STATE.step, resumable=True)
    # Its epochN.pt counts from 0; what the platform keeps is called as people count.
    if STATE.save_period > 0 and epoch % STATE.save_period == 0:
        kept = trainer.last.with_name(f"epoch_{epoch}.pt")
        kept.write_bytes(trainer.last.read_bytes())
        sdk().upload_checkpoint(str(kept), False, epoch=epoch, metrics=metrics, step=STATE.step, resumable=True)
        kept.unlink()
    sdk().upload_checkpoint(last, False, epoch=epoch, metrics=metrics, step=STATE.step, resumable=True)


def on_fit_epoch_end(trainer: Any) -> None:
    if not reporting():
        return
    named = canonical(trainer.metrics)
    shown = ", ".join(f"{name} {value:.4f}" for name, value in named.items())
    if not STATE.epoch_trained:
        sdk().log_info(f"Validation of the best checkpoint: {shown}", epoch=STATE.best.epoch)
        return
    STATE.epoch_trained = False
    epoch = STATE.epochs_done = trainer.epoch + 1
    raw = {name: number(value) for name, value in (trainer.metrics or {}).items()}
    STATE.last_metrics = named
    sdk().report_metrics(epoch, "val", {**raw, **named})
    sdk().report_progress(epoch, trainer.epochs, "val", eta(trainer, epoch))
    sdk().log_info(f"Epoch {epoch}/{trainer.epochs} completed: {shown}", epoch=epoch)
    if sdk().should_stop() and not STATE.stopped and epoch < trainer.epochs:
        # Only here: with several GPUs the flag of rank 0 is shared between epochs.
        STATE.stopped = True
        trainer.stop = True


def eta(trainer: Any, epochs_done: int) -> float | None:
    """Seconds left, from the mean duration of this attempt's epochs so far."""
    here = epochs_done - STATE.epochs_before
    return (time.monotonic() - STATE.began) / here * (trainer.epochs - epochs_done) if here else None


CALLBACKS: Final[Mapping[str, Callable[[Any], None]]] = {
    "on_train_start": on_train_start,
    "on_train_epoch_start": on_train_epoch_start,
    "on_train_batch_end": on_train_batch_end,
    "on_train_epoch_end": on_train_epoch_end,
    "on_model_save": on_model_save,
    "on_fit_epoch_end": on_fit_epoch_end,
}
