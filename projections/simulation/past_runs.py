"""The runs that there were, out of ``training.jobs``: what they trained, when, on what, how they ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from events.early_stopping import early_stopping_of
from events.envelope import Event
from events.evolution import evolve
from events.job import Job
from events.types.checkpoints import CheckpointSaved
from events.types.deletion import JobPurged
from events.types.jobs import (
    JobCompleted,
    JobFailed,
    JobStarted,
    JobStopped,
    ProcessExited,
    ProgressReported,
    StopDecided,
)
from events.types.vocabulary import Fact, JsonObject

SIGNS: Final = (JobStarted, ProgressReported, CheckpointSaved, JobCompleted, JobFailed, JobStopped, ProcessExited)
"""What an attempt's process said or its supervisor saw: from the first to the last of them it held its GPUs."""


@dataclass(slots=True)
class Span:
    """When an attempt ran, in Unix seconds by its own clock, and the epochs that it reported."""

    first_time: float
    last_time: float
    gpus: int = 0
    first_epoch: int | None = None
    last_epoch: int | None = None

    @property
    def seconds(self) -> float:
        return self.last_time - self.first_time

    @property
    def epochs(self) -> int:
        if self.first_epoch is None or self.last_epoch is None:
            return 0
        return self.last_epoch - self.first_epoch + 1


@dataclass(slots=True)
class Spans:
    """The spans of a run's attempts, by attempt."""

    by_attempt: dict[int, Span] = field(default_factory=dict)

    def saw(self, attempt: int, time: float, epoch: int | None = None) -> Span:
        span = self.by_attempt.setdefault(attempt, Span(time, time))
        span.first_time, span.last_time = min(span.first_time, time), max(span.last_time, time)
        if epoch is not None:
            span.first_epoch = epoch if span.first_epoch is None else min(span.first_epoch, epoch)
            span.last_epoch = epoch if span.last_epoch is None else max(span.last_epoch, epoch)
        return span


@dataclass(slots=True)
class PastRun:
    """``job`` as it is at the end of the log; ``decided``: the rule that ended an attempt live, by attempt. Of a
    ``purged`` one nothing may be looked at."""

    job: Job
    spans: Spans = field(default_factory=Spans)
    decided: dict[int, str] = field(default_factory=dict)
    purged: bool = False

    @property
    def visible(self) -> bool:
        return self.job.exists and self.job.deletion is None and not self.purged

    def saw(self, event: Event[Fact]) -> None:
        self.purged = self.purged or isinstance(event.data, JobPurged)
        self.job = evolve(self.job, event)
        if isinstance(event.data, StopDecided):
            self.decided[event.attempt] = event.data.rule
        if isinstance(event.data, SIGNS):
            span = self.spans.saw(event.attempt, event.time.timestamp())
            if isinstance(event.data, JobStarted):
                info = event.data.gpu_info
                span.gpus = len(info) if isinstance(info, list) else int(bool(info))

    def settings(self, given: JsonObject | None) -> JsonObject | None:
        """What the job's config would ask for with these settings in it; with None, what it asks for."""
        config = self.job.config if given is None else {**self.job.config, "early_stopping": given}
        return early_stopping_of(config)

    def gpus(self, attempt: int) -> float:
        """GPUs that the attempt held: by the run's own sum of GPU-hours where it gives one, as a trainer may see more
        GPUs than it uses; else as many as it saw. 0 on a CPU."""
        results = self.job.training_results
        if results is not None and results.gpu_hours is not None and results.training_time_seconds:
            return round(results.gpu_hours * 3600 / results.training_time_seconds, 2)
        return self.spans.by_attempt[attempt].gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which runs to look at; what is empty lets all pass."""

    jobs: frozenset[int] = frozenset()
    models: frozenset[str] = frozenset()
    frameworks: frozenset[str] = frozenset()
    datasets: frozenset[int] = frozenset()
    since: datetime | None = None

    def takes(self, job: Job) -> bool:
        wanted = (
            (self.jobs, job.id),
            (self.models, job.model_name),
            (self.frameworks, job.framework),
            (self.datasets, job.dataset_id),
        )
        if any(names and value not in names for names, value in wanted):
            return False
        return self.since is None or (job.created_at is not None and job.created_at >= self.since)


def past_runs(events: Iterable[Event[Fact]], runs: dict[int, PastRun]) -> None:
    """Fold events of ``training.jobs`` into ``runs``, by job id."""
    for event in events:
        run = runs.get(event.job_id)
        if run is None:
            run = runs[event.job_id] = PastRun(Job(id=event.job_id))
        run.saw(event)
