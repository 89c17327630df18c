"""Every job as an MLflow run: parameters, every metric point, checkpoints, and how it ended.

Both folds may be the first to see a job, so either makes the run: it is found again by a tag, never made twice,
because one process mirrors and MLflow is asked before a run is made. MLflow takes a repeated point as the same point.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from events.envelope import Event
from events.evolution import evolve
from events.job import Job
from events.lifecycle import JobState
from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import JobCreated, JobDescribed, JobFailed
from events.types.metrics import MetricsReported
from events.types.vocabulary import Fact
from producers.database import Connection
from producers.queries import load_queries
from projections.core.names import series_name
from projections.mlflow_mirror.erasing import empty_trash, erase_runs
from projections.mlflow_mirror.names import EXPERIMENT, PARAMETER_LENGTH_MAX, TAG_JOB, mlflow_key
from projections.runtime.failures import BadEvent, Unavailable

if TYPE_CHECKING:
    # Imported where it is used: mlflow takes seconds and a hundred megabytes, and the core process never needs it.
    from mlflow import MlflowClient
    from mlflow.entities import Metric

RUN_TABLES: Final = Path(__file__).parent / "runs.sql"
METRIC_TABLES: Final = Path(__file__).parent / "metrics.sql"
TOLD: Final = (JobCreated, JobDescribed, CheckpointSaved, ArtifactSaved, JobFailed)
"""Events of which MLflow is told something, apart from the run's status, which is that of the folded job."""
S: Final = JobState
ENDED: Final[Mapping[JobState, str]] = {S.COMPLETED: "FINISHED", S.STOPPED: "KILLED", S.FAILED: "FAILED"}
WAITS: Final = frozenset({S.PENDING, S.QUEUED, S.STARTING, S.RETRYING, S.PAUSED})
BATCH_METRICS_MAX: Final = 1_000
BATCH_PARAMETERS_MAX: Final = 100
TAG_LENGTH_MAX: Final = 5_000
NO_STEP: Final = 0

logger = logging.getLogger(__name__)
run_queries: Final = load_queries(RUN_TABLES)
metric_queries: Final = load_queries(METRIC_TABLES)
Answer = TypeVar("Answer")


class Mlflow:
    """The MLflow server, asked from a thread. An outage raises Unavailable, a refusal BadEvent."""

    def __init__(self, tracking_uri: str, backend_store_uri: str | None = None) -> None:
        """``backend_store_uri``: the server's database, where this process may reach it: to empty its trash."""
        from mlflow import MlflowClient

        self.tracking_uri, self.backend_store_uri = tracking_uri, backend_store_uri
        self._client = MlflowClient(tracking_uri)
        self._runs: dict[int, tuple[str, str]] = {}

    async def ask(self, call: Callable[[MlflowClient], Answer]) -> Answer:
        from mlflow.exceptions import MlflowException

        try:
            return await asyncio.to_thread(call, self._client)
        except MlflowException as error:
            status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]  # mlflow has no types here
            if status in (400, 404) and error.error_code != "TEMPORARILY_UNAVAILABLE":
                raise BadEvent(f"MLflow refuses: {error.message}") from error
            raise Unavailable(f"MLflow does not answer: {error}") from error
        except OSError as error:
            raise Unavailable(f"MLflow cannot be reached: {error}") from error

    async def keep(self, run_id: str, name: str, content: dict[str, Any]) -> None:
        """Log a small JSON file. The tags say the same: a store of MLflow's that takes none stops nothing."""
        try:
            await self.ask(lambda client: client.log_dict(run_id, content, name))
        except (Unavailable, BadEvent) as error:
            logger.warning("%s is not among the artifacts of MLflow run %s: %s", name, run_id, error)

    async def forget(self, job_id: int) -> str | None:
        """Erase a job's runs. Returns what is left of them, for people. Raises Unavailable."""
        self._runs.pop(job_id, None)
        left = await self.ask(lambda client: erase_runs(client, self.tracking_uri, job_id))
        return await empty_trash(left, self.tracking_uri, self.backend_store_uri) if left else None

    async def run_of(self, job_id: int, created: Event[Fact] | None = None) -> tuple[str, str]:
        """(run id, experiment id) of a job, made where there is none yet."""
        if job_id not in self._runs:
            self._runs[job_id] = await self.ask(lambda client: _find_or_make(client, job_id, created))
        return self._runs[job_id]


def reference_of(data: Fact) -> tuple[str, dict[str, Any]] | None:
    """Name and content of the small file that stands for an object of the store among a run's MLflow artifacts."""
    if isinstance(data, CheckpointSaved):
        which = data.checkpoint_path.rpartition("/")[2]
        return f"checkpoints/{which}.json", data.model_dump(mode="json", exclude_none=True)
    if isinstance(data, ArtifactSaved):
        name = data.object_uri.rpartition("/")[2]  # made safe for a path already
        return f"artifacts/{name}.json", data.model_dump(mode="json", exclude_none=True)
    return None


def _find_or_make(client: MlflowClient, job_id: int, created: Event[Fact] | None) -> tuple[str, str]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment is not None else client.create_experiment(EXPERIMENT)
    found = client.search_runs([experiment_id], filter_string=f"tags.`{TAG_JOB}` = '{job_id}'", max_results=1)
    if found:
        return found[0].info.run_id, experiment_id
    start = None if created is None else int(created.time.timestamp() * 1000)
    run = client.create_run(experiment_id, start, {TAG_JOB: str(job_id)}, f"job {job_id}")
    return run.info.run_id, experiment_id


