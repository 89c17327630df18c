"""The log as events and data frames, from Kafka or from the archive: ``from training_sdk.replay import read_events``.

Wants ``training-sdk[analysis]``. The names are loaded when they are first used: the archive's writer needs
``training_sdk.replay.columns`` and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training_sdk.replay.event import Event, MalformedRecord, Record
    from training_sdk.replay.frame import Frame
    from training_sdk.replay.kafka import LogUnreadable
    from training_sdk.replay.plan import HistoryIncomplete
    from training_sdk.replay.read import Replay, logs, metrics, read_events

__all__ = [
    "Event",
    "Frame",
    "HistoryIncomplete",
    "LogUnreadable",
    "MalformedRecord",
    "Record",
    "Replay",
    "logs",
    "metrics",
    "read_events",
]

_HOME = {
    "Event": "event",
    "MalformedRecord": "event",
    "Record": "event",
    "Frame": "frame",
    "LogUnreadable": "kafka",
    "HistoryIncomplete": "plan",
    "Replay": "read",
    "logs": "read",
    "metrics": "read",
    "read_events": "read",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'training_sdk.replay' has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(f"training_sdk.replay.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("pandas", "polars", "pyarrow", "tqdm"):
            raise
        raise ImportError(
            f'training_sdk.replay needs {error.name}: pip install "training-sdk[analysis]"', name=error.name
        ) from error
