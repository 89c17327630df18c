"""What is reported while Ultralytics trains. Functions of the module, because multi-GPU training pickles them.

Order of an epoch: batches, on_train_epoch_end, validation, files written, on_model_save, on_fit_epoch_end. After the
last epoch one more on_fit_epoch_end brings the final validation of the best checkpoint, under the number of an epoch
that was never trained. An epoch that ran out of memory, or met NaN, begins again without on_fit_epoch_end.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trainers.processes import die_with_parent
from trainers.ultralytics import ranks
from trainers.ultralytics.config import UltralyticsConfig, read_config
from trainers.ultralytics.names import canonical, number
from trainers.ultralytics.offline import refuse_downloads
from trainers.ultralytics.plots import upload_plots
from trainers.ultralytics.progress import Progress
from trainers.ultralytics.resume import Earlier, read_results
from training_sdk import TrainerSDK
from training_sdk.settings import PLATFORM_KEYS

CLOSE_TIMEOUT_S: Final = 60.0
Callback = Callable[[Any], None]


class StoppedBeforeTraining(Exception):
    """A stop was asked for before the first epoch: training would only end after one cut short."""


@dataclass(slots=True)
class Memory:
    """What the callbacks of this process remember between calls."""

    sdk: TrainerSDK | None = None
    config: UltralyticsConfig | None = None
    progress: Progress = field(default_factory=Progress)
    began: float = field(default_factory=time.monotonic)
    running: int | None = None
    """The epoch that goes on, counted from 0 as Ultralytics does."""
    batch_size: int | None = None
    epoch_losses: dict[str, float] | None = None
    """Of an epoch that was trained and is not yet reported as a whole."""


STATE: Final = Memory()


def sdk() -> TrainerSDK:
    """This process's SDK, made when it is first needed: a worker of multi-GPU training makes its own."""
    if STATE.sdk is None:
        STATE.sdk = TrainerSDK.from_env()
    return STATE.sdk


def config() -> UltralyticsConfig:
    """The job's configuration, from the environment. Raises InvalidConfig, SettingsError."""
    if STATE.config is None:
        mine = sdk()
        everything = {**mine.settings.config_file().get("basic", {}), **mine.settings.config()}
        platform = {name: value for name, value in everything.items() if name in PLATFORM_KEYS}
        basic = {**platform, **mine.get_basic_config()}
        STATE.config = read_config(mine.model_name, mine.task_type, basic, mine.get_advanced_config())
    return STATE.config


def output_folder() -> Path:
    return Path(os.environ.get("OUTPUT_PATH") or "output").resolve()


def reports(callback: Callback) -> Callback:
    """For rank 0, or the only one; what goes wrong in a report is a line in the log and never ends the training."""

    @functools.wraps(callback)
    def never_raises(trainer: Any) -> None:
        if not ranks.speaks():
            return
        try:
            callback(trainer)
        except Exception as error:
            sdk().log_error(f"{callback.__name__}: {type(error).__name__}: {error}")

    return never_raises


# Before the first epoch


def on_pretrain_routine_start(trainer: Any) -> None:
    """In this process, because multi-GPU training starts others."""
    refuse_downloads()


def on_pretrain_routine_end(trainer: Any) -> None:
    """Every rank opens its SDK: those that do not report send samples of their machine.

    Raises StoppedBeforeTraining. With several processes the first epoch is trained: one that left alone would keep the
    others waiting.
    """
    if ranks.of_several():
        die_with_parent()
    if sdk().should_stop() and not ranks.of_several():
        raise StoppedBeforeTraining


@reports
def on_train_start(trainer: Any) -> None:
    """From here on epochs are counted: what came before, such as the data set's download, is no part of them."""
    STATE.began = time.monotonic()
    if trainer.start_epoch:
        # Read here, because each process of multi-GPU training has to know it.
        earlier = Earlier(Path(trainer.args.resume), trainer.start_epoch, read_results(trainer.csv))
        # Where nobody wrote down how many steps there were, every epoch has as many.
        first_step = sdk().resume_step or trainer.start_epoch * len(trainer.train_loader) + 1
        STATE.progress.go_on_from(earlier, first_step, config().primary)
        if not earlier.results:
            sdk().log_warning("The checkpoint does not say what earlier epochs measured: the best is of this attempt")


# An epoch


@reports
def on_train_epoch_start(trainer: Any) -> None:
    epoch = trainer.epoch + 1
    if STATE.running == trainer.epoch:
        halved = STATE.batch_size != trainer.batch_size
        cause = "no memory was left" if halved else "a loss or a metric was not finite; it goes on from the last epoch"
        sdk().log_warning(f"Epoch {epoch} begins again with batch {trainer.batch_size}: {cause}", epoch=epoch)
    STATE.running, STATE.batch_size, STATE.epoch_losses = trainer.epoch, trainer.batch_size, None
    sdk().report_progress(epoch, trainer.epochs, "train", eta(trainer))


@reports
def on_train_batch_end(trainer: Any) -> None:
    STATE.progress.step += 1
    values = {**with_total(losses_of(trainer)), "lr": learning_rate(trainer)}
    sdk().report_metrics(trainer.epoch + 1, "train", values, step=STATE.progress.step)


@reports
def on_train_epoch_end(trainer: Any) -> None:
    """Kept until the epoch counts: one that is to be trained again is not reported."""
    STATE.epoch_losses = {**with_total(losses_of(trainer)), "lr": learning_rate(trainer)}


