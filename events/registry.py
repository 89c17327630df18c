"""Every event type there is: stable name, version, model and the topics it may stand on.

Only the newest version has a model. An older one's row holds the step that leads to the next
(training_sdk/upcasters.py): what was written by it is read through all steps up to the newest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
from events.types.datasets import DatasetRegistered
from events.types.deletion import JobDeleted, JobPurged, JobRestored
from events.types.jobs import (
    JobCompleted,
    JobCreated,
    JobDescribed,
    JobFailed,
    JobFound,
    JobLaunched,
    JobLost,
    JobQueued,
    JobStarted,
    JobStopped,
    ProcessExited,
    ProgressReported,
    StopDecided,
    StopRequested,
    StopSignalled,
)
from events.types.logs import LogWritten
from events.types.metrics import MetricsReported
from events.types.models import DeadLetterDiscarded, DeadLetterRedriven, ModelRegistered
from events.types.requests import CancelRequested, LimitExceeded, PauseRequested, ResumeRequested, RetryRequested
from events.types.sessions import EventsDropped, SessionClosed, SessionOpened
from events.types.system import HeartbeatSent, SystemSampled
from events.types.vocabulary import Fact, JsonObject
from training_sdk import upcasters
from training_sdk.wire import DATASETS, DEAD_LETTER, JOB_TOPICS, JOBS, LOGS, METRICS, MODELS, SYSTEM

EVERY_TOPIC: Final = (*JOB_TOPICS, DATASETS, MODELS, DEAD_LETTER)


Upcast = Callable[[JsonObject], JsonObject]


@dataclass(frozen=True, slots=True)
class EventType:
    """``name`` without the version; ``wire_name`` is what stands in the header ``ce_type``."""

    name: str
    version: int
    model_or_step: type[Fact] | Upcast
    topics: tuple[str, ...]
    description: str

    @property
    def wire_name(self) -> str:
        return f"{self.name}.v{self.version}"

    @property
    def step(self) -> Upcast | None:
        """Makes data of this version data of the next; None for the newest."""
        return None if isinstance(self.model_or_step, type) else self.model_or_step

    @property
    def model(self) -> type[Fact]:
        """What its data are read as: the newest version's model."""
        return self.model_or_step if isinstance(self.model_or_step, type) else following(self).model


EVENT_TYPES: Final = (
    # type                          version  model, or step    topics         what happened
    EventType("training.session.opened", 1, upcasters.session_opened_1_to_2, EVERY_TOPIC, "as version 2"),
    EventType("training.session.opened", 2, SessionOpened, EVERY_TOPIC, "a sender began to write to this topic"),
    EventType("training.session.closed", 1, SessionClosed, (JOBS,), "a sender said its last word"),
    EventType("training.events.dropped", 1, EventsDropped, JOB_TOPICS, "a sender had to leave something out"),
    EventType("training.job.created", 1, JobCreated, (JOBS,), "somebody asked for a training run"),
    EventType("training.job.described", 1, JobDescribed, (JOBS,), "somebody changed its name, tags or notes"),
    EventType("training.job.deleted", 1, JobDeleted, (JOBS,), "somebody hid the job"),
    EventType("training.job.restored", 1, JobRestored, (JOBS,), "somebody shows a deleted job again"),
    EventType("training.job.purged", 1, JobPurged, JOB_TOPICS, "all that is known of the job is to be erased"),
    EventType("training.job.queued", 1, JobQueued, (JOBS,), "the launcher took the job into its queue"),
    EventType("training.job.launched", 1, JobLaunched, (JOBS,), "the launcher started an attempt"),
    EventType("training.job.started", 1, JobStarted, (JOBS,), "the trainer runs"),
    EventType("training.progress.reported", 1, ProgressReported, (JOBS,), "the trainer is in this epoch"),
    EventType("training.checkpoint.saved", 1, upcasters.checkpoint_saved_1_to_2, (JOBS,), "as version 2"),
    EventType("training.checkpoint.saved", 2, CheckpointSaved, (JOBS,), "a checkpoint lies in the store"),
    EventType("training.artifact.saved", 1, ArtifactSaved, (JOBS,), "a plot or another file lies in the store"),
    EventType("training.stop.requested", 1, StopRequested, (JOBS,), "somebody asked the run to stop"),
    EventType("training.cancel.requested", 1, CancelRequested, (JOBS,), "somebody asked the run to end soon"),
    EventType("training.pause.requested", 1, PauseRequested, (JOBS,), "somebody asked the run to pause"),
    EventType("training.resume.requested", 1, ResumeRequested, (JOBS,), "somebody asked a paused run to go on"),
    EventType("training.retry.requested", 1, RetryRequested, (JOBS,), "a failed run is to be tried again"),
    EventType("training.limit.exceeded", 1, LimitExceeded, (JOBS,), "the run used more than it may"),
    EventType("training.stop.decided", 1, StopDecided, (JOBS,), "a rule of early stopping ended the attempt"),
    EventType("training.stop.signalled", 1, StopSignalled, (JOBS,), "the launcher told the run to stop"),
    EventType("training.job.completed", 1, JobCompleted, (JOBS,), "the trainer finished"),
    EventType("training.job.failed", 1, JobFailed, (JOBS,), "the run failed"),
    EventType("training.job.stopped", 1, JobStopped, (JOBS,), "the run ended early because it was asked to"),
    EventType("training.process.exited", 1, ProcessExited, (JOBS,), "the trainer's process ended"),
    EventType("training.job.lost", 1, JobLost, (JOBS,), "no sign of life for too long"),
    EventType("training.job.found", 1, JobFound, (JOBS,), "a lost run gave a sign of life"),
    EventType("training.metrics.reported", 1, MetricsReported, (METRICS,), "the trainer measured"),
    EventType("training.log.written", 1, LogWritten, (LOGS,), "the trainer wrote log lines"),
    EventType("training.heartbeat.sent", 1, HeartbeatSent, (SYSTEM,), "a sign of life"),
    EventType("training.system.sampled", 1, SystemSampled, (SYSTEM,), "what the machine was doing"),
    EventType("training.dataset.registered", 1, DatasetRegistered, (DATASETS,), "a data set may be trained on"),
    EventType("training.model.registered", 1, ModelRegistered, (MODELS,), "a trainer offers a model"),
    EventType("training.deadletter.redriven", 1, DeadLetterRedriven, (DEAD_LETTER,), "an operator sent it again"),
    EventType("training.deadletter.discarded", 1, DeadLetterDiscarded, (DEAD_LETTER,), "an operator gave it up"),
)

BY_WIRE_NAME: Final = {event_type.wire_name: event_type for event_type in EVENT_TYPES}
BY_MODEL: Final[dict[type[Fact], EventType]] = {
    event_type.model: event_type for event_type in EVENT_TYPES if event_type.step is None
}


def following(event_type: EventType) -> EventType:
    """The next version of a type. Raises KeyError for the newest."""
    return BY_WIRE_NAME[f"{event_type.name}.v{event_type.version + 1}"]


def event_type_of(model: type[Fact]) -> EventType:
    """The newest version of the type that has this model class. Raises KeyError for a class that is no event."""
    return BY_MODEL[model]
