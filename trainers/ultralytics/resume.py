"""What an earlier attempt's checkpoint says, read before Ultralytics sees it.

Ultralytics strips its last.pt at the end of a training and then, asked to resume from such a file, begins a new
training with a warning only. So a checkpoint is looked at here first, and one that cannot be gone on from is an error.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.ultralytics.names import canonical
from training_sdk import CheckpointNotUsable


@dataclass(frozen=True, slots=True)
class Earlier:
    """``epochs_done``: of the whole run. ``results``: its results.csv so far, a column a name."""

    path: Path
    epochs_done: int
    results: Mapping[str, Sequence[Any]]

    def history(self) -> list[tuple[int, dict[str, float]]]:
        """Every epoch that was trained, with its metrics by canonical names."""
        rows = zip(*self.results.values(), strict=False)
        named = [dict(zip(self.results, row, strict=True)) for row in rows]
        return [(int(row["epoch"]), canonical(row)) for row in named if "epoch" in row]

    @property
    def seconds(self) -> float:
        """Time that was trained before. Ultralytics' clock begins anew with each attempt."""
        total = last = 0.0
        for moment in (float(value) for value in self.results.get("time", ())):
            if moment < last:
                total += last
            last = moment
        return total + last

    def write_results(self, folder: Path) -> None:
        """Let Ultralytics append to what was written before."""
        if not self.results:
            return
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "results.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.results)
            writer.writerows(zip(*self.results.values(), strict=False))


def read_checkpoint(path: str, epochs: int, classes: Sequence[str] | None = None) -> Earlier:
    """Raises CheckpointNotUsable for a file that is no Ultralytics checkpoint, was stripped, or is of another run.

    ``classes`` are the data set's, by the names that Ultralytics knows them by; None: not looked at.
    """
    import torch

    try:
        # Written by our own trainer and checked against its announced sha256 (SDK): its classes may be unpickled.
        found = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise CheckpointNotUsable(f"checkpoint {path} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict) or "train_args" not in found:
        raise CheckpointNotUsable(f"checkpoint {path} was not written by Ultralytics")
    epoch = found.get("epoch", -1)
    if epoch < 0 or found.get("optimizer") is None:
        raise CheckpointNotUsable(
            f"checkpoint {path} holds no state to go on from (Ultralytics strips it at the end of a training)"
        )
    wanted = found["train_args"].get("epochs")
    if wanted != epochs:
        raise CheckpointNotUsable(f"checkpoint {path} is of a run of {wanted} epochs, this one has {epochs}")
    names = getattr(found.get("ema"), "names", None)
    if classes is not None and isinstance(names, dict) and list(names.values()) != list(classes):
        raise CheckpointNotUsable(
            f"checkpoint {path} knows the classes {list(names.values())}, the data set has {list(classes)}"
        )
    return Earlier(Path(path), epoch + 1, found.get("train_results") or {})


def read_results(path: Path) -> dict[str, list[float]]:
    """The columns of a results.csv, {} when there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}
