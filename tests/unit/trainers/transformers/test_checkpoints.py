from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainers.transformers.checkpoints import (
    INCOMPLETE,
    NEEDED,
    STATE,
    Memory,
    check_folder,
    read_memory,
    steps_of_epoch,
    write_memory,
)
from trainers.transformers.train import primary_metric, visible_gpu
from training_sdk import CheckpointNotUsable


def whole(folder: Path, step: int = 20, max_steps: int = 30) -> Path:
    for name in (*NEEDED, "rng_state.pth"):
        (folder / name).write_bytes(b"x")
    (folder / STATE).write_text(json.dumps({"global_step": step, "max_steps": max_steps}))
    write_memory(folder, Memory(best_value=0.5, best_epoch=1))
    return folder


def test_a_whole_checkpoint_says_after_which_step_it_was_written(tmp_path: Path) -> None:
    assert check_folder(whole(tmp_path), steps_an_epoch=10, epochs=3) == 20


@pytest.mark.parametrize("name", [*NEEDED, "rng_state.pth"])
def test_a_checkpoint_without_one_of_its_files_is_incomplete(tmp_path: Path, name: str) -> None:
    (whole(tmp_path) / name).unlink()
    with pytest.raises(CheckpointNotUsable, match=f"incomplete: {name.replace('rng_state.pth', 'rng_state')}"):
        check_folder(tmp_path, 10, 3)


def test_the_librarys_mark_of_an_incomplete_checkpoint_is_heeded(tmp_path: Path) -> None:
    (whole(tmp_path) / INCOMPLETE).touch()
    with pytest.raises(CheckpointNotUsable, match="still being written"):
        check_folder(tmp_path, 10, 3)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    whole(tmp_path)
    with pytest.raises(CheckpointNotUsable, match="of a run of 30 steps, this one has 40"):
        check_folder(tmp_path, 10, 4)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (whole(tmp_path) / STATE).write_text("{")
    with pytest.raises(CheckpointNotUsable, match=STATE):
        check_folder(tmp_path, 10, 3)
    file = tmp_path / "last.pt"
    file.touch()
    with pytest.raises(CheckpointNotUsable, match="not a folder"):
        check_folder(file, 10, 3)
    for content in ("[", '{"another": 1}'):
        (tmp_path / "epochlog.json").write_text(content)
        with pytest.raises(CheckpointNotUsable, match=r"epochlog\.json"):
            read_memory(tmp_path)


def test_what_a_run_remembers_comes_back(tmp_path: Path) -> None:
    memory = Memory(0.75, 3, {"accuracy": 0.75}, {"accuracy": 0.5}, loss_sum=2.5, loss_steps=2, logged_step=12)
    write_memory(tmp_path, memory)
    assert read_memory(tmp_path) == memory


@pytest.mark.parametrize(
    ("pictures", "batch", "accumulation", "processes", "steps"),
    [(72, 8, 1, 1, 9), (73, 8, 1, 1, 10), (73, 8, 4, 1, 3), (73, 8, 1, 2, 5), (1, 64, 8, 1, 1)],
)
def test_steps_of_an_epoch(pictures: int, batch: int, accumulation: int, processes: int, steps: int) -> None:
    assert steps_of_epoch(pictures, batch, accumulation, processes) == steps


@pytest.mark.parametrize(
    ("config", "task", "wanted"),
    [
        ({}, "classification", ("accuracy", "max")),
        ({}, "detection", ("mAP50-95", "max")),
        ({"primary_metric": "recall", "primary_metric_mode": "max"}, "detection", ("recall", "max")),
        ({"primary_metric": "eval_loss"}, "detection", ("val_loss", "min")),
        ({"primary_metric": "val/accuracy"}, "classification", ("accuracy", "max")),
        ({"primary_metric": "my", "primary_metric_mode": "min"}, "detection", ("my", "min")),
        # The launcher hands on max where no mode was given.
        ({"primary_metric": "val_loss", "primary_metric_mode": "max"}, "detection", ("val_loss", "min")),
    ],
)
def test_the_best_checkpoint_is_the_best_by_the_jobs_own_metric(
    config: dict[str, Any], task: str, wanted: tuple[str, str]
) -> None:
    sdk: Any = SimpleNamespace(settings=SimpleNamespace(config=lambda: config))
    assert primary_metric(sdk, task) == wanted


@pytest.mark.parametrize(
    ("device", "visible", "wanted"),
    [
        ("0", None, "0"),
        ("cuda:1", None, "1"),
        ("cuda", "3,4", "3"),
        ("1", "3,4", "4"),
        ("1", "GPU-a,GPU-b", "GPU-b"),
        ("2", "3,4", ""),
        ("0", "", ""),
    ],
)
def test_one_process_sees_one_gpu(device: str, visible: str | None, wanted: str) -> None:
    assert visible_gpu(device, visible) == wanted
