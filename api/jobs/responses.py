"""What a job looks like to a client: the design's fields, and null rather than a missing key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.completeness import Integrity, Visible
from events.job import Job
from events.types.vocabulary import MetricValue

PastMoment = Annotated[
    str | None,
    Field(
        description="the moment that `as_of` asked for; missing for now",
        exclude_if=lambda text: text is None,
    ),
]


def time_text(moment: datetime | None) -> str | None:
    """RFC 3339 with a Z; fractions only where there are any."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class BestMetric:
    """The best value per epoch of a job's primary metric (events/primary_metric.py), of what was reported so far."""

    name: str
    value: float
    epoch: int


class Checkpoints(BaseModel):
    best: str | None = None
    last: str | None = None


class EarlyStoppingAnswer(BaseModel):
    """Why the server asked the run to stop. The values it rests on stand in the job's audit trail."""

    rule: str = Field(description="patience, target or divergence")
    metric: str
    mode: str | None
    epoch: int | None
    value: MetricValue | None
    best_epoch: int | None
    best_value: MetricValue | None
    reason: str


class JobAnswer(BaseModel):
    """A training job."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 25,
                "name": "Vehicle Detection v1",
                "tags": ["baseline"],
                "status": "completed",
                "model_name": "yolo11n",
                "framework": "ultralytics",
                "task_type": "detection",
                "dataset_id": 42,
                "config": {"imgsz": 640, "epochs": 100, "batch": 16},
                "best_metric": 0.623,
                "best_metric_name": "val/mAP50-95",
                "best_metric_epoch": 87,
                "training_results": {
                    "total_epochs": 100,
                    "best_epoch": 87,
                    "best_metrics": {"mAP50": 0.856, "mAP50-95": 0.623},
                    "training_time_seconds": 9000,
                    "gpu_hours": 2.5,
                },
                "checkpoints": {
                    "best": "s3://training-checkpoints/checkpoints/25/best.pt",
                    "last": "s3://training-checkpoints/checkpoints/25/last.pt",
                },
                "mlflow_run_id": "abc123def456",
                "mlflow_experiment_id": "1",
                "created_at": "2025-11-20T10:30:00Z",
                "started_at": "2025-11-20T10:30:05Z",
                "completed_at": "2025-11-20T13:00:05Z",
            }
        }
    )

    id: int
    name: str | None
    description: str | None
    tags: list[str]
    notes: str | None
    status: str = Field(description="pending, running, completed, stopped or failed")
    state: str = Field(description="the exact state; `finishing` until all of an ended run can be read")
    integrity: Integrity | None = Field(
        description="of an ended run: `complete`; else, 10 s after the end: `pending` when something is not applied, "
        "`incomplete` when something is missing, `not provable` when a sender gave no last number (see `/integrity`); "
        "null for a past moment"
    )
    attempt: int
    retries: int = Field(description="attempts that the launcher made by itself, since somebody last asked for one")
    model_name: str | None
    framework: str | None
    task_type: str | None
    dataset_id: int | None
    config: dict[str, Any]
    advanced_config: dict[str, Any] | None
    current_epoch: int | None
    total_epochs: int | None
    phase: str | None
    eta_seconds: float | None
    best_metric: float | None = Field(description="best value so far of the job's primary metric, per epoch")
    best_metric_name: str | None = Field(description="its series, as in /metrics/series")
    best_metric_epoch: int | None
    training_results: dict[str, Any] | None
    final_metrics: dict[str, Any] | None
    checkpoints: Checkpoints
    best_checkpoint_path: str | None
    latest_checkpoint_path: str | None
    error_code: str | None
    error_message: str | None
    last_successful_epoch: int | None
    awaits_retry: bool = Field(description="it failed for a cause that may be gone; the launcher tries again by itself")
    stopped_at_epoch: int | None
    stop_requested_at: str | None
    early_stopping: EarlyStoppingAnswer | None = Field(description="the rule that ended the run; null where none did")
    exit_code: int | None
    exit_signal: str | None
    mlflow_run_id: str | None
    mlflow_experiment_id: str | None
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    deleted_at: str | None = Field(description="hidden from lists since then; null where it is not deleted")
    deleted_by: str | None
    delete_reason: str | None
    as_of: str | None = Field(default=None, description="the moment that the answer is of; null for now")


def _early_stopping(job: Job) -> EarlyStoppingAnswer | None:
    if job.early_stopping is None:
        return None
    return EarlyStoppingAnswer.model_validate(job.early_stopping.model_dump())


def job_answer(
    job: Job,
    visible: Visible,
    mlflow: tuple[str, str] | None = None,
    best_metric: BestMetric | None = None,
    as_of: str | None = None,
) -> JobAnswer:
    results = job.training_results.model_dump(mode="json", exclude_none=True) if job.training_results else None
    best = job.best_checkpoint.path if job.best_checkpoint else None
    last = job.last_checkpoint.path if job.last_checkpoint else None
    shown = visible.ended
    return JobAnswer(
        id=job.id,
        name=job.name,
        description=job.description,
        tags=job.tags or [],
        notes=job.notes,
        status=visible.status,
        state=visible.state,
        integrity=visible.integrity,
        attempt=job.attempt,
        retries=job.retries,
        model_name=job.model_name,
        framework=job.framework,
        task_type=job.task_type,
        dataset_id=job.dataset_id,
        config=job.config,
        advanced_config=job.advanced_config,
        current_epoch=job.current_epoch,
        total_epochs=job.total_epochs,
        phase=job.phase,
        eta_seconds=job.eta_seconds,
        best_metric=best_metric.value if best_metric else None,
        best_metric_name=best_metric.name if best_metric else None,
        best_metric_epoch=best_metric.epoch if best_metric else None,
        training_results=results if shown else None,
        final_metrics=results.get("final_metrics") if results and shown else None,
        checkpoints=Checkpoints(best=best, last=last),
        best_checkpoint_path=best,
        latest_checkpoint_path=last,
        error_code=job.error_code if shown else None,
        error_message=job.error_message if shown else None,
        last_successful_epoch=job.last_successful_epoch,
        awaits_retry=job.awaits_retry,
        stopped_at_epoch=job.stopped_at_epoch if shown else None,
        stop_requested_at=time_text(job.stop.requested_at) if job.stop else None,
        early_stopping=_early_stopping(job),
        exit_code=job.exit.exit_code if job.exit else None,
        exit_signal=job.exit.signal if job.exit else None,
        mlflow_run_id=mlflow[0] if mlflow else job.mlflow_run_id,
        mlflow_experiment_id=mlflow[1] if mlflow else None,
        created_at=time_text(job.created_at),
        started_at=time_text(job.started_at),
        completed_at=time_text(job.completed_at) if shown else None,
        deleted_at=time_text(job.deletion.deleted_at) if job.deletion else None,
        deleted_by=job.deletion.requested_by if job.deletion else None,
        delete_reason=job.deletion.reason if job.deletion else None,
        as_of=as_of,
    )
