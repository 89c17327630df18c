"""The topics of the log: the one place that says what each holds, for how long, who writes and who reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from training_sdk import wire

PARTITIONS: Final = wire.PARTITIONS

SDK: Final = "training_sdk"
OUTBOX: Final = "outbox relay (api, launcher, projections-early-stop)"
CORE: Final = "projections-core"
EARLY_STOP: Final = "projections-early-stop"
MLFLOW: Final = "projections-mlflow"
ARCHIVE: Final = "projections-archive"
LIVE: Final = "api live tail"

FOR_EVER: Final = None


@dataclass(frozen=True, slots=True)
class Topic:
    """``retention`` None keeps records for ever. ``key`` is what the record's key identifies."""

    name: str
    key: str
    retention: timedelta | None
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    description: str

    def settings(self) -> dict[str, str]:
        """Kafka topic configuration."""
        retention_ms = -1 if self.retention is None else int(self.retention.total_seconds() * 1000)
        return {
            "retention.ms": str(retention_ms),
            "retention.bytes": "-1",
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": "1048588",
        }


def days(count: int) -> timedelta:
    return timedelta(days=count)


TOPICS: Final = (
    # name             key            kept       written by      read by               holds
    Topic(wire.JOBS, "job id", FOR_EVER, (SDK, OUTBOX), (CORE, MLFLOW, ARCHIVE, LIVE), "life, progress, checkpoints"),
    Topic(wire.METRICS, "job id", FOR_EVER, (SDK, OUTBOX), (CORE, EARLY_STOP, MLFLOW, ARCHIVE, LIVE), "metrics"),
    Topic(wire.LOGS, "job id", days(30), (SDK, OUTBOX), (CORE, ARCHIVE, LIVE), "log lines"),
    Topic(wire.SYSTEM, "job id", days(7), (SDK,), (CORE, ARCHIVE), "signs of life, GPU and CPU samples"),
    Topic(wire.DATASETS, "data set id", FOR_EVER, (OUTBOX,), (CORE, ARCHIVE), "registered data sets"),
    Topic(wire.MODELS, "model name", FOR_EVER, (OUTBOX,), (CORE, ARCHIVE), "models that trainers offer"),
    Topic(wire.DEAD_LETTER, "projection", FOR_EVER, (OUTBOX,), (CORE, ARCHIVE), "what operators did with dead letters"),
)

TOPIC_NAMES: Final = tuple(topic.name for topic in TOPICS)
