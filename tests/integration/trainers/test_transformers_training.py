"""The library's Trainer with our callback: what it reports, and that a run that goes on is the same run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from PIL import Image

from tests.digit_pictures import write_digit_pictures
from trainers.converters.dice_to_image_folder import ImageFolders, convert
from trainers.transformers import learning, models
from trainers.transformers import train as script
from trainers.transformers.checkpoints import Memory, check_folder, read_memory
from trainers.transformers.config import Model, read_config
from trainers.transformers.config import models as catalogue
from trainers.transformers.data import Augmentation, Collator, Pictures, Scenes, as_shares, samples_of
from trainers.transformers.reports import Reporter
from trainers.weights import WeightsNotUsable
from training_sdk import CheckpointNotUsable

CLASSES, TRAIN_A_CLASS, BATCH, EPOCHS = 3, 16, 8, 3
EACH = CLASSES * TRAIN_A_CLASS // BATCH
PHASE, STEP, VALUES = 2, 3, 4


@dataclass(slots=True)
class Recorder:
    """In the SDK's place: keeps what is reported, and copies checkpoints as the SDK does."""

    folder: Path
    stop_after: int | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    checkpoints: dict[int, tuple[Path, bool, dict[str, Any]]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def report_metrics(self, epoch: int, phase: str, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls.append(("metrics", epoch, phase, step, metrics))

    def report_progress(self, epoch: int, total: int, phase: str, eta_seconds: float | None) -> None:
        self.calls.append(("progress", epoch, phase, total, eta_seconds))

    def log_info(self, message: str, **_: Any) -> None:
        self.lines.append(message)

    def log_warning(self, message: str) -> None:
        self.lines.append(message)

    def upload_checkpoint(self, path: str, is_best: bool, **details: Any) -> None:
        copy = self.folder / Path(path).name
        shutil.copytree(path, copy)
        self.names.append(copy.name)
        if not copy.name.startswith("epoch_"):
            self.checkpoints[details["step"]] = (copy, is_best, details)

    def should_stop(self) -> bool:
        return self.stop_after is not None and len(self.of("val")) >= self.stop_after

    def of(self, phase: str, *, steps: bool = False) -> list[tuple[int | None, dict[str, float]]]:
        """Metrics of a phase: of its epochs, else those with a step."""
        found = [call for call in self.calls if call[0] == "metrics" and call[PHASE] == phase]
        return [(call[STEP] or call[1], call[VALUES]) for call in found if (call[STEP] is not None) == steps]


@dataclass(slots=True)
class Run:
    sdk: Recorder
    reporter: Reporter
    model: Any

    def weights(self) -> dict[str, torch.Tensor]:
        return dict(self.model.state_dict())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> ImageFolders:
    dice = write_digit_pictures(tmp_path_factory.mktemp("digits"), classes=CLASSES, train=TRAIN_A_CLASS, val=4)
    return convert(dice)


def run(
    folders: ImageFolders,
    folder: Path,
    *,
    stop_after: int | None = None,
    goes_on: Path | None = None,
    before: Callable[[Any], object] = lambda model: None,
    primary: str = "accuracy",
    save_period: int = -1,
    **advanced: Any,
) -> Run:
    """A whole tiny training, or one that is stopped, or goes on from a checkpoint."""
    basic = {"imgsz": 32, "epochs": EPOCHS, "batch": BATCH, "lr0": 0.002, "optimizer": "AdamW", "device": "cpu"}
    config = read_config("vit-micro-patch8", "classification", basic, advanced)
    transformers.set_seed(0)
    model = models.build_model(config.model, config.task_type, 32, folders.classes)
    before(model)
    (folder / "kept").mkdir(parents=True)
    sdk = Recorder(folder / "kept", stop_after)
    memory, done = Memory(), 0
    if goes_on is not None:
        done = check_folder(goes_on, EACH, EPOCHS) // EACH
        memory = read_memory(goes_on)
    reporter = Reporter(
        sdk,  # type: ignore[arg-type]
        primary=primary,
        mode="min" if "loss" in primary else "max",
        memory=memory,
        epochs_done=done,
        eval_steps=config.advanced.eval_steps,
        save_steps=config.advanced.save_steps,
        save_period=save_period,
    )
    trainer = learning.build_trainer(
        config,
        learning.training_arguments(config, folder / "run"),
        model=model,
        processor=models.build_processor(config.model, config.task_type, 32),
        train=Pictures(samples_of(folders, "train"), Augmentation(0)),
        val=Pictures(samples_of(folders, "val")),
        truth=None,
        reporter=reporter,
    )
    trainer.train(resume_from_checkpoint=str(goes_on) if goes_on else None)
    return Run(sdk, reporter, model)


STEPWISE: dict[str, Any] = {"eval_steps": 4, "save_steps": 4, "warmup_ratio": 0.1}


@pytest.fixture(scope="module")
def whole(folders: ImageFolders, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(folders, tmp_path_factory.mktemp("whole"), **STEPWISE)


def equal(one: Run, other: Run) -> bool:
    weights = other.weights()
    return all(torch.equal(tensor, weights[name]) for name, tensor in one.weights().items())


def without_speed(rows: list[tuple[int | None, dict[str, float]]]) -> list[tuple[int | None, dict[str, float]]]:
    return [
        (at, {name: value for name, value in values.items() if "runtime" not in name and "per_second" not in name})
        for at, values in rows
    ]


def test_every_step_and_every_epoch_is_reported_once(whole: Run) -> None:
    steps = whole.sdk.of("train", steps=True)
    assert [step for step, _ in steps] == list(range(1, EPOCHS * EACH + 1))
    assert all(set(values) == {"loss", "lr", "grad_norm"} for _, values in steps)
    epochs = whole.sdk.of("train")
    assert [epoch for epoch, _ in epochs] == [1, 2, 3]
    for epoch, values in epochs:
        own = [found["loss"] for step, found in steps if step is not None and (step - 1) // EACH + 1 == epoch]
        assert values["loss"] == pytest.approx(sum(own) / EACH)
    assert [epoch for epoch, _ in whole.sdk.of("val")] == [1, 2, 3]
    for _, values in whole.sdk.of("val"):
        assert {"accuracy", "accuracy_top5", "precision", "recall", "val_loss", "eval_accuracy"} <= set(values)
        assert values["val_loss"] == values["eval_loss"]


def test_progress_comes_before_an_epoch_and_after_its_validation_with_the_time_that_is_left(whole: Run) -> None:
    found = [call[1:] for call in whole.sdk.calls if call[0] == "progress"]
    assert [call[:3] for call in found] == [(e, p, EPOCHS) for e in (1, 2, 3) for p in ("train", "val")]
    assert found[0][3] is None and found[2][3] > 0 and found[-1][3] == 0


def test_the_librarys_summary_at_the_end_is_a_line_and_no_metric(whole: Run) -> None:
    assert any(line.startswith("Trained for ") for line in whole.sdk.lines)
    names = {name for call in whole.sdk.calls if call[0] == "metrics" for name in call[VALUES]}
    assert not any(name.startswith("train_") or name in ("epoch", "total_flos") for name in names)


def test_steps_asked_for_bring_validations_and_checkpoints_beside_those_of_the_epochs(whole: Run) -> None:
    assert [step for step, _ in whole.sdk.of("val", steps=True)] == [4, 8, 16]  # 12 is the end of an epoch
    assert {step: details["epoch"] for step, (_, _, details) in whole.sdk.checkpoints.items()} == {
        4: 0,
        6: 1,
        8: 1,
        12: 2,
        16: 2,
        18: 3,
    }
    assert all(details["resumable"] for _, _, details in whole.sdk.checkpoints.values())


def test_the_best_checkpoint_is_the_one_with_the_best_metric(whole: Run) -> None:
    values = {step: details["metrics"]["accuracy"] for step, (_, _, details) in whole.sdk.checkpoints.items()}
    best: list[int] = []
    so_far = -1.0
    for step, value in sorted(values.items()):
        if value > so_far:
            best, so_far = [*best, step], value
    assert [step for step, (_, is_best, _) in sorted(whole.sdk.checkpoints.items()) if is_best] == best
    assert whole.reporter.memory.best_value == so_far


@pytest.mark.parametrize("step", [EACH, 8], ids=["at an epoch's end", "inside an epoch"])
def test_a_run_that_goes_on_is_the_same_as_one_that_was_never_interrupted(
    folders: ImageFolders, whole: Run, tmp_path: Path, step: int
) -> None:
    """Weights, optimizer, rates, random pictures, step numbers, means over epochs and the best: all of it."""
    later = run(folders, tmp_path, goes_on=whole.sdk.checkpoints[step][0], **STEPWISE)
    assert equal(whole, later)
    for phase in ("train", "val"):
        done = step // EACH
        assert without_speed(later.sdk.of(phase)) == without_speed(whole.sdk.of(phase)[done:])
        expected = [row for row in whole.sdk.of(phase, steps=True) if row[0] is not None and row[0] > step]
        assert without_speed(later.sdk.of(phase, steps=True)) == without_speed(expected)
    assert replace(later.reporter.memory, seconds=0) == replace(whole.reporter.memory, seconds=0)
    assert later.reporter.seconds > read_memory(whole.sdk.checkpoints[step][0]).seconds > 0, "of both attempts"


def test_the_metric_that_counts_may_be_a_loss_and_checkpoints_may_keep_their_epochs_names(
    folders: ImageFolders, tmp_path: Path
) -> None:
    made = run(folders, tmp_path, primary="val_loss", save_period=2)
    losses = {epoch: values["val_loss"] for epoch, values in made.sdk.of("val")}
    assert made.reporter.memory.best_epoch == min(losses, key=lambda epoch: losses[epoch])
    assert made.reporter.memory.best_value == -min(losses.values())
    assert "epoch_2" in made.sdk.names and not {"epoch_1", "epoch_3"} & set(made.sdk.names)


def test_without_the_metric_that_counts_the_first_checkpoint_is_the_best(folders: ImageFolders, tmp_path: Path) -> None:
    made = run(folders, tmp_path, primary="acuracy", stop_after=2)
    assert [is_best for _, is_best, _ in made.sdk.checkpoints.values()] == [True, False]
    assert len([line for line in made.sdk.lines if line.startswith("primary_metric acuracy is none of")]) == 1


def test_a_stop_ends_the_epoch_with_a_checkpoint_of_it(folders: ImageFolders, tmp_path: Path) -> None:
    stopped = run(folders, tmp_path, stop_after=1)
    assert (stopped.reporter.stopped, stopped.reporter.epochs_done) == (True, 1)
    assert list(stopped.sdk.checkpoints) == [EACH]


def test_a_stop_in_the_last_epoch_stops_nothing_any_more(folders: ImageFolders, tmp_path: Path) -> None:
    late = run(folders, tmp_path, stop_after=EPOCHS)
    assert (late.reporter.stopped, late.reporter.epochs_done) == (False, EPOCHS)


def test_a_run_that_was_done_but_not_reported_has_nothing_to_train(
    folders: ImageFolders, whole: Run, tmp_path: Path
) -> None:
    again = run(folders, tmp_path, goes_on=whole.sdk.checkpoints[EPOCHS * EACH][0], **STEPWISE)
    assert again.sdk.calls == [] and equal(whole, again)
    assert again.reporter.epochs_done == EPOCHS
    assert again.reporter.memory.last_metrics == whole.reporter.memory.last_metrics


def test_a_mean_of_steps_that_are_not_all_logged_covers_the_epoch(
    folders: ImageFolders, whole: Run, tmp_path: Path
) -> None:
    rarely = run(folders, tmp_path, logging_steps=4, **STEPWISE)
    assert [step for step, _ in rarely.sdk.of("train", steps=True)] == [4, 6, 8, 12, 16, 18]
    for (_, some), (_, every) in zip(rarely.sdk.of("train"), whole.sdk.of("train"), strict=True):
        assert some["loss"] == pytest.approx(every["loss"], rel=1e-4)


def test_a_loss_that_is_no_number_is_reported_as_such(folders: ImageFolders, tmp_path: Path) -> None:
    """The library's own default shows the mean of earlier losses instead."""

    def break_it(model: Any) -> None:
        model.classifier.weight.data.fill_(math.nan)

    broken = run(folders, tmp_path, before=break_it, stop_after=1)
    assert all(math.isnan(values["loss"]) for _, values in broken.sdk.of("train", steps=True))
    assert math.isnan(broken.sdk.of("val")[0][1]["val_loss"])


def test_gradients_over_several_batches_are_one_step(folders: ImageFolders, tmp_path: Path) -> None:
    accumulated = run(folders, tmp_path, stop_after=1, gradient_accumulation_steps=4, label_smoothing_factor=0.1)
    assert [step for step, _ in accumulated.sdk.of("train", steps=True)] == [1, 2]


def test_a_checkpoint_of_another_number_of_classes_is_refused(whole: Run) -> None:
    other = models.build_model(catalogue()["vit-micro-patch8"], "classification", 32, ["a", "b"])
    with pytest.raises(CheckpointNotUsable, match="checkpoint-6 does not fit ViTForImageClassification"):
        models.load_checkpoint(other, whole.sdk.checkpoints[EACH][0])


@pytest.mark.parametrize("form", ["folder", "safetensors", "pt"])
def test_weights_are_taken_over_but_for_the_head_of_other_classes(whole: Run, tmp_path: Path, form: str) -> None:
    folder = whole.sdk.checkpoints[EPOCHS * EACH][0]
    path = {"folder": folder, "safetensors": folder / "model.safetensors", "pt": tmp_path / "w.pt"}[form]
    torch.save({"state_dict": safetensors.torch.load_file(folder / "model.safetensors")}, tmp_path / "w.pt")
    other = models.build_model(catalogue()["vit-micro-patch8"], "classification", 32, ["a", "b"])
    taken, of = models.load_weights(other, path)
    assert of - taken == 2  # weight and bias of the head
    trained = whole.weights()
    found = dict(other.state_dict())
    assert all(torch.equal(found[name], trained[name]) for name in found if not name.startswith("classifier"))


def test_the_platforms_weights_are_asked_for_by_the_models_name(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    kept: list[str | None] = [str(whole.sdk.checkpoints[EACH][0] / "model.safetensors"), None]

    def fetch(sdk: Any, *wanted: str) -> str | None:
        asked.append(wanted)
        return kept.pop(0)

    monkeypatch.setattr(script, "fetch_weights", fetch)
    sdk: Any = Recorder(tmp_path)
    config = read_config("vit-micro-patch8", "classification", {"imgsz": 32}, {})
    model = models.build_model(config.model, "classification", 32, ["a", "b", "c"])
    script.begin_with_weights(sdk, model, config)
    of = len(model.state_dict())
    assert sdk.lines == [f"vit-micro-patch8: {of} of {of} tensors taken over from the platform's weights"]
    script.begin_with_weights(sdk, model, config)  # the store has none: said by fetch_weights, and no failure
    assert asked == [("transformers", "vit-micro-patch8", ".safetensors")] * 2 and len(sdk.lines) == 1


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    model = models.build_model(catalogue()["vit-micro-patch8"], "classification", 32, ["a", "b"])
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    (tmp_path / "w.pt").write_text("no weights")
    torch.save([1], tmp_path / "list.pt")
    for name, words in (("w.safetensors", "none of the"), ("w.pt", "cannot be read"), ("list.pt", "no tensors")):
        with pytest.raises(WeightsNotUsable, match=words):
            models.load_weights(model, tmp_path / name)


LARGE = frozenset({"vit-small-patch16", "vit-base-patch16", "resnet-50", "swin-tiny", "rtdetr-r18", "yolos-tiny"})


@pytest.mark.parametrize(
    "model",
    [pytest.param(model, marks=[pytest.mark.full] if model.name in LARGE else []) for model in catalogue().values()],
    ids=lambda model: model.name,
)
def test_every_model_trains_from_its_architecture_alone(model: Model) -> None:
    (task,) = model.task_types
    imgsz = max(model.imgsz_min, 64)
    built = models.build_model(model, task, imgsz, ["a", "b", "c"])
    assert built.supports_gradient_checkpointing == model.gradient_checkpointing
    assert built.num_parameters() / 1e6 == pytest.approx(model.parameters_millions, rel=0.05, abs=0.06)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8))
    boxes = as_shares(torch.tensor([[10.0, 10.0, 20.0, 20.0]]), 90, 50)
    found = {"image_id": 7, "boxes": boxes, "class_labels": torch.tensor([2])}
    nothing = {"image_id": 8, "boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.int64)}
    labels: list[dict[str, Any]] = [{"label": 0}, {"label": 2}] if task == "classification" else [found, nothing]
    batch = Collator(models.build_processor(model, task, imgsz))([{"picture": picture, **label} for label in labels])
    assert batch["pixel_values"].shape == (2, 3, imgsz, imgsz)
    built(**batch).loss.backward()
    assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in built.parameters())


def test_a_box_follows_its_picture_when_it_is_flipped(tmp_path: Path) -> None:
    Image.new("RGB", (100, 50)).save(tmp_path / "a.png")
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 50}],
        "annotations": [
            {"image_id": 1, "category_id": 0, "bbox": [90, 0, 20, 25], "iscrowd": 0},
            {"image_id": 1, "category_id": 0, "bbox": [0, 0, 100, 50], "iscrowd": 1},
        ],
    }
    plain = Scenes(document, tmp_path)[0]["boxes"]
    assert plain.tolist() == [pytest.approx([0.95, 0.25, 0.1, 0.5])], "inside the picture, and no crowd"
    changed = Scenes(document, tmp_path, Augmentation(0))
    seen = set()
    for epoch in range(8):
        changed.set_epoch(epoch)
        seen.add(round(float(changed[0]["boxes"][0, 0]), 3))
    assert seen == {0.95, 0.05}


def test_an_exception_in_training_is_a_failure_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library calls no callback then."""
    reported: list[tuple[Any, ...]] = []

    class Sdk(Recorder):
        def report_failed(self, *details: Any) -> None:
            reported.append(details)

        def log_error(self, message: str) -> None:
            self.lines.append(message)

        def close(self, timeout_s: float) -> None:
            pass

    def fails(sdk: Any, progress: script.Progress) -> int:
        progress.reporter = type("Reporter", (), {"epochs_done": 2})()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(script, "TrainerSDK", type("Fake", (), {"from_env": lambda: Sdk(Path())}))
    monkeypatch.setattr(script, "train", fails)
    assert script.main() == 1
    assert [details[0] for details in reported] == ["OOM"] and reported[0][2] == 2
