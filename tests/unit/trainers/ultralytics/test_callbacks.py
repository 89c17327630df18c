"""The callbacks, called in the orders in which Ultralytics calls them, by a trainer that is none."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest

from trainers.ultralytics import callbacks, ranks
from trainers.ultralytics.progress import read_progress
from training_sdk import RunSettings, TrainerSDK
from training_sdk.testing import RecordingTransport

EPOCHS = 3


@dataclass
class FakeTrainer:
    """What the callbacks look at."""

    folder: Path
    epoch: int = 0
    epochs: int = EPOCHS
    start_epoch: int = 0
    batch_size: int = 8
    stop: bool = False
    loss: float = 1.0
    metrics: dict[str, float] = field(default_factory=dict)
    args: Any = field(default_factory=lambda: SimpleNamespace(val=True, resume="cache/last.pt"))
    train_loader: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        self.optimizer = SimpleNamespace(param_groups=[{"lr": 0.01}])
        self.save_dir = self.folder / "run"
        self.wdir = self.save_dir / "weights"
        self.wdir.mkdir(parents=True)
        self.last = self.wdir / "last.pt"
        self.csv = self.save_dir / "results.csv"

    @property
    def tloss(self) -> dict[str, float]:
        return {"box_loss": self.loss, "cls_loss": 0.5}

    def final_eval(self) -> None:
        """As Ultralytics does after the last epoch, unless it was told otherwise."""
        self.epoch += 1
        self.call("on_fit_epoch_end")
        self.epoch -= 1

    def call(self, event: str) -> None:
        for callback in callbacks.CALLBACKS.get(event, ()):
            callback(self)

    def batches(self, epoch: int) -> None:
        self.epoch = epoch
        self.call("on_train_epoch_start")
        for _ in self.train_loader:
            self.call("on_train_batch_end")

    def validate(self, quality: float) -> None:
        """To the end of the epoch, whose validation found that quality."""
        self.call("on_train_epoch_end")
        self.metrics = {"metrics/mAP50(B)": quality, "metrics/mAP50-95(B)": quality / 2, "val/box_loss": 1 - quality}
        self.last.write_bytes(f"epoch {self.epoch + 1}".encode())
        self.call("on_model_save")
        self.call("on_fit_epoch_end")


class KeptSDK(TrainerSDK):
    """Keeps what is uploaded, and is asked to stop by whoever sets ``asked``."""

    asked = False

    def __init__(self, settings: RunSettings, transport: RecordingTransport) -> None:
        super().__init__(settings, transport=transport)
        self.uploads: list[dict[str, Any]] = []

    def should_stop(self) -> bool:
        return self.asked or super().should_stop()

    def upload_checkpoint(self, local_path: str, is_best: bool = False, *_: Any, **more: Any) -> str:
        content = Path(local_path).read_text()
        self.uploads.append({"name": Path(local_path).name, "content": content, "is_best": is_best, **more})
        return f"s3://bucket/{local_path}"


@dataclass
class Run:
    trainer: FakeTrainer
    sdk: KeptSDK
    log: RecordingTransport

    @property
    def state(self) -> callbacks.Memory:
        return callbacks.STATE

    def points(self, phase: str, name: str) -> list[tuple[int, int | None, float]]:
        assert self.sdk.close()
        return [
            (epoch, step, value)
            for data in self.log.data("training.metrics.reported.v1")
            if data["phase"] == phase and name in data["values"]
            for epoch, step, value in zip(data["epochs"], data["steps"], data["values"][name], strict=True)
        ]

    def lines(self) -> list[str]:
        assert self.sdk.close()
        return [line["message"] for data in self.log.data("training.log.written.v1") for line in data["lines"]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield from a_run(tmp_path, monkeypatch)


def a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int = -1, **changes: str) -> Iterator[Run]:
    environment = {
        "JOB_ID": "25",
        "MODEL_NAME": "yolo11n",
        "EPOCHLOG_SPOOL_DIR": str(tmp_path / "spool"),
        "CONFIG": json.dumps({"epochs": EPOCHS, "save_period": 2}),
        "RANK": str(max(rank, 0)),
        **changes,
    }
    monkeypatch.setenv("OUTPUT_PATH", str(tmp_path))
    monkeypatch.setattr(ranks, "RANK", rank)
    monkeypatch.setattr(callbacks, "STATE", callbacks.Memory())
    log = RecordingTransport()
    sdk = KeptSDK(RunSettings.from_env(environment), log)
    callbacks.STATE.sdk = sdk
    yield Run(FakeTrainer(tmp_path), sdk, log)
    sdk.close()


def test_an_epoch_is_reported_once_after_its_validation(run: Run) -> None:
    run.trainer.call("on_train_start")
    for epoch, quality in enumerate((0.5, 0.7, 0.6)):
        run.trainer.batches(epoch)
        run.trainer.validate(quality)
    run.trainer.final_eval()
    assert run.points("train", "loss") == [
        *[(1, 1, 1.5), (1, 2, 1.5), (1, None, 1.5), (2, 3, 1.5), (2, 4, 1.5), (2, None, 1.5)],
        *[(3, 5, 1.5), (3, 6, 1.5), (3, None, 1.5)],
    ]
    assert run.points("val", "mAP50") == [(1, None, 0.5), (2, None, 0.7), (3, None, 0.6)]
    assert run.points("val", "metrics/mAP50(B)") == run.points("val", "mAP50")
    assert [value for _, _, value in run.points("val", "val_loss")] == pytest.approx([0.5, 0.3, 0.4])
    progress = run.state.progress
    assert (progress.epochs_done, progress.step, progress.best.epoch, progress.stopped) == (3, 6, 2, False)
    totals = [data["total_epochs"] for data in run.log.data("training.progress.reported.v1")]
    assert totals == [EPOCHS] * 6, "in each of them: a training may change its mind"
    assert [line for line in run.lines() if line.startswith("Validation of the best checkpoint")] != []


def test_checkpoints_carry_their_step_and_the_names_that_a_period_gives_them(run: Run) -> None:
    for epoch, quality in enumerate((0.5, 0.4, 0.6)):
        run.trainer.batches(epoch)
        run.trainer.validate(quality)
    found = [(up["name"], up["is_best"], up["epoch"], up["step"], up["content"]) for up in run.sdk.uploads]
    assert found == [
        ("last.pt", True, 1, 2, "epoch 1"),
        ("last.pt", False, 1, 2, "epoch 1"),
        ("epoch_2.pt", False, 2, 4, "epoch 2"),
        ("last.pt", True, 3, 6, "epoch 3"),
        ("last.pt", False, 3, 6, "epoch 3"),
    ]
    assert all(upload["resumable"] for upload in run.sdk.uploads)
    assert run.sdk.uploads[0]["metrics"] == {"mAP50": 0.5, "mAP50-95": 0.25, "val_loss": 0.5}


def test_an_epochs_metrics_are_reported_before_a_checkpoint_from_which_it_is_not_trained_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    report, upload = run.sdk.report_metrics, run.sdk.upload_checkpoint

    def noted_report(epoch: int, phase: str, values: dict[str, float], step: int | None = None) -> None:
        if step is None:
            done.append(f"{phase} {epoch}")
        report(epoch, phase, values, step)

    def noted_upload(*given: Any, **more: Any) -> str:
        done.append(f"upload {more['epoch']}")
        return upload(*given, **more)

    monkeypatch.setattr(run.sdk, "report_metrics", noted_report)
    monkeypatch.setattr(run.sdk, "upload_checkpoint", noted_upload)
    run.trainer.batches(0)
    run.trainer.validate(0.5)
    run.trainer.batches(1)
    run.trainer.call("on_train_epoch_end")
    run.trainer.call("on_fit_epoch_end")  # with save: false nothing is saved in between
    run.trainer.final_eval()
    assert done == ["train 1", "val 1", "upload 1", "upload 1", "train 2", "val 2"]


def test_an_epoch_that_ran_out_of_memory_counts_once(run: Run) -> None:
    run.trainer.batches(0)
    run.trainer.batch_size = 4
    run.trainer.batches(0)
    run.trainer.validate(0.5)
    assert run.points("train", "loss")[-1] == (1, None, 1.5)
    # Steps go on: those of the first try were trained as well, and none is written twice.
    assert [step for _, step, _ in run.points("train", "lr") if step is not None] == [1, 2, 3, 4]
    assert run.points("val", "mAP50") == [(1, None, 0.5)]
    assert "Epoch 1 begins again with batch 4: no memory was left" in run.lines()


def test_an_epoch_that_met_nan_counts_once(run: Run) -> None:
    run.trainer.batches(0)
    run.trainer.validate(0.5)
    run.trainer.batches(1)
    run.trainer.loss = float("nan")
    run.trainer.call("on_train_epoch_end")  # the loss is found not to be finite here, and the epoch begins again
    run.trainer.loss = 2.0
    run.trainer.batches(1)
    run.trainer.validate(0.6)
    assert [point for point in run.points("train", "loss") if point[1] is None] == [(1, None, 1.5), (2, None, 2.5)]
    assert run.points("val", "mAP50") == [(1, None, 0.5), (2, None, 0.6)]
    assert any("Epoch 2 begins again with batch 8: a loss or a metric was not finite" in line for line in run.lines())


def test_a_resumed_run_goes_on_counting_and_keeps_its_best(run: Run, tmp_path: Path) -> None:
    run.trainer.start_epoch = 2
    run.trainer.csv.write_text("epoch,metrics/mAP50-95(B)\n1,0.45\n2,0.1\n")
    run.trainer.call("on_train_start")
    run.trainer.batches(2)
    run.trainer.validate(0.8)  # mAP50-95 is 0.4
    # Nobody said how many steps there were: two an epoch.
    assert run.points("train", "loss") == [(3, 5, 1.5), (3, 6, 1.5), (3, None, 1.5)]
    progress = run.state.progress
    assert (progress.epochs_done, progress.best.epoch, progress.best.metrics) == (3, 1, {"mAP50-95": 0.45})
    assert [upload["is_best"] for upload in run.sdk.uploads] == [False]


def test_the_first_step_of_a_resumed_run_is_the_one_that_is_to_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in a_run(tmp_path, monkeypatch, TRAINING_RESUME_STEP="8", TRAINING_ATTEMPT="2"):
        run.trainer.start_epoch = 2
        run.trainer.call("on_train_start")
        run.trainer.batches(2)
        assert [step for _, step, _ in run.points("train", "loss")] == [8, 9]


def test_a_stop_ends_the_present_epoch_without_another_validation(run: Run) -> None:
    run.trainer.batches(0)
    run.sdk.asked = True
    assert not run.trainer.stop, "an epoch cut short would be saved as a whole one"
    run.trainer.validate(0.5)
    assert run.trainer.stop
    run.trainer.final_eval()
    assert run.points("val", "mAP50") == [(1, None, 0.5)]
    progress = run.state.progress
    assert (progress.stopped, progress.epochs_done) == (True, 1)


def test_a_stop_in_the_last_epoch_stops_nothing(run: Run) -> None:
    for epoch in range(EPOCHS):
        run.trainer.batches(epoch)
        run.sdk.asked = epoch == EPOCHS - 1
        run.trainer.validate(0.5)
    run.trainer.final_eval()
    assert (run.trainer.stop, run.state.progress.stopped) == (False, False)


def test_a_stop_before_the_first_epoch_trains_none(run: Run) -> None:
    run.sdk.asked = True
    with pytest.raises(callbacks.StoppedBeforeTraining):
        run.trainer.call("on_pretrain_routine_end")


def test_an_epoch_that_was_not_validated_has_no_metrics(run: Run) -> None:
    run.trainer.args.val = False
    run.trainer.batches(0)
    run.trainer.validate(0.0)
    assert run.points("val", "mAP50") == []
    assert run.state.progress.best.epoch is None
    assert [upload["metrics"] for upload in run.sdk.uploads] == [{}]


def test_a_report_that_fails_is_a_line_in_the_log_and_the_training_goes_on(run: Run) -> None:
    run.trainer.optimizer.param_groups = []
    run.trainer.batches(0)
    assert any(line.startswith("on_train_batch_end: IndexError") for line in run.lines())


def test_drawings_are_kept_as_plots_and_predictions(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[str, str]] = []
    monkeypatch.setattr(run.sdk, "upload_artifact", lambda path, kind, epoch: kept.append((Path(path).name, kind)))
    for name in ("confusion_matrix.png", "val_batch0_pred.jpg", "val_batch0_labels.jpg", "args.yaml"):
        (run.trainer.save_dir / name).touch()
    run.trainer.call("on_train_end")
    assert kept == [
        ("confusion_matrix.png", "plot"),
        ("val_batch0_labels.jpg", "plot"),
        ("val_batch0_pred.jpg", "prediction"),
    ]


# Several GPUs


def test_callbacks_survive_what_multi_gpu_training_does_to_them() -> None:
    for kind in (pickle, cloudpickle):
        sent = kind.dumps(dict(callbacks.CALLBACKS))
        assert kind.loads(sent) == dict(callbacks.CALLBACKS)
        assert len(sent) < 2_000, "names, not code or state"


def test_another_rank_than_0_reports_nothing_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in a_run(tmp_path, monkeypatch, rank=1):
        run.trainer.call("on_pretrain_routine_end")
        run.trainer.call("on_train_start")
        run.trainer.batches(0)
        run.sdk.asked = True
        run.trainer.validate(0.5)
        run.trainer.call("on_train_end")
        assert not run.trainer.stop, "rank 0's word is shared by Ultralytics; one's own would leave the others waiting"
        run.trainer.call("teardown")
        assert {event.type for event in run.log.events} <= {
            "training.session.opened.v2",
            "training.session.closed.v1",
            "training.heartbeat.sent.v1",
            "training.system.sampled.v1",
        }
        assert run.sdk.uploads == []


def test_rank_0_tells_its_parent_how_far_it_is_and_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in a_run(tmp_path, monkeypatch, rank=0):
        run.sdk.asked = True
        run.trainer.call("on_pretrain_routine_end")  # others wait for it: the first epoch is trained
        run.sdk.asked = False
        run.trainer.batches(0)
        run.trainer.validate(0.5)
        assert not run.trainer.stop
        run.trainer.batches(1)
        ranks.stop_file().touch()
        run.trainer.validate(0.7)
        assert run.trainer.stop
        progress = read_progress(tmp_path / "progress.json")
        assert progress is not None and progress == run.state.progress
        assert (progress.epochs_done, progress.step, progress.best.epoch, progress.stopped) == (2, 4, 2, True)
        assert progress.best.metrics == {"mAP50": 0.7, "mAP50-95": 0.35, "val_loss": pytest.approx(0.3)}
        try:
            raise RuntimeError("CUDA error: out of memory")
        except RuntimeError:
            run.trainer.call("teardown")
        parent = ranks.Ranks.__new__(ranks.Ranks)
        failure = parent.failure()
        assert failure is not None and failure.code == "OOM" and "rank 0: RuntimeError: CUDA" in str(failure)
        assert parent.progress == progress
