"""Runs the Ultralytics trainer as ``python -m trainers.ultralytics.train`` does, and writes down what it reported.

python -m tests.integration.trainers.ultralytics_driver REPORT [WHAT_HAPPENS ...]: each argument after the report's path
is the name of a function here, which prepares what is to happen on the way.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from trainers.ultralytics import callbacks, ranks, train
from trainers.ultralytics.offline import keep_to_itself
from training_sdk import RunSettings, TrainerSDK
from training_sdk.storage.s3 import open_store
from training_sdk.testing import RecordingTransport

WEIGHT = 0.125
ROOM_BYTES = 256 * 1024 * 1024


def on(event: str, callback: Callable[[Any], None]) -> None:
    """Let it happen before the trainer's own callbacks."""
    found: Any = callbacks.CALLBACKS
    found[event] = (callback, *found.get(event, ()))


def sigterm(trainer: Any = None) -> None:
    if not callbacks.sdk().should_stop():
        os.kill(os.getpid(), signal.SIGTERM)


def sigterm_in_epoch_2() -> None:
    on("on_train_batch_end", lambda trainer: sigterm() if trainer.epoch == 1 else None)


def sigterm_while_it_prepares() -> None:
    on("on_pretrain_routine_start", sigterm)


def memory_runs_out_once() -> None:
    """In the second batch; what torch raises when a GPU's allocator has no more to give."""
    import torch
    from ultralytics.models.yolo.detect import DetectionTrainer

    batches: list[int] = []
    original: Any = DetectionTrainer.preprocess_batch

    def preprocess_batch(self: Any, batch: Any) -> Any:
        batches.append(1)
        if len(batches) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 0 bytes free.")
        return original(self, batch)

    setattr(DetectionTrainer, "preprocess_batch", preprocess_batch)  # noqa: B010


def the_loss_is_nan_once() -> None:
    """At the end of the second epoch."""
    import torch

    met: list[int] = []

    def spoil(trainer: Any) -> None:
        if trainer.epoch == 1 and not met:
            met.append(1)
            trainer.loss = torch.tensor(float("nan"))

    on("on_train_epoch_end", spoil)


def little_memory() -> None:
    """From the first epoch on the process may take little more than it has: the allocator itself refuses."""

    def limit(trainer: Any) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        room = pages * resource.getpagesize() + ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))

    on("on_train_start", limit)
    # What reports the failure needs some again.
    on("teardown", lambda _: resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))


def weights_in_the_store() -> None:
    """Weights that can be told from random ones; the training says which it began with."""
    keep_to_itself(callbacks.output_folder())
    from ultralytics import YOLO  # type: ignore[attr-defined]  # exported lazily

    settings = RunSettings.from_env()
    path = settings.data_dir / "weights.pt"
    model: Any = YOLO("yolo11n.yaml")
    model.model.model[0].conv.weight.data.fill_(WEIGHT)
    model.save(str(path))
    open_store(settings).fput_object(settings.models_bucket, "weights/ultralytics/yolo11n.pt", str(path))

    def say(trainer: Any) -> None:
        first = trainer.model.model[0].conv.weight
        callbacks.sdk().log_info(f"first weights {first.min():.3f} to {first.max():.3f}")

    on("on_train_start", say)


def no_room_for_checkpoints() -> None:
    sdk = callbacks.sdk()
    sdk.start()
    assert sdk._session is not None
    (sdk._session.folder / "uploads").write_text("not a folder")


def two_ranks() -> None:
    """In place of the two GPUs that the configuration names. All of them report to where the environment says."""
    keep_to_itself(callbacks.output_folder())
    from ultralytics.engine.model import Model

    from tests.integration.trainers.ultralytics_cpu_ranks import TwoRanks

    os.environ["TRAINER_PID"] = str(os.getpid())
    (callbacks.output_folder() / "trainer.pid").write_text(str(os.getpid()))
    setattr(train, "check_values", lambda config: None)  # noqa: B010 - there are no such GPUs
    load: Any = Model._smart_load
    setattr(Model, "_smart_load", lambda self, key: TwoRanks if key == "trainer" else load(self, key))  # noqa: B010


def sigterm_to_the_parent_in_epoch_2() -> None:
    on("on_train_batch_end", terminate_parent)


def terminate_parent(trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ["RANK"] == "0" and not ranks.stop_asked():
        os.kill(int(os.environ["TRAINER_PID"]), signal.SIGTERM)


def rank_1_runs_out_of_memory() -> None:
    on("on_train_batch_end", fail_on_rank_1)


def fail_on_rank_1(trainer: Any) -> None:
    import torch

    if trainer.epoch == 1 and os.environ["RANK"] == "1":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has 0 bytes free.")


def each_rank_says_its_pid() -> None:
    on("on_train_batch_end", write_pid)


def write_pid(trainer: Any) -> None:
    (callbacks.output_folder() / f"rank-{os.environ['RANK']}.pid").write_text(str(os.getpid()))


def main(arguments: list[str]) -> int:
    log = RecordingTransport()
    own = None if two_ranks.__name__ in arguments else log
    callbacks.STATE.sdk = TrainerSDK(RunSettings.from_env(), transport=own)
    for name in arguments[1:]:
        happens: Callable[[], None] = globals()[name]
        happens()
    code = train.main()
    events = [{"type": event.type, "data": orjson.loads(event.data)} for event in log.events]
    Path(arguments[0]).write_bytes(orjson.dumps(events))
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
