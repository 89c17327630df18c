"""A checkpoint of the library is a folder; it travels as one tar. What must lie in it, and what we add to it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from training_sdk import CheckpointNotUsable

STATE: Final = "trainer_state.json"
MEMORY: Final = "epochlog.json"
INCOMPLETE: Final = "checkpoint-is-incomplete.txt"
"""The library's mark on a folder that it was still writing."""
NEEDED: Final = (STATE, "optimizer.pt", "scheduler.pt", "model.safetensors", "config.json", MEMORY)
RNG_STATES: Final = "rng_state*.pth"


@dataclass(slots=True)
class Memory:
    """What a resumed run has to know beyond the library's own state."""

    best_value: float = -math.inf
    """Larger is better, whatever the metric's mode."""
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    last_metrics: dict[str, float] = field(default_factory=dict)
    loss_sum: float = 0.0
    """Over the steps of the present epoch that were logged."""
    loss_steps: int = 0
    logged_step: int = 0
    seconds: float = 0.0
    """Of training, over all attempts."""


def write_memory(folder: Path, memory: Memory) -> None:
    (folder / MEMORY).write_text(json.dumps(asdict(memory)), encoding="utf-8")


def read_memory(folder: Path) -> Memory:
    """Raises CheckpointNotUsable."""
    try:
        return Memory(**json.loads((folder / MEMORY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointNotUsable(f"{folder.name}/{MEMORY} cannot be read: {error}") from error


def check_folder(folder: Path, steps_an_epoch: int, epochs: int) -> int:
    """The step after which this checkpoint was written. Raises CheckpointNotUsable.

    The library would begin with fresh optimizer and random states where their files are missing, and say so in a log
    line only.
    """
    if not folder.is_dir():
        raise CheckpointNotUsable(f"{folder.name} is not a folder; a checkpoint of this trainer is one")
    if (folder / INCOMPLETE).exists():
        raise CheckpointNotUsable(f"{folder.name} is incomplete: it was still being written when its process ended")
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if not any(folder.glob(RNG_STATES)):
        missing.append(RNG_STATES)
    if missing:
        raise CheckpointNotUsable(f"{folder.name} is incomplete: {', '.join(missing)} missing")
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        step, total = int(state["global_step"]), int(state["max_steps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointNotUsable(f"{folder.name}/{STATE} cannot be read: {error}") from error
    if total != steps_an_epoch * epochs:
        raise CheckpointNotUsable(
            f"{folder.name} is of a run of {total} steps, this one has {steps_an_epoch * epochs}: its epochs, batch or "
            "data set are others"
        )
    return step


def steps_of_epoch(pictures: int, batch: int, accumulation: int, processes: int) -> int:
    """Steps of the optimizer in an epoch, as the library counts them."""
    return math.ceil(math.ceil(pictures / (batch * processes)) / accumulation)
