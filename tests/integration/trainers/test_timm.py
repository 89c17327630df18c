"""Real trainings of a tiny model on tiny real pictures: what is reported, kept, stopped and taken up again."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.digit_pictures import write_digit_pictures
from tests.integration.trainers.timm_runs import InterruptedSDK, Run, environment, run_timm
from trainers.converters.reading import InvalidDataset
from trainers.failures import error_code_of
from trainers.timm import checkpoints, epochs
from trainers.timm import train as timm_train
from trainers.timm.config import read_config
from trainers.timm.data import load
from trainers.timm.parts import build, create_model, normalization
from trainers.timm.progress import Progress
from trainers.timm.ranks import Ranks
from training_sdk import CheckpointNotUsable, RunSettings, TrainerSDK, wire
from training_sdk.testing import RecordingTransport

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digit_pictures(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def three_epochs(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run that others are compared with."""
    return run_timm(digits, tmp_path_factory.mktemp("whole"), basic={"epochs": 3})


@pytest.fixture
def resume(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the next run find this checkpoint, as if it had come from the store."""

    def set_checkpoint(path: Path) -> None:
        monkeypatch.setattr(TrainerSDK, "resume_checkpoint", lambda sdk: str(path))

    return set_checkpoint


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = checkpoints.read(str(run.checkpoint), CPU)["model"]
    return weights


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_training_learns_and_reports_steps_epochs_and_results(three_epochs: Run) -> None:
    run = three_epochs
    assert (run.code, run.error) == (0, None)
    # 64 pictures in batches of eight.
    loss = run.points("train", "loss")
    of_steps = [(epoch, step) for epoch, step, _ in loss if step is not None]
    assert of_steps == [((step - 1) // 8 + 1, step) for step in range(1, 25)]
    assert [epoch for epoch, step, _ in loss if step is None] == [1, 2, 3]
    of_epochs = [value for _, _, value in run.points("train", "train_loss")]
    assert of_epochs == [value for _, step, value in loss if step is None]
    assert of_epochs[-1] < of_epochs[0] - 0.2
    rates = [value for _, step, value in run.points("train", "lr") if step is not None]
    assert rates[0] == 0.003 and rates == sorted(rates, reverse=True)
    for name in ("accuracy", "accuracy_top5", "val_loss", "eval_loss", "eval_top1", "eval_top5"):
        assert [(epoch, step) for epoch, step, _ in run.points("val", name)] == [(1, None), (2, None), (3, None)], name
    accuracies = [value for _, _, value in run.points("val", "accuracy")]
    assert max(accuracies) > 0.45, "chance is 0.25"
    assert [value for _, _, value in run.points("val", "eval_top1")] == pytest.approx([100 * a for a in accuracies])

    (started,) = run.log.data(wire.JOB_STARTED)
    assert started["total_epochs"] == 3
    progress = [(p["epoch"], p["phase"], "eta_seconds" in p) for p in run.log.data(wire.PROGRESS_REPORTED)]
    first, *others = progress
    assert first == (1, "train", False)
    assert others == [(1, "val", True), (2, "train", True), (2, "val", True), (3, "train", True), (3, "val", True)]
    (completed,) = run.log.data(wire.JOB_COMPLETED)
    results = completed["training_results"]
    assert results["total_epochs"] == 3 and results["gpu_hours"] == 0
    assert results["best_metrics"]["accuracy"] == max(accuracies)
    assert results["best_epoch"] == accuracies.index(max(accuracies)) + 1
    assert results["final_metrics"]["accuracy"] == accuracies[-1]
    for name in ("confusion_matrix.png", "predictions.png"):
        with Image.open(run.folder / "output" / name) as picture:
            picture.load()


def test_the_same_seed_trains_the_same_model(digits: Path, three_epochs: Run, tmp_path: Path) -> None:
    again = run_timm(digits, tmp_path / "again", basic={"epochs": 3})
    assert same(weights_of(again), weights_of(three_epochs))
    other = run_timm(digits, tmp_path / "other", basic={"seed": 7, "epochs": 1})
    assert not same(weights_of(other), weights_of(three_epochs))


@pytest.mark.parametrize(
    "advanced",
    [
        pytest.param({}, marks=pytest.mark.full),
        {"model_ema": True, "mixup_alpha": 0.8, "grad_accum_steps": 3},
    ],
)
def test_sigterm_ends_at_a_whole_epoch_and_a_resumed_run_ends_as_an_uninterrupted_one(
    digits: Path, tmp_path: Path, resume: Any, advanced: dict[str, Any]
) -> None:
    basic = {"epochs": 4, "augment": True}
    whole = run_timm(digits, tmp_path / "whole", basic=basic, advanced=advanced)
    stopped = run_timm(digits, tmp_path / "stopped", basic=basic, advanced=advanced, stop_in=2)
    assert (stopped.code, stopped.error) == (0, None)
    (report,) = stopped.log.data(wire.JOB_STOPPED)
    assert report["stopped_at_epoch"] == 2 and report["training_results"]["total_epochs"] == 2
    assert [epoch for epoch, _, _ in stopped.points("val", "accuracy")] == [1, 2]

    resume(stopped.checkpoint)
    resumed = run_timm(digits, tmp_path / "resumed", basic=basic, advanced=advanced)
    assert (resumed.code, resumed.error) == (0, None)
    assert resumed.points("train", "loss") == [point for point in whole.points("train", "loss") if point[0] > 2]
    assert resumed.points("train", "lr") == [point for point in whole.points("train", "lr") if point[0] > 2]
    assert resumed.points("val", "val_loss") == whole.points("val", "val_loss")[2:]
    assert same(weights_of(resumed), weights_of(whole))
    assert replace(resumed.progress, seconds=0.0) == replace(whole.progress, seconds=0.0)
    assert resumed.progress.seconds > stopped.progress.seconds > 0, "the time of both attempts"
    assert any("Going on after epoch 2 (step 16)" in line for line in resumed.lines())


def test_a_stop_in_the_last_epoch_stops_nothing(digits: Path, tmp_path: Path) -> None:
    run = run_timm(digits, tmp_path, basic={"epochs": 1}, stop_in=1)
    assert (run.code, run.error, run.log.data(wire.JOB_STOPPED)) == (0, None, [])
    (completed,) = run.log.data(wire.JOB_COMPLETED)
    assert completed["training_results"]["total_epochs"] == 1


def test_sigint_does_not_look_like_success(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RecordingTransport()
    settings = RunSettings.from_env(environment(digits, tmp_path, "test_resnet", {"epochs": 5}, {}))
    sdk = InterruptedSDK(settings, transport=log)
    sdk.stop_in, sdk.signal_sent = 2, signal.SIGINT
    monkeypatch.setattr(timm_train, "TrainerSDK", lambda settings: sdk)
    with pytest.raises(KeyboardInterrupt):
        timm_train.main()
    (failed,) = log.data(wire.JOB_FAILED)
    assert (failed["error_code"], failed["last_successful_epoch"]) == ("USER_STOPPED", 1)
    assert log.data(wire.JOB_COMPLETED) == log.data(wire.JOB_STOPPED) == []


def test_with_a_moving_average_its_metrics_are_the_reported_ones(digits: Path, tmp_path: Path) -> None:
    run = run_timm(digits, tmp_path, advanced={"model_ema": True, "model_ema_decay": 0.9})
    assert any("moving average" in line for line in run.lines())
    config = read_config("test_resnet", "classification", {"imgsz": 32, "batch": 8, "workers": 0}, {"model_ema": True})
    model = create_model(config, 4)
    normal = normalization(config, model)
    ranks = Ranks(0, 1, CPU)
    loaders = load(tmp_path / "output" / "data", [f"digit {n}" for n in range(4)], config, ranks, normal)
    parts = build(config, model, 4, 8, ranks)
    document = checkpoints.read(str(run.checkpoint), CPU)
    losses = {}
    for name in ("ema", "model"):
        assert parts.ema is not None
        parts.ema.module.load_state_dict(document[name])
        losses[name] = epochs.validate(parts, loaders, config, ranks, 4).loss
    reported = run.points("val", "val_loss")[-1][2]
    assert reported == pytest.approx(losses["ema"], rel=1e-5)
    assert reported != pytest.approx(losses["model"], rel=1e-3)


def test_the_designs_table_trains_though_the_last_batch_is_odd(tmp_path: Path) -> None:
    data = write_digit_pictures(tmp_path / "data", classes=3, train=7, val=3)
    advanced = {
        "drop_rate": 0.0,
        "drop_path_rate": 0.1,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "label_smoothing": 0.1,
        "aa": "rand-m9-mstd0.5",
        "reprob": 0.25,
        "remode": "pixel",
        "model_ema": True,
        "model_ema_decay": 0.9999,
        "clip_grad": 1.0,
        "layer_decay": 0.7,
        "mixup_off_epoch": 2,
        "warmup_epochs": 1,
        "amp": True,
    }
    basic = {"augment": True, "optimizer": "SGD", "workers": 1}
    run = run_timm(data, tmp_path, model="resnet10t", basic=basic, advanced=advanced)
    assert (run.code, run.error) == (0, None)
    # 21 pictures in batches of 8: two steps an epoch, 5 pictures wait for another epoch's order.
    assert [step for _, step, _ in run.points("train", "loss") if step] == [1, 2, 3, 4]


def test_a_batch_larger_than_the_data_set_is_one_batch(tmp_path: Path) -> None:
    data = write_digit_pictures(tmp_path / "data", classes=2, train=3, val=1)
    run = run_timm(data, tmp_path, basic={"batch": 64, "epochs": 1})
    assert [step for _, step, _ in run.points("train", "loss") if step] == [1]


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    data = write_digit_pictures(tmp_path / "data", classes=1, train=1, val=1)
    run = run_timm(data, tmp_path)
    assert isinstance(run.error, InvalidDataset) and "at least 2" in str(run.error)
    assert error_code_of(run.error) == "INVALID_CONFIG"


def test_a_loss_that_is_no_number_is_reported_as_it_is_and_ends_the_run_when_the_weights_are_lost(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = epochs.update

    def broken(parts: Any, config: Any, number: int) -> None:
        real(parts, config, number)
        if number == 10:
            with torch.no_grad():
                next(parts.model.parameters()).fill_(math.nan)

    monkeypatch.setattr(epochs, "update", broken)
    run = run_timm(digits, tmp_path, basic={"epochs": 5})
    assert isinstance(run.error, epochs.Diverged)
    for words in ("epoch 2", "nan", "lr0", "clip_grad"):
        assert words in str(run.error)
    lost = [step for _, step, value in run.points("train", "loss") if step is not None and math.isnan(value)]
    assert lost == list(range(11, 17))
    epoch, _, loss = run.points("val", "val_loss")[-1]
    assert epoch == 2 and math.isnan(loss)
    # What is kept is the last epoch whose weights were numbers.
    assert run.progress.epochs_done == 1
    assert checkpoints.read(str(run.checkpoint), CPU)["progress"]["epochs_done"] == 1


def test_memory_that_runs_out_is_named_as_such(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "update", lambda *_: torch.empty(2**50))
    run = run_timm(digits, tmp_path)
    assert run.error is not None and error_code_of(run.error) == "OOM"


@pytest.mark.parametrize(
    ("model", "basic", "advanced", "words"),
    [
        ("vgg16_bn", {}, {"drop_path_rate": 0.1}, "drop_path_rate"),
        ("test_resnet", {"augment": True}, {"aa": "no-such-policy"}, "Unknown AA policy"),
        ("test_resnet", {"device": "0,1"}, {}, "no GPU 0, 1"),
    ],
)
def test_what_only_timm_can_judge_is_judged_before_anything_is_fetched(
    tmp_path: Path, model: str, basic: dict[str, Any], advanced: dict[str, Any], words: str
) -> None:
    run = run_timm(tmp_path / "nothing", tmp_path, model=model, basic={"optimizer": "SGD", **basic}, advanced=advanced)
    assert run.error is not None and error_code_of(run.error) == "INVALID_CONFIG"
    assert words in str(run.error)
    assert run.log.data(wire.JOB_STARTED) == []


def test_a_missing_data_set_is_named_as_such(tmp_path: Path) -> None:
    run = run_timm(tmp_path / "nothing", tmp_path)
    assert run.error is not None and error_code_of(run.error) == "DATASET_NOT_FOUND"


def test_a_checkpoint_that_is_not_this_runs_is_refused(
    digits: Path, three_epochs: Run, tmp_path: Path, resume: Any
) -> None:
    foreign = tmp_path / "foreign.pt"
    for content, words in (({"model": {}}, "no checkpoint of this trainer"), (Progress(), "no checkpoint")):
        torch.save(content, foreign)
        resume(foreign)
        run = run_timm(digits, tmp_path / "foreign")
        assert isinstance(run.error, CheckpointNotUsable) and words in str(run.error)
    foreign.write_bytes(three_epochs.checkpoint.read_bytes()[:100_000])
    run = run_timm(digits, tmp_path / "cut")
    assert isinstance(run.error, CheckpointNotUsable)
    assert error_code_of(run.error) == "CHECKPOINT_NOT_USABLE"

    resume(three_epochs.checkpoint)
    run = run_timm(digits, tmp_path / "model", model="test_vit")
    assert isinstance(run.error, CheckpointNotUsable) and "'test_resnet'; this run's: 'test_vit'" in str(run.error)
    others = write_digit_pictures(tmp_path / "others", classes=3)
    run = run_timm(others, tmp_path / "classes")
    assert isinstance(run.error, CheckpointNotUsable) and "digit 3" in str(run.error)


def test_a_run_whose_epochs_are_all_done_completes_at_once(
    digits: Path, three_epochs: Run, tmp_path: Path, resume: Any
) -> None:
    resume(three_epochs.checkpoint)
    run = run_timm(digits, tmp_path, basic={"epochs": 3})
    (completed,) = run.log.data(wire.JOB_COMPLETED)
    assert completed["training_results"]["best_metrics"] == three_epochs.progress.best_metrics
    assert run.points("train", "loss") == []


def test_pretrained_weights_are_used_but_for_the_classifier(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    imagenet = timm.create_model("test_resnet", num_classes=1000)
    weights = tmp_path / "weights.pt"
    torch.save(imagenet.state_dict(), weights)
    monkeypatch.setattr("trainers.timm.train.fetch_weights", lambda sdk, framework, name: str(weights))
    config = read_config("test_resnet", "classification", {"imgsz": 32}, {})
    model = create_model(config, 4, str(weights))
    ours, theirs = model.state_dict(), imagenet.state_dict()
    changed = {name for name in ours if ours[name].shape != theirs[name].shape or not ours[name].equal(theirs[name])}
    assert changed == {"fc.weight", "fc.bias"}
    run = run_timm(digits, tmp_path, basic={"pretrained": True, "epochs": 1})
    assert (run.code, run.error) == (0, None)
