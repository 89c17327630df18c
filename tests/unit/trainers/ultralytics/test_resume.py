from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainers.ultralytics.resume import Earlier, read_checkpoint, read_results
from training_sdk import CheckpointNotUsable

RESULTS: dict[str, list[Any]] = {
    # Two attempts: the clock begins anew with the second.
    "epoch": [1, 2, 3, 4],
    "time": [10.0, 20.0, 5.0, 15.0],
    "metrics/mAP50(B)": [0.1, 0.3, 0.2, 0.25],
}


def saved(folder: Path, **changes: Any) -> str:
    path = folder / "checkpoint.pt"
    content = {"epoch": 3, "optimizer": {}, "train_args": {"epochs": 8}, "train_results": RESULTS, **changes}
    torch.save(content, path)
    return str(path)


def test_what_was_done_before_is_read(tmp_path: Path) -> None:
    earlier = read_checkpoint(saved(tmp_path), 8)
    assert earlier.epochs_done == 4
    assert earlier.seconds == 20.0 + 15.0
    assert earlier.history() == [(1, {"mAP50": 0.1}), (2, {"mAP50": 0.3}), (3, {"mAP50": 0.2}), (4, {"mAP50": 0.25})]
    earlier.write_results(tmp_path / "run")
    lines = (tmp_path / "run" / "results.csv").read_text().splitlines()
    assert lines[0] == "epoch,time,metrics/mAP50(B)"
    assert lines[1:] == ["1,10.0,0.1", "2,20.0,0.3", "3,5.0,0.2", "4,15.0,0.25"]


def test_without_a_history_nothing_is_written(tmp_path: Path) -> None:
    earlier = Earlier(tmp_path, 1, {})
    earlier.write_results(tmp_path / "run")
    assert (earlier.seconds, earlier.history(), (tmp_path / "run").exists()) == (0.0, [], False)


def test_a_results_file_is_read_back(tmp_path: Path) -> None:
    Earlier(tmp_path, 4, RESULTS).write_results(tmp_path)
    assert read_results(tmp_path / "results.csv") == RESULTS
    assert read_results(tmp_path / "missing.csv") == {}


def test_one_that_learnt_other_classes_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, ema=SimpleNamespace(names={0: "seven", 1: "three"}))
    assert read_checkpoint(path, 8, ["seven", "three"]).epochs_done == 4
    with pytest.raises(CheckpointNotUsable, match=r"knows the classes \['seven', 'three'\], the data set"):
        read_checkpoint(path, 8, ["three", "seven"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": -1, "optimizer": None}, "Ultralytics strips it"),
        ({"optimizer": None}, "no state to go on from"),
        ({"train_args": {"epochs": 100}}, "of a run of 100 epochs, this one has 8"),
    ],
)
def test_a_checkpoint_that_would_begin_a_new_training_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointNotUsable, match=reason):
        read_checkpoint(saved(tmp_path, **changes), 8)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torn = tmp_path / "torn.pt"
    torn.write_bytes(Path(saved(tmp_path)).read_bytes()[:100])
    with pytest.raises(CheckpointNotUsable, match="cannot be read"):
        read_checkpoint(str(torn), 8)
    torch.save({"state_dict": {}}, torn)
    with pytest.raises(CheckpointNotUsable, match="not written by Ultralytics"):
        read_checkpoint(str(torn), 8)
