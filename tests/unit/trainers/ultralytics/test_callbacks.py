"""The callbacks, called in the order in which Ultralytics calls them, without Ultralytics."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest

from trainers.ultralytics import callbacks
from trainers.ultralytics.callbacks import CALLBACKS, Progress, go_on_from
from trainers.ultralytics.resume import Earlier


class Recorder:
    """Takes every report down in place of the SDK."""

    task_type = "detection"
    stop_reason = None
    resume_step = 0

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.stop = False
        self.settings = SimpleNamespace(config=dict)

    def should_stop(self) -> bool:
        return self.stop

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: self.calls.append((name, arguments, named))

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(arguments, named) for called, arguments, named in self.calls if called == name]


class Trainer(SimpleNamespace):
    """What the callbacks look at of a BaseTrainer. Two batches an epoch."""

    def label_loss_items(self, losses: dict[str, float], prefix: str) -> dict[str, float]:
        return {f"{prefix}/{name}": value for name, value in losses.items()}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(callbacks, "STATE", Progress(sdk=made))  # type: ignore[arg-type]
    return made


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    last = tmp_path / "last.pt"
    last.write_bytes(b"weights")
    return Trainer(
        epoch=0,
        epochs=3,
        stop=False,
        tloss={"box_loss": 1.0, "cls_loss": 0.5},
        metrics={"metrics/mAP50-95(B)": 0.5, "val/box_loss": 2.0},
        optimizer=SimpleNamespace(param_groups=[{"lr": 0.01}]),
        args=SimpleNamespace(batch=6),
        train_loader=[None, None],
        last=last,
    )


def batches(trainer: Trainer, count: int = 2) -> None:
    callbacks.on_train_epoch_start(trainer)
    for _ in range(count):
        callbacks.on_train_batch_end(trainer)


def end_of_epoch(trainer: Trainer) -> None:
    callbacks.on_train_epoch_end(trainer)
    callbacks.on_model_save(trainer)
    callbacks.on_fit_epoch_end(trainer)


def steps(recorder: Recorder) -> list[int]:
    return [named["step"] for _, named in recorder.of("report_metrics") if "step" in named]


def test_an_epoch_that_is_trained_again_counts_its_steps_once_more_from_where_it_began(
    recorder: Recorder, trainer: Trainer
) -> None:
    batches(trainer)
    end_of_epoch(trainer)
    trainer.epoch = 1
    batches(trainer, 1)  # NaN or out of memory: no end of this epoch, it begins again
    batches(trainer)
    end_of_epoch(trainer)
    assert steps(recorder) == [1, 2, 3, 3, 4]
    assert "Epoch 2 is trained again" in recorder.of("log_warning")[0][0][0]
    assert [named["step"] for _, named in recorder.of("upload_checkpoint")][-1] == 4


def test_the_final_validation_is_no_epoch(recorder: Recorder, trainer: Trainer) -> None:
    batches(trainer)
    end_of_epoch(trainer)
    before = len(recorder.of("report_metrics"))
    trainer.epoch = 3
    callbacks.on_fit_epoch_end(trainer)
    assert len(recorder.of("report_metrics")) == before
    assert callbacks.STATE.epochs_done == 1


def test_only_a_better_epoch_is_a_new_best(recorder: Recorder, trainer: Trainer) -> None:
    for epoch, value in enumerate((0.5, 0.5, 0.75)):
        trainer.epoch, trainer.metrics = epoch, {"metrics/mAP50-95(B)": value}
        batches(trainer)
        end_of_epoch(trainer)
    best = [named["epoch"] for arguments, named in recorder.of("upload_checkpoint") if arguments[1]]
    assert best == [1, 3]
    assert all(named["resumable"] for _, named in recorder.of("upload_checkpoint"))


def test_a_stop_takes_effect_between_epochs_and_not_after_the_last(recorder: Recorder, trainer: Trainer) -> None:
    recorder.stop = True
    batches(trainer)
    assert trainer.stop is False, "several GPUs would fall out of step"
    end_of_epoch(trainer)
    assert trainer.stop is True and callbacks.STATE.stopped
    callbacks.STATE.stopped, trainer.stop, trainer.epoch = False, False, 2
    batches(trainer)
    end_of_epoch(trainer)
    assert not callbacks.STATE.stopped, "every epoch was trained: that is no stop"


def test_going_on_keeps_count_and_the_best_so_far(recorder: Recorder, trainer: Trainer) -> None:
    results: dict[str, list[float]] = {"epoch": [1, 2], "time": [1.0, 2.0], "metrics/mAP50-95(B)": [0.75, 0.25]}
    go_on_from(Earlier(Path("last.pt"), 2, results))
    callbacks.on_train_start(trainer)
    trainer.epoch = 2
    batches(trainer)
    end_of_epoch(trainer)
    assert steps(recorder) == [5, 6], "two epochs of two batches were trained before"
    assert callbacks.STATE.best.epoch == 1
    assert not any(arguments[1] for arguments, _ in recorder.of("upload_checkpoint")), "0.5 does not beat 0.75"
    recorder.resume_step = 11
    go_on_from(Earlier(Path("last.pt"), 2, results))
    assert callbacks.STATE.step == 10, "the first step that is written again is 11"


def test_other_ranks_report_nothing(recorder: Recorder, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "RANK", 1)
    batches(trainer)
    trainer.metrics = None  # as it is there
    end_of_epoch(trainer)
    assert recorder.calls == []
    assert trainer.stop is False


def test_the_callbacks_reach_the_processes_of_multi_gpu_training() -> None:
    """Ultralytics sends them there with cloudpickle; they must be found again by name, without any connection."""
    sent = cloudpickle.dumps(dict(CALLBACKS))
    assert cloudpickle.loads(sent) == dict(CALLBACKS)
    assert len(sent) < 2_000, "names, not code or state"