async def follow_runs(tx: Connection, events: Sequence[Event[Fact]], mlflow: Mlflow) -> None:
    for event in events:
        run_id, experiment_id = await mlflow.run_of(event.job_id, event)
        row = await run_queries.job_of(tx, job_id=event.job_id)
        before = None if row is None else Job.model_validate(row["job"])
        job = evolve(before, event)
        document = job.model_dump(mode="json")
        await run_queries.save(tx, job_id=event.job_id, run_id=run_id, experiment_id=experiment_id, job=document)
        if isinstance(event.data, TOLD):
            await mlflow.ask(_change(run_id, event))
        if before is None or status_of_run(job.state) != status_of_run(before.state):
            await mlflow.ask(_status_change(run_id, job))
        if (reference := reference_of(event.data)) is not None:
            await mlflow.keep(run_id, *reference)


def status_of_run(state: JobState) -> str:
    """One of MLflow's own: what waits, also for its next attempt, is scheduled."""
    return ENDED.get(state) or ("SCHEDULED" if state in WAITS else "RUNNING")


def _status_change(run_id: str, job: Job) -> Callable[[MlflowClient], None]:
    status = status_of_run(job.state)
    if job.state in ENDED and job.completed_at is not None:
        ended_ms = int(job.completed_at.timestamp() * 1000)
        return lambda client: client.set_terminated(run_id, status, ended_ms)
    return lambda client: client.update_run(run_id, status=status)


def _change(run_id: str, event: Event[Fact]) -> Callable[[MlflowClient], None]:
    """What an event changes in its run."""
    from mlflow.entities import RunTag

    data = event.data

    def change(client: MlflowClient) -> None:
        match data:
            case JobCreated():
                _log_parameters(client, run_id, data)
                tags = {"mlflow.runName": data.name or f"job {event.job_id}", "epochlog.framework": data.framework}
                tags["mlflow.note.content"] = data.description
                client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items() if value])
            case JobDescribed():
                tags = {"mlflow.runName": f"job {event.job_id}" if data.name == "" else data.name}
                tags["mlflow.note.content"] = data.notes if data.notes is not None else data.description
                tags["epochlog.tags"] = None if data.tags is None else ", ".join(data.tags)
                said = {name: value[:TAG_LENGTH_MAX] for name, value in tags.items() if value is not None}
                client.log_batch(run_id, tags=[RunTag(name, value) for name, value in said.items()])
            case CheckpointSaved():
                which = "best" if data.is_best else "last"
                tags = {f"epochlog.checkpoint.{which}": data.checkpoint_path}
                tags[f"epochlog.checkpoint.{which}.object"] = data.object_uri
                client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items() if value])
            case ArtifactSaved():
                client.set_tag(run_id, mlflow_key(f"epochlog.artifact.{data.name}"), data.object_uri)
            case JobFailed():
                client.set_tag(run_id, "epochlog.error", f"{data.error_code}: {data.error_message}"[:TAG_LENGTH_MAX])

    return change


def _log_parameters(client: MlflowClient, run_id: str, created: JobCreated) -> None:
    from mlflow.entities import Param

    given: dict[str, Any] = {
        "model_name": created.model_name,
        "framework": created.framework,
        "task_type": created.task_type,
        "dataset_id": created.dataset_id,
        **{f"config.{name}": value for name, value in created.config.items()},
        **{f"advanced_config.{name}": value for name, value in (created.advanced_config or {}).items()},
    }
    parameters = [Param(mlflow_key(name), str(value)[:PARAMETER_LENGTH_MAX]) for name, value in given.items()]
    for start in range(0, len(parameters), BATCH_PARAMETERS_MAX):
        client.log_batch(run_id, params=parameters[start : start + BATCH_PARAMETERS_MAX])


async def forget_run(job_id: int, mlflow: Mlflow) -> str | None:
    """Of a purged job. Both folds do it: the one that comes second may have made a run again in between."""
    return await mlflow.forget(job_id)


async def log_metrics(tx: Connection, events: Sequence[Event[MetricsReported]], mlflow: Mlflow) -> None:
    for event in events:
        run_id, _ = await mlflow.run_of(event.job_id)
        points = metrics_of(event.data)
        for start in range(0, len(points), BATCH_METRICS_MAX):
            part = points[start : start + BATCH_METRICS_MAX]
            await mlflow.ask(_log_batch(run_id, part))
        await metric_queries.count_points(tx, job_id=event.job_id, points=len(points))


def _log_batch(run_id: str, metrics: list[Metric]) -> Callable[[MlflowClient], object]:
    return lambda client: client.log_batch(run_id, metrics=metrics)


def metrics_of(data: MetricsReported) -> list[Metric]:
    """One MLflow point a value. MLflow wants an integer step: the step, else the epoch."""
    from mlflow.entities import Metric

    points = []
    for key, column in data.values.items():
        name = mlflow_key(series_name(data.phase, key))
        for step, epoch, time, value in zip(data.steps, data.epochs, data.times, column, strict=True):
            if value is not None:
                at = step if step is not None else epoch if epoch is not None else NO_STEP
                points.append(Metric(name, value, int(time * 1000), at))
    return points
