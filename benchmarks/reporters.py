"""One way to report a call to each system: what a training script of theirs and ours does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Reporter:
    """``log(epoch, step, phase, metrics)`` is what is measured; ``step`` is None for a report of an epoch.

    ``close`` returns when the client has handed over everything.
    """

    log: Callable[[int, int | None, str, Metrics], None]
    close: Callable[[], None]


def open_epochlog() -> Reporter:
    """From the environment, as every trainer does."""
    from training_sdk import TrainerSDK

    sdk = TrainerSDK.from_env()

    def log(epoch: int, step: int | None, phase: str, metrics: Metrics) -> None:
        sdk.report_metrics(epoch, phase, metrics, step=step)

    def close() -> None:
        sdk.close()

    return Reporter(log, close)


def open_trackio() -> Reporter:
    from benchmarks.peers.trackio import open_run

    return open_run()


def open_mlflow() -> Reporter:
    from benchmarks.peers.mlflow import open_run

    return open_run()


OPEN: Final[Mapping[str, Callable[[], Reporter]]] = {
    "epochlog": open_epochlog,
    "trackio": open_trackio,
    "mlflow": open_mlflow,
}