@reports
def on_model_save(trainer: Any) -> None:
    """Upload what was just written. The SDK copies the file: the next epoch overwrites it, and the end strips it of
    what a resumed training needs.

    The epoch's metrics come before it: a training resumed from it goes on after the epoch and never reports them.
    """
    report_epoch(trainer)
    epoch, progress = trainer.epoch + 1, STATE.progress
    metrics = measured(trainer)
    known = {"epoch": epoch, "metrics": metrics, "step": progress.step, "resumable": True}
    best = progress.best.or_better(epoch, metrics, config().primary) if metrics else progress.best
    if best is not progress.best:
        progress.best = best
        # Not Ultralytics' own best.pt, which is the best by its own measure.
        sdk().upload_checkpoint(str(trainer.last), True, **known)
    period = config().basic.save_period
    source = trainer.last
    if period > 0 and epoch % period == 0:
        # Its name says under which one it is kept.
        source = trainer.wdir / f"epoch_{epoch}.pt"
        source.unlink(missing_ok=True)
        source.symlink_to(trainer.last)
    progress.kept = sdk().upload_checkpoint(str(source), False, **known).startswith("s3://")


@reports
def on_fit_epoch_end(trainer: Any) -> None:
    """Where nothing is saved, nobody has reported the epoch yet."""
    if STATE.epoch_losses is not None:
        report_epoch(trainer)
    elif trainer.epoch + 1 != STATE.progress.epochs_done:
        sdk().log_info(f"Validation of the best checkpoint, by its own measure: {shown(canonical(trainer.metrics))}")


def report_epoch(trainer: Any) -> None:
    """Once, after the validation: one that is trained again is neither saved nor ended, so it does not come here."""
    if STATE.epoch_losses is None:
        return
    epoch, progress = trainer.epoch + 1, STATE.progress
    trained, STATE.epoch_losses = STATE.epoch_losses, None
    progress.epochs_done, progress.last_metrics = epoch, measured(trainer)
    sdk().report_metrics(epoch, "train", trained)
    if progress.last_metrics:
        sdk().report_metrics(epoch, "val", {**numbers(trainer), **progress.last_metrics})
    sdk().report_progress(epoch, trainer.epochs, "val", eta(trainer))
    sdk().log_info(f"Epoch {epoch}/{trainer.epochs} completed: {shown(progress.last_metrics)}", epoch=epoch)


@reports
def stop_if_asked(trainer: Any) -> None:
    """The only place where a stop may be set: with several GPUs, rank 0's flag is shared after this.

    After the last epoch there is nothing to stop.
    """
    progress = STATE.progress
    # Not on the final validation, which comes after the last epoch.
    if trainer.epoch + 1 == progress.epochs_done < trainer.epochs and (sdk().should_stop() or ranks.stop_asked()):
        progress.stopped = True
        trainer.stop = True
        if not ranks.of_several():
            # Who stops or pauses does not want to wait for another validation, nor last.pt stripped.
            trainer.final_eval = nothing
    if ranks.of_several():
        ranks.tell_parent(progress)


def nothing() -> None:
    pass


# The end


@reports
def on_train_end(trainer: Any) -> None:
    """Plots are drawn by now; what was drawn before a stop is kept as well."""
    pictures = upload_plots(sdk(), trainer.save_dir, STATE.progress.epochs_done)
    sdk().log_info(f"{pictures} plots and pictures are kept as artifacts")


def teardown(trainer: Any) -> None:
    """Called however training ends, also while an exception goes up. The parent of several processes speaks after
    them: what they had to say must be in the log by then."""
    if ranks.of_several():
        ranks.note_failure(sys.exception())
        sdk().close(CLOSE_TIMEOUT_S)


# What is read off the trainer


def losses_of(trainer: Any) -> dict[str, float]:
    """The running mean of the losses, by their own names: box_loss, cls_loss, dfl_loss."""
    return {name: number(value) for name, value in trainer.tloss.items()}


def with_total(losses: Mapping[str, float]) -> dict[str, float]:
    return {"loss": sum(losses.values()), **losses}


def learning_rate(trainer: Any) -> float:
    return number(trainer.optimizer.param_groups[0]["lr"])


def numbers(trainer: Any) -> dict[str, float]:
    """The validation's metrics under Ultralytics' own names."""
    return {name: number(value) for name, value in (trainer.metrics or {}).items()}


def measured(trainer: Any) -> dict[str, float]:
    """The epoch's metrics under canonical names; {} when it was not validated (``val: false``): Ultralytics then shows
    zeros, or those of an earlier epoch."""
    validated = trainer.args.val or trainer.epoch + 1 >= trainer.epochs
    return canonical(trainer.metrics) if validated else {}


def shown(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "not validated"


def eta(trainer: Any) -> float | None:
    """Seconds left, from the mean duration of this attempt's epochs; None before the first is done."""
    done = STATE.progress.epochs_done - STATE.progress.epochs_before
    if not done:
        return None
    left: float = trainer.epochs - STATE.progress.epochs_done
    return (time.monotonic() - STATE.began) / done * left


CALLBACKS: Final[Mapping[str, tuple[Callback, ...]]] = {
    "on_pretrain_routine_start": (on_pretrain_routine_start,),
    "on_pretrain_routine_end": (on_pretrain_routine_end,),
    "on_train_start": (on_train_start,),
    "on_train_epoch_start": (on_train_epoch_start,),
    "on_train_batch_end": (on_train_batch_end,),
    "on_train_epoch_end": (on_train_epoch_end,),
    "on_model_save": (on_model_save,),
    "on_fit_epoch_end": (on_fit_epoch_end, stop_if_asked),
    "on_train_end": (on_train_end,),
    "teardown": (teardown,),
}
