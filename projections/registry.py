"""Every read model: which process builds it, which topic it folds, which event types change it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from events.registry import EVENT_TYPES
from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
from events.types.datasets import DatasetRegistered
from events.types.deletion import JobPurged
from events.types.logs import LogWritten
from events.types.metrics import MetricsReported
from events.types.models import DeadLetterDiscarded, DeadLetterRedriven, ModelRegistered
from events.types.sessions import EventsDropped, SessionOpened
from events.types.system import HeartbeatSent, SystemSampled
from events.types.vocabulary import Fact
from producers.queries import load_queries
from projections.core import artifacts, checkpoints, datasets, dead_letters, jobs, logs, metrics, models, system
from projections.early_stop import fold as early_stop
from projections.mlflow_mirror import mirror
from training_sdk.wire import DATASETS, DEAD_LETTER, JOBS, LOGS, METRICS, MODELS, SYSTEM

CORE: Final = "core"
EARLY_STOP: Final = "early-stop"
MLFLOW: Final = "mlflow"
ARCHIVE: Final = "archive"
PROCESSES: Final = (CORE, EARLY_STOP, MLFLOW, ARCHIVE)
"""The last one has no read model: it writes the log itself into S3."""

Handler = Callable[..., Awaitable[None]]
"""``handler(tx, events)``: a run of neighbouring events, in log order, and the open transaction."""

Forget = Callable[[int, Any], Awaitable[str | None]]
"""``forget(job_id, outside)``: erase a purged job beyond Postgres. Returns what remains there, for people."""

JOB_EVENTS: Final = tuple(kind.model for kind in EVENT_TYPES if JOBS in kind.topics and kind.model is not JobPurged)
"""Without the purge of a job, which is applied alike to every read model (projections/runtime/purge.py)."""


@dataclass(frozen=True, slots=True)
class Projection:
    """``tables`` is the SQL file whose query ``create_tables`` makes its tables.

    Its query ``forget_job`` empties them of one job, where the topic is one of jobs. A changed table or meaning is
    ``version`` + 1: a new version is built beside the old one. ``kept`` are tables that the log does not tell: a build
    takes their rows over from the live version. ``forget`` erases a purged job beyond Postgres.
    """

    name: str
    process: str
    topic: str
    version: int
    tables: Path
    handlers: Mapping[type[Fact], Handler]
    kept: tuple[str, ...] = ()
    forget: Forget | None = None

    @property
    def queries(self) -> Any:
        """Those of ``tables``."""
        return load_queries(self.tables)


PROJECTIONS: Final = (
    Projection("jobs", CORE, JOBS, 6, jobs.TABLES, dict.fromkeys(JOB_EVENTS, jobs.record)),
    Projection("artifacts", CORE, JOBS, 1, artifacts.TABLES, {ArtifactSaved: artifacts.record}),
    Projection("checkpoints", CORE, JOBS, 2, checkpoints.TABLES, {CheckpointSaved: checkpoints.record}),
    Projection(
        "metrics",
        CORE,
        METRICS,
        5,
        metrics.TABLES,
        {
            SessionOpened: metrics.open_attempt,
            MetricsReported: metrics.append_points,
            EventsDropped: metrics.note_gap,
        },
    ),
    Projection(
        "logs",
        CORE,
        LOGS,
        3,
        logs.TABLES,
        {LogWritten: logs.append, SessionOpened: logs.note_session, EventsDropped: logs.note_session},
    ),
    Projection(
        "system",
        CORE,
        SYSTEM,
        4,
        system.TABLES,
        {
            HeartbeatSent: system.see,
            SystemSampled: system.record,
            SessionOpened: system.note_session,
            EventsDropped: system.note_session,
        },
    ),
    Projection("datasets", CORE, DATASETS, 1, datasets.TABLES, {DatasetRegistered: datasets.record}),
    Projection("models", CORE, MODELS, 2, models.TABLES, {ModelRegistered: models.record}),
    Projection(
        "dead-letters",
        CORE,
        DEAD_LETTER,
        1,
        dead_letters.TABLES,
        {DeadLetterRedriven: dead_letters.redriven, DeadLetterDiscarded: dead_letters.discarded},
    ),
    Projection(
        "early-stop",
        EARLY_STOP,
        METRICS,
        1,
        early_stop.TABLES,
        {SessionOpened: early_stop.open_attempt, MetricsReported: early_stop.observe},
        kept=("early_stop_past",),
    ),
    Projection(
        "mlflow-runs",
        MLFLOW,
        JOBS,
        2,
        mirror.RUN_TABLES,
        dict.fromkeys(JOB_EVENTS, mirror.follow_runs),
        forget=mirror.forget_run,
    ),
    Projection(
        "mlflow-metrics",
        MLFLOW,
        METRICS,
        1,
        mirror.METRIC_TABLES,
        {MetricsReported: mirror.log_metrics},
        forget=mirror.forget_run,
    ),
)


def projection_named(name: str) -> Projection:
    """Raises KeyError with the names there are."""
    for projection in PROJECTIONS:
        if projection.name == name:
            return projection
    raise KeyError(f"no read model is called {name!r}; there are {', '.join(p.name for p in PROJECTIONS)}")


def of_process(process: str) -> tuple[Projection, ...]:
    return tuple(projection for projection in PROJECTIONS if projection.process == process)


Outside = Any
"""What the handlers of a live process get beside the transaction: for ``mlflow`` a mirror.Mlflow, for ``early-stop``
the way to the outbox (decisions.append_decision), else None."""
