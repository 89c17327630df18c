"""How far a run is, and which epoch was its best."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainers.processes import read_json, write_json
from trainers.ultralytics.names import Best, Primary, best_of
from trainers.ultralytics.resume import Earlier


@dataclass(slots=True)
class Progress:
    """Of the whole run, over all attempts. ``kept``: the last checkpoint is at least on its way to the store."""

    epochs_before: int = 0
    """Trained by earlier attempts."""
    epochs_done: int = 0
    step: int = 0
    best: Best = field(default_factory=Best)
    last_metrics: dict[str, float] = field(default_factory=dict)
    stopped: bool = False
    kept: bool = True

    def go_on_from(self, earlier: Earlier, first_step: int, primary: Primary) -> None:
        """Remember what was done: epochs, steps, and what a better epoch has to beat."""
        self.epochs_before = self.epochs_done = earlier.epochs_done
        self.step = max(0, first_step - 1)
        history = earlier.history()
        self.best = best_of(history, primary)
        self.last_metrics = history[-1][1] if history else {}


def write_progress(path: Path, progress: Progress) -> None:
    write_json(path, asdict(progress))


def read_progress(path: Path) -> Progress | None:
    """What was written there, None without."""
    found: dict[str, Any] | None = read_json(path)
    return None if found is None else Progress(**{**found, "best": Best(**found["best"])})
