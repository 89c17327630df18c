"""What fields mean, in which unit they are and who writes each event, where models and topics do not say it themselves.

A description in a model is part of its schema, and a schema never changes under its version; these tables may. A key is
a field's name, or ``type: field`` where one type means something else by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UNITS_BY_ENDING: Final = (
    ("_seconds", "s"),
    ("_bytes", "bytes"),
    ("_percent", "%"),
    ("_celsius", "°C"),
    ("_watts", "W"),
    ("_hours", "GPU hours"),
    ("_epoch", "epochs, from 1"),
    ("_epochs", "epochs"),
)
UNITS: Final[Mapping[str, str]] = {
    "epoch": "epochs, from 1",
    "epochs": "epochs, from 1",
    "resume_epoch": "epochs",
    "step": "training steps",
    "steps": "training steps",
    "resume_step": "training steps",
    "times": "Unix seconds",
    "allowed": "s or bytes, as the limit",
    "used": "s or bytes, as the limit",
    "count": "calls or lines",
    "total_images": "images",
    "train": "images",
    "val": "images",
    "test": "images",
    "total_annotations": "annotations",
    "offset": "records",
    "last_seq": "events",
    "from_seq": "events",
    "to_seq": "events",
}

MEANINGS: Final[Mapping[str, str]] = {
    # Who and where
    "hostname": "machine of the process",
    "pid": "process id on that machine",
    "supervisor_pid": "process id of the attempt's supervisor",
    "launcher": "which launcher, host and process",
    "session": "the sender's session: one process, job, attempt and rank",
    "requested_by": "who asked, as the request named them",
    "by": "who did it",
    "reason": "why, for people",
    # A place in the log
    "topic": "a topic of this catalogue",
    "partition": "partition of that topic",
    "offset": "place in that partition",
    "from_seq": "first number that is missing",
    "to_seq": "last number that is missing",
    "projection": "the read model that could not apply the record",
    # What a job is
    "name": "what people call it",
    "description": "for people",
    "notes": "free text of people",
    "model_name": "a model of the catalogue",
    "framework": "ultralytics, timm or transformers",
    "task_type": "detection, classification, segmentation or pose",
    "task_types": "tasks it can be used for",
    "dataset_id": "the platform's number of the data set",
    "config": "settings of the training, as they were given",
    "advanced_config": "settings for those who know the framework, as they were given",
    "primary_metric": "the metric that jobs are compared by; null: the task's usual one",
    "primary_metric_mode": "max or min: what is better",
    "mlflow_run_id": "the run that the trainer itself made in MLflow",
    "gpu_info": "the GPUs, as the trainer sees them",
    # How far it is
    "epoch": "the epoch that it is about",
    "total_epochs": "epochs that are planned, or were trained",
    "phase": "train, val or test",
    "last_successful_epoch": "last epoch that was trained as a whole",
    "stopped_at_epoch": "the epoch in which it ended",
    "step": "training step",
    # What it measured
    "steps": "of each row; null: reported for the epoch as a whole",
    "epochs": "of each row; null where none was named",
    "values": "of each metric a value a row; null: that call did not have it",
    "metrics": "measured when it was written",
    "best_metrics": "measured at the best epoch",
    "final_metrics": "measured at the end",
    "best_epoch": "the epoch with the best value",
    "best_value": "the best value so far",
    "value": "what was measured",
    "evidence": "the values that it rests on, and where in the log they stand",
    "training_results": "what came out",
    "training_time_seconds": "from the start of the training to its end",
    # How it ended
    "error_code": "one of the platform's codes, such as OUT_OF_MEMORY",
    "error_message": "for people",
    "exit_code": "of the process; null where a signal ended it",
    "signal": "name of the signal, such as SIGTERM",
    "last_seen": "time of the last sign of life, RFC 3339",
    "allowed": "what the limit allows",
    "used": "what was used when that was seen",
    # Files
    "is_best": "whether it is the best so far",
    "resumable": "whether training can go on from it; null: unknown, which counts as no",
    "file_size_bytes": "size of the object",
    "sha256": "of the object, in hexadecimal",
    "content_type": "media type, such as image/png",
    "best_checkpoint_path": "alias of the best checkpoint",
    "final_checkpoint_path": "alias of the last checkpoint",
    # Log lines
    "lines": "the log lines, in the order in which they were written",
    "level": "how much it matters",
    "message": "the line",
    "timestamp": "when it was written, by the sender's clock",
    "source": "who wrote it",
    "metadata": "what else belongs to the line",
    # The machine
    "memory_used_bytes": "memory in use",
    "memory_total_bytes": "memory that there is",
    "process_memory_bytes": "memory of the trainer's process",
    "gpus": "a sample of each GPU",
    "index": "number of the GPU, from 0",
    "utilization_percent": "share of time in which the GPU computed",
    "temperature_celsius": "of the GPU",
    "power_watts": "that the GPU takes",
    # Data sets and models
    "total_images": "images of all splits",
    "splits": "images of each split",
    "train": "images to train on",
    "val": "images to validate on",
    "test": "images to test on",
    "annotations": "of each task what its file holds",
    "file": "name of the annotation file",
    "classes": "names of the classes, in their order",
    "total_annotations": "annotations in the file",
    "storage_path": "where the data set lies",
    "split_strategy": "how images without a split are split",
    "version": "of the data set, as its author counts",
    "warnings": "what is odd about it, but no reason to refuse it",
    "capability": "what the trainer says of the model, the schema of its config among it",
}

_TRAINER: Final = "training_sdk, api (callbacks)"
_API: Final = "api"
_LAUNCHER: Final = "launcher"
WRITERS: Final[Mapping[str, str]] = {
    "training.session.opened": "every sender",
    "training.session.closed": "training_sdk, supervisor, launcher (reaper)",
    "training.events.dropped": "training_sdk",
    **dict.fromkeys(("training.job.created", "training.job.described", "training.dataset.registered"), _API),
    **dict.fromkeys(("training.job.deleted", "training.job.restored", "training.job.purged"), _API),
    "training.stop.requested": _API,
    **dict.fromkeys(("training.cancel.requested", "training.pause.requested", "training.resume.requested"), _API),
    "training.retry.requested": "api, launcher",
    **dict.fromkeys(("training.job.queued", "training.job.launched", "training.stop.signalled"), _LAUNCHER),
    **dict.fromkeys(("training.job.lost", "training.job.found"), "launcher (reaper)"),
    "training.process.exited": "supervisor, launcher",
    "training.limit.exceeded": "supervisor",
    "training.stop.decided": "projections-early-stop",
    **dict.fromkeys(("training.job.started", "training.progress.reported", "training.checkpoint.saved"), _TRAINER),
    "training.job.completed": _TRAINER,
    **dict.fromkeys(("training.job.failed", "training.job.stopped"), f"{_TRAINER}, launcher"),
    **dict.fromkeys(("training.metrics.reported", "training.log.written"), _TRAINER),
    **dict.fromkeys(("training.artifact.saved", "training.heartbeat.sent", "training.system.sampled"), "training_sdk"),
    "training.model.registered": "api, trainers.catalogue",
    **dict.fromkeys(("training.deadletter.redriven", "training.deadletter.discarded"), "api, projections (operators)"),
}
"""By the type's name without its version; a type that is missing here is written by those of its topics."""
