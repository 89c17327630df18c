"""Training jobs from Python: create one, follow it, steer it, read what it measured. BACKEND_URL says where.

job = create_job(model_name="yolo11n", dataset_id=42, config={"epochs": 10})
for update in job.follow():
    print(update)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training_sdk.service.follow import Update, follow, has_ended
from training_sdk.service.requests import Service


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one metric, in columns; ``times`` are Unix seconds. ``sampled``: there are more than these."""

    name: str
    steps: list[int | None]
    epochs: list[int | None]
    times: list[float]
    values: list[float]
    total_points: int
    sampled: bool


class Job:
    """One training job. ``data`` is the service's answer when it was last asked; ``refresh`` asks again.

    Every method that asks raises ApiError with the service's own words: 409 where the job's state forbids what is
    asked for.
    """

    def __init__(self, service: Service, data: Mapping[str, Any]) -> None:
        self._service = service
        self.data = dict(data)

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state}>"

    @property
    def id(self) -> int:
        return int(self.data["id"])

    @property
    def status(self) -> str:
        """pending, running, completed, stopped or failed."""
        return str(self.data["status"])

    @property
    def state(self) -> str:
        """The exact state, e.g. queued, paused or finishing."""
        return str(self.data["state"])

    @property
    def ended(self) -> bool:
        return has_ended(self.data)

    def refresh(self) -> Job:
        self.data = self._ask("GET")
        return self

    def follow(self, timeout_s: float | None = None) -> Iterator[Update]:
        """Everything that happens, until the job has ended; a broken connection is taken up where it broke.

        Raises TimeoutError when that takes longer than ``timeout_s``; without one it waits for ever, for a paused job
        too.
        """
        yield from follow(self._service, self.id, timeout_s)
        self.refresh()

    def wait(self, timeout_s: float | None = None) -> Job:
        """Until the job has ended, whichever way: look at ``status``. Raises TimeoutError."""
        for _ in self.follow(timeout_s):
            pass
        return self

    def stop(self, reason: str | None = None) -> Job:
        """The present epoch ends, then the run does."""
        return self._command("stop", reason)

    def cancel(self, reason: str | None = None) -> Job:
        """The run ends within seconds."""
        return self._command("cancel", reason)

    def pause(self, reason: str | None = None) -> Job:
        return self._command("pause", reason)

    def resume(self, reason: str | None = None) -> Job:
        return self._command("resume", reason)

    def retry(self, reason: str | None = None) -> Job:
        """Try a failed run again, from its last checkpoint."""
        return self._command("retry", reason)

    def delete(self, reason: str | None = None) -> Job:
        """Hide an ended job from lists; ``restore`` brings it back."""
        self.data = self._ask("DELETE", query={"reason": reason})
        return self

    def restore(self, reason: str | None = None) -> Job:
        self.data = self._ask("POST", "/restore", body={} if reason is None else {"reason": reason})
        return self

    def describe(self, **changes: Any) -> Job:
        """Change ``name``, ``description``, ``tags`` or ``notes``; None takes one away."""
        self.data = self._ask("PATCH", body=changes)
        return self

    def metrics(self, *names: str, max_points: int | None = None) -> dict[str, Series]:
        """Series by name (``train/loss``, ``val/mAP50``); all of them without a name. Every point, unless
        ``max_points`` is given: then a sample of each series that keeps its extremes."""
        query = {"names": ",".join(names) or None, "max_points": max_points}
        answer = self._ask("GET", "/metrics/series", query=query)
        return {one["name"]: _series(one) for one in answer["series"]}

    def history(self) -> list[dict[str, Any]]:
        """One entry an epoch: ``epoch``, ``train_metrics``, ``val_metrics``."""
        found: list[dict[str, Any]] = self._ask("GET", "/metrics")["epochs"]
        return found

    def logs(self, **filters: Any) -> list[dict[str, Any]]:
        """Log lines by time. Filters as in the API: ``min_level``, ``search``, ``limit``, ``offset``, ..."""
        found: list[dict[str, Any]] = self._ask("GET", "/logs", query=filters)["logs"]
        return found

    def checkpoints(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", "/checkpoints", query={"limit": 1000})["checkpoints"]
        return found

    def artifacts(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Plots, predictions, models and other files; ``kind`` picks one sort."""
        found: list[dict[str, Any]] = self._ask("GET", "/artifacts", query={"kind": kind, "limit": 1000})["artifacts"]
        return found

    def _command(self, name: str, reason: str | None) -> Job:
        self._ask("POST", f"/{name}", body={} if reason is None else {"reason": reason})
        return self.refresh()

    def _ask(
        self, method: str, path: str = "", body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        return self._service.ask(method, f"training/jobs/{self.id}{path}", body, query)


def create_job(
    *,
    model_name: str,
    dataset_id: int,
    config: Mapping[str, Any] | None = None,
    task_type: str | None = None,
    backend_url: str | None = None,
    **fields: Any,
) -> Job:
    """Create a job, which is launched unless ``launch=False``. ``fields``: framework, advanced_config, name,
    description, tags, notes.

    Without ``task_type`` it is the one that both the data set and the model know. Raises ApiError, with every problem
    at once, and ValueError when there is more than one such task.
    """
    service = _service(backend_url)
    task = task_type or _only_task(service, model_name, dataset_id)
    body = {"model_name": model_name, "dataset_id": dataset_id, "task_type": task, "config": dict(config or {})}
    return Job(service, service.ask("POST", "training/jobs", {**body, **fields}))


def get_job(job_id: int, *, backend_url: str | None = None) -> Job:
    """A job that is there already. Raises ApiError."""
    service = _service(backend_url)
    return Job(service, service.ask("GET", f"training/jobs/{int(job_id)}"))


def find_jobs(*, backend_url: str | None = None, **filters: Any) -> list[Job]:
    """Jobs, newest first. Filters as in the API: search, status, state, model_name, dataset_id, tag (or a list of
    them), best_metric_min, sort, limit, offset, ... Raises ApiError."""
    service = _service(backend_url)
    return [Job(service, data) for data in service.ask("GET", "training/jobs", query=filters)["jobs"]]


def _service(backend_url: str | None) -> Service:
    return Service(backend_url or os.environ.get("CALLBACK_URL") or os.environ.get("BACKEND_URL"))


def _only_task(service: Service, model_name: str, dataset_id: int) -> str:
    tasks: Sequence[str] = service.ask("GET", f"datasets/{int(dataset_id)}")["task_types"]
    if len(tasks) > 1:
        models = service.ask("GET", "models", query={"search": model_name})["models"]
        known = {task for model in models if model["name"] == model_name for task in model["task_types"]}
        tasks = [task for task in tasks if task in known] or tasks
    if len(tasks) != 1:
        raise ValueError(f"data set {dataset_id} and model {model_name!r} know {', '.join(tasks)}: name the task_type")
    return tasks[0]


def _series(columns: Mapping[str, Any]) -> Series:
    # Non-finite numbers travel as the words that float() reads.
    return Series(**{**columns, "values": [float(value) for value in columns["values"]]})
