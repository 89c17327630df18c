"""What is reported while the library trains: a callback of its Trainer.

Order of a step: on_step_end, log, evaluate, save, on_save. Order of an epoch: its steps, on_epoch_end, evaluate, save.
Nothing is called when training ends by an exception: train.py reports that.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainers.transformers.checkpoints import Memory, write_memory
from training_sdk import TrainerSDK

PREFIX: Final = "eval_"
CANONICAL: Final = ("accuracy", "accuracy_top5", "mAP50", "mAP50-95", "precision", "recall", "f1")


class Reporter(TrainerCallback):
    """Reports one run, keeps its best checkpoint in mind, and ends it at an epoch's end when somebody asked for that.

    ``primary`` is the metric that makes a checkpoint the best, ``mode`` is max or min.
    """

    def __init__(
        self,
        sdk: TrainerSDK,
        *,
        primary: str,
        mode: str,
        memory: Memory,
        epochs_done: int = 0,
        eval_steps: int | None = None,
        save_steps: int | None = None,
        save_period: int = -1,
    ) -> None:
        self.sdk = sdk
        self.primary = primary
        self.mode = mode
        self.memory = memory
        self.eval_steps = eval_steps
        self.save_steps = save_steps
        self.save_period = save_period
        self.epochs_done = epochs_done
        self.epochs_before = epochs_done
        self.stopped = False
        self._began = time.monotonic()
        self._seconds_before = memory.seconds
        self._measured_step = -1
        self._warned = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began = time.monotonic()
        self.memory.logged_step = state.global_step

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **_: Any,
    ) -> None:
        epoch = state.global_step // steps_an_epoch(state) + 1
        # The library forgets it where it goes on in the middle of an epoch.
        train_dataloader.dataset.set_epoch(epoch - 1)
        self.sdk.report_progress(epoch, state.num_train_epochs, "train", self._eta(state))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step = state.global_step
        if step % steps_an_epoch(state) == 0:
            # So that the epoch's mean covers all of its steps. It is evaluated and saved in a moment, once.
            control.should_log = True
            return
        if self.eval_steps and step % self.eval_steps == 0:
            control.should_evaluate = True
        if self.save_steps and step % self.save_steps == 0:
            # Losses that were not logged yet are not in a checkpoint.
            control.should_log = control.should_save = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Logs of three kinds come here: of a step (they have a loss), of a validation, and the summary at the end."""
        logs = logs or {}
        if "loss" in logs:
            self._report_step(state, logs)
        elif "train_runtime" in logs:
            speed = logs.get("train_samples_per_second", math.nan)
            self.sdk.log_info(f"Trained for {logs['train_runtime']:.1f} s, {speed:.1f} pictures a second")

    def _report_step(self, state: TrainerState, logs: dict[str, float]) -> None:
        memory, step = self.memory, state.global_step
        epoch = (step - 1) // steps_an_epoch(state) + 1
        values = {"loss": logs["loss"], "lr": logs["learning_rate"]}
        if "grad_norm" in logs:
            values["grad_norm"] = logs["grad_norm"]
        self.sdk.report_metrics(epoch, "train", values, step=step)
        covered = step - memory.logged_step
        memory.loss_sum += logs["loss"] * covered
        memory.loss_steps += covered
        memory.logged_step = step
        if step % steps_an_epoch(state) == 0:
            mean = memory.loss_sum / memory.loss_steps
            memory.loss_sum, memory.loss_steps = 0.0, 0
            self.sdk.report_metrics(epoch, "train", {"loss": mean, "lr": logs["learning_rate"]})

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        raw = {name: value for name, value in (metrics or {}).items() if name.startswith(PREFIX)}
        named = canonical(raw)
        step, each = state.global_step, steps_an_epoch(state)
        epoch = max(step - 1, 0) // each + 1
        self._measured_step, self.memory.last_metrics = step, named
        if self.primary not in named and not self._warned:
            self._warned = True
            self.sdk.log_warning(
                f"primary_metric {self.primary} is none of {', '.join(named)}: the first checkpoint stays the best"
            )
        if step % each:
            self.sdk.report_metrics(epoch, "val", {**raw, **named}, step=step)
            return
        self.epochs_done = epoch
        self.sdk.report_metrics(epoch, "val", {**raw, **named})
        self.sdk.report_progress(epoch, state.num_train_epochs, "val", self._eta(state))
        value = named.get(self.primary, math.nan)
        self.sdk.log_info(f"Epoch {epoch}/{state.num_train_epochs} completed: {self.primary}={value:.3f}", epoch=epoch)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Upload what was just written (the SDK copies it, the library deletes old folders); then look for a stop."""
        step, each = state.global_step, steps_an_epoch(state)
        if state.is_world_process_zero:
            self._upload(Path(args.output_dir or "") / f"checkpoint-{step}", step, each)
        # All processes come here. A whole run is no stopped one, whoever asked for a stop in its last moments.
        if step % each == 0 and step < state.max_steps and agreed(self.sdk.should_stop(), args.device):
            self.stopped = True
            control.should_training_stop = True

    def _upload(self, folder: Path, step: int, each: int) -> None:
        memory = self.memory
        measured = self._measured_step == step
        best = measured and self._is_best(memory.last_metrics)
        if best:
            memory.best_value = self._value(memory.last_metrics)
            memory.best_epoch = (step - 1) // each + 1
            memory.best_metrics = memory.last_metrics
        memory.seconds = self.seconds
        write_memory(folder, memory)
        details: dict[str, Any] = {
            "epoch": step // each,
            "metrics": memory.last_metrics if measured else None,
            "step": step,
            "resumable": True,
        }
        kept = step % each == 0 and self.save_period > 0 and step // each % self.save_period == 0
        if best or not kept:
            self.sdk.upload_checkpoint(str(folder), best, **details)
        if kept:
            # The name of what is uploaded decides under which names it is found.
            named = folder.with_name(f"epoch_{step // each}")
            shutil.copytree(folder, named, copy_function=os.link)
            self.sdk.upload_checkpoint(str(named), False, **details)
            shutil.rmtree(named)

    @property
    def seconds(self) -> float:
        """Of training, over all attempts."""
        return self._seconds_before + time.monotonic() - self._began

    def _value(self, metrics: dict[str, float]) -> float:
        """Larger is better. Metrics without the one that counts, or with NaN, are worse than any other."""
        value = metrics.get(self.primary, math.nan)
        if math.isnan(value):
            return -math.inf
        return value if self.mode == "max" else -value

    def _is_best(self, metrics: dict[str, float]) -> bool:
        """Any checkpoint is better than none; of equal ones the first stays the best."""
        return self.memory.best_epoch is None or self._value(metrics) > self.memory.best_value

    def _eta(self, state: TrainerState) -> float | None:
        """Seconds left, from the mean duration of the epochs of this process; None before there is one."""
        done = self.epochs_done - self.epochs_before
        if not done:
            return None
        return (time.monotonic() - self._began) / done * (state.num_train_epochs - self.epochs_done)


def steps_an_epoch(state: TrainerState) -> int:
    return max(1, state.max_steps // state.num_train_epochs)


def canonical(raw: dict[str, float]) -> dict[str, float]:
    """Metrics of the validation under their canonical names."""
    named = {name: raw[PREFIX + name] for name in CANONICAL if PREFIX + name in raw}
    return {**named, **({"val_loss": raw["eval_loss"]} if "eval_loss" in raw else {})}


def agreed(wanted: bool, device: torch.device) -> bool:
    """Whether any process of this training wants it: one that went on alone would wait for the others for ever."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return wanted
    flag = torch.tensor([int(wanted)], device=device)
    distributed.all_reduce(flag, distributed.ReduceOp.MAX)
    return bool(flag.item())
