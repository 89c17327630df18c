"""The library's Trainer, with our arguments and measures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import EvalPrediction, PreTrainedModel, PrinterCallback, Trainer, TrainingArguments
from transformers.trainer_callback import ProgressCallback
from transformers.utils import logging

from trainers.configuration import InvalidConfig
from trainers.transformers import detections, measures
from trainers.transformers.config import TransformersConfig
from trainers.transformers.data import Collator
from trainers.transformers.models import SIGMOID, load_checkpoint


def training_arguments(config: TransformersConfig, output: Path) -> TrainingArguments:
    """Raises InvalidConfig for what only the library can judge, e.g. bf16 on a GPU that has none."""
    basic, advanced = config.basic, config.advanced
    gpu = on_gpu(config)
    try:
        return TrainingArguments(
            output_dir=str(output),
            num_train_epochs=basic.epochs,
            per_device_train_batch_size=basic.batch,
            per_device_eval_batch_size=basic.batch,
            learning_rate=basic.lr0,
            seed=basic.seed,
            # The order of the pictures follows from seed and epoch alone: a resumed run goes on with the right ones.
            data_seed=basic.seed,
            dataloader_num_workers=basic.workers,
            dataloader_pin_memory=gpu,
            use_cpu=not gpu,
            ddp_backend="gloo" if "LOCAL_RANK" in os.environ and not gpu else None,
            fp16=advanced.fp16 and gpu,
            bf16=advanced.bf16,
            tf32=advanced.tf32 if gpu else None,
            gradient_checkpointing=advanced.gradient_checkpointing,
            gradient_accumulation_steps=advanced.gradient_accumulation_steps,
            # Below 1 it is a share of all steps.
            warmup_steps=advanced.warmup_steps or advanced.warmup_ratio,
            lr_scheduler_type=advanced.lr_scheduler_type,
            weight_decay=advanced.weight_decay,
            max_grad_norm=advanced.max_grad_norm,
            label_smoothing_factor=advanced.label_smoothing_factor,
            logging_strategy="steps",
            # The library's own is 500: a small training would show nothing.
            logging_steps=advanced.logging_steps,
            # Else a NaN would be reported as the mean of earlier losses.
            logging_nan_inf_filter=False,
            # Every epoch ends with a validation and a checkpoint; eval_steps and save_steps add to that (reports.py).
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=False,
            # The SDK reports, and the mirror writes the run to MLflow: nobody else does.
            report_to="none",
            push_to_hub=False,
            disable_tqdm=True,
            remove_unused_columns=False,
            label_names=["labels"],
        )
    except (ValueError, ImportError) as error:
        raise InvalidConfig(str(error)) from error


def on_gpu(config: TransformersConfig) -> bool:
    return config.basic.device != "cpu" and torch.cuda.is_available()


def optimizer_of(config: TransformersConfig) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Class and arguments; the library adds the parameters, and weight decay for those that want it."""
    basic, advanced = config.basic, config.advanced
    adam = {"betas": (advanced.adam_beta1, advanced.adam_beta2), "eps": advanced.adam_epsilon}
    arguments: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
        "SGD": (torch.optim.SGD, {"momentum": advanced.momentum}),
        "Adam": (torch.optim.Adam, adam),
        "AdamW": (torch.optim.AdamW, adam),
        "RMSprop": (torch.optim.RMSprop, {"momentum": advanced.momentum}),
        "Adagrad": (torch.optim.Adagrad, {}),
    }
    kind, more = arguments[basic.optimizer]
    return kind, {"lr": basic.lr0, **more}


class ClassMeasure:
    """Measures a classifier, and keeps which classes were taken for which in the last validation."""

    def __init__(self) -> None:
        self.counts: measures.Counts | None = None

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        scores, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        self.counts = measures.confusion(scores, labels, scores.shape[-1])
        return measures.measure(scores, labels)


class ClassificationTrainer(Trainer):
    """The library's own, but for what it does with a checkpoint's weights."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        load_checkpoint(cast(PreTrainedModel, self.model), Path(resume_from_checkpoint))


class DetectionTrainer(ClassificationTrainer):
    """Detectors answer with lists of many lengths; here they are made tables of one shape, which can be gathered."""

    sigmoid = False

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, best detections, and the pictures' numbers as labels: the truth lies in the COCO document."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        rows = detections.best_detections(outputs.logits, outputs.pred_boxes, sigmoid=self.sigmoid)
        return loss.detach().mean(), rows, torch.cat([label["image_id"] for label in inputs["labels"]])


def build_trainer(
    config: TransformersConfig,
    arguments: TrainingArguments,
    *,
    model: Any,
    processor: Any,
    train: Any,
    val: Any,
    truth: dict[str, Any] | None,
    reporter: Any,
) -> Trainer:
    """``truth`` is the COCO document of the validation's pictures, None for classification."""

    def measure_boxes(prediction: EvalPrediction) -> dict[str, float]:
        image_ids, rows = np.asarray(prediction.label_ids), np.asarray(prediction.predictions)
        return detections.measure(truth or {}, image_ids.tolist(), rows)

    kind = ClassificationTrainer if truth is None else DetectionTrainer
    trainer = kind(
        model=model,
        args=arguments,
        data_collator=Collator(processor),
        train_dataset=train,
        eval_dataset=val,
        processing_class=processor,
        compute_metrics=ClassMeasure() if truth is None else measure_boxes,
        callbacks=[reporter],
        optimizer_cls_and_kwargs=optimizer_of(config),
    )
    if isinstance(trainer, DetectionTrainer):
        trainer.sigmoid = config.model.architecture in SIGMOID
    # Reports go through the SDK; bars and tables of every step would only fill the run's output.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    return trainer
