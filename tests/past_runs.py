"""Past runs with curves whose answers are known: the events of whole jobs, as trainers and the outbox write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from events.envelope import Event
from events.types.jobs import JobFailed, JobStopped, StopDecided
from events.types.vocabulary import Fact
from producers.decisions import decision_id
from tests.builders import NOON, event, job_completed, job_created, job_started, metrics_reported, session_opened
from training_sdk.wire import JOBS, METRICS


@dataclass
class RunOf:
    """A job whose attempts report ``metric`` once an epoch, an hour each. ``at`` is its own clock."""

    job_id: int = 25
    metric: str = "mAP50"
    phase: str = "val"
    config: dict[str, Any] = field(default_factory=dict)
    gpus: int = 0
    at: datetime = NOON
    created: dict[str, Any] = field(default_factory=dict)
    events: list[Event[Fact]] = field(default_factory=list)
    seqs: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.say(JOBS, job_created(config=self.config, name=f"run {self.job_id}", **self.created), session="outbox")

    def say(self, topic: str, fact: Fact, *, attempt: int = 1, session: str = "sdk") -> None:
        name = f"{session}-{self.job_id}-{attempt}"
        seq = self.seqs[name, topic] = self.seqs.get((name, topic), 0) + 1
        self.events.append(
            event(fact, job_id=self.job_id, attempt=attempt, session=name, seq=seq, topic=topic, time=self.at)
        )

    def attempt(
        self,
        values: Sequence[float | None],
        *,
        number: int = 1,
        first: int = 1,
        end: Fact | None = None,
        steps_per_epoch: int = 2,
    ) -> RunOf:
        settings = self.config.get("early_stopping")
        for topic in (JOBS, METRICS):
            self.say(topic, session_opened(early_stopping=settings, resume_epoch=first - 1), attempt=number)
        info = [{"name": "H100"}] * self.gpus or None
        self.say(JOBS, job_started(gpu_info=info), attempt=number)
        for epoch, value in enumerate(values, start=first):
            self.at += timedelta(hours=1)
            losses: list[float | None] = [1.0 / epoch] * steps_per_epoch
            begun = self.at.timestamp() - (steps_per_epoch - 1) * 0.1
            trained = metrics_reported(
                {"loss": losses}, first_step=epoch * steps_per_epoch, epoch=epoch, first_time=begun
            )
            self.say(METRICS, trained, attempt=number)
            if value is not None:
                validated: dict[str, list[float | None]] = {self.metric: [value]}
                moment = self.at.timestamp()
                said = metrics_reported(validated, phase=self.phase, first_step=None, epoch=epoch, first_time=moment)
                self.say(METRICS, said, attempt=number)
        self.say(JOBS, end if end is not None else job_completed(training_time_seconds=None), attempt=number)
        return self

    def stopped_live(self, rule: str = "patience", attempt: int = 1) -> RunOf:
        decided = StopDecided(
            decision_id=decision_id(self.job_id, attempt, rule), rule=rule, metric=self.metric, reason="it was enough"
        )
        self.say(JOBS, decided, attempt=attempt, session="outbox")
        return self


def failed() -> JobFailed:
    return JobFailed(error_code="OOM", error_message="no memory")


def stopped(epoch: int | None = None) -> JobStopped:
    return JobStopped(stopped_at_epoch=epoch)
