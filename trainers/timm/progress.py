"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainers.timm.config import TimmConfig


@dataclass(slots=True)
class Progress:
    """``step`` counts batches and ``updates`` steps of the optimizer, both over all attempts of the run."""

    epochs_done: int = 0
    step: int = 0
    updates: int = 0
    seconds: float = 0.0
    """Of training and validation, over all attempts."""
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    last_metrics: dict[str, float] = field(default_factory=dict)

    def note_epoch(self, epoch: int, metrics: dict[str, float], config: TimmConfig) -> bool:
        """An epoch was validated; whether it is the best so far. NaN is never better than anything."""
        self.epochs_done, self.last_metrics = epoch, metrics
        value, best = metrics[config.primary_metric], self.best_metrics.get(config.primary_metric)
        if value != value:
            return False
        if best is None or (value > best if config.primary_mode == "max" else value < best):
            self.best_epoch, self.best_metrics = epoch, metrics
            return True
        return False
