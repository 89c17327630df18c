"""MLflow's tracking server on the same Postgres (one worker: more of them stall every request by 44 ms)."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx

from benchmarks.reporters import Metrics, Reporter
from benchmarks.workload import TRAIN_NAMES, Workload, train_metrics

EXPERIMENT: Final = "benchmark"
BATCH: Final = 996
"""Of 1,000 metrics that a request may hold: whole calls of six."""
PAGE: Final = 25_000


def open_run() -> Reporter:
    """A run on the server that MLFLOW_TRACKING_URI names; ``log_metrics`` in its asynchronous mode."""
    import mlflow

    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    mlflow.set_experiment(EXPERIMENT)
    mlflow.start_run(run_name=os.environ["BENCHMARK_RUN"])

    def log(epoch: int, step: int | None, phase: str, metrics: Metrics) -> None:
        named = {f"{phase}/{name}": value for name, value in metrics.items()}
        mlflow.log_metrics(named, step=epoch if step is None else step, synchronous=False)

    def close() -> None:
        mlflow.flush_async_logging()
        mlflow.end_run()

    return Reporter(log, close)


def ingest_batched(tracking_uri: str, workload: Workload, names: tuple[str, ...] = TRAIN_NAMES) -> tuple[str, float]:
    """The workload's training steps its fastest way in: batches of 996 points. Returns the run's id and the seconds.

    ``log_batch`` answers after the commit, so what it took is until queryable.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found is not None else client.create_experiment(EXPERIMENT)
    run_id: str = client.create_run(experiment).info.run_id
    moment = int(time.time() * 1000)
    pending = [
        Metric(f"train/{name}", value, moment, step)
        for step in range(workload.epochs * workload.steps)
        for name, value in train_metrics(step).items()
        if name in names
    ]
    began = time.perf_counter()
    for start in range(0, len(pending), BATCH):
        client.log_batch(run_id, metrics=pending[start : start + BATCH])
    return run_id, time.perf_counter() - began


def ingest_several(tracking_uri: str, runs: int, workload: Workload) -> float:
    """As many runs at once, each in a thread of its own; seconds until all of it is queryable."""
    began = time.perf_counter()
    with ThreadPoolExecutor(runs) as pool:
        list(pool.map(lambda _: ingest_batched(tracking_uri, workload), range(runs)))
    return time.perf_counter() - began


def values_of(tracking_uri: str, run_name: str, name: str) -> list[float]:
    """What a metric of the run of that name has by now, in the order of its steps."""
    with httpx.Client(base_url=f"{tracking_uri}/api/2.0/mlflow/", timeout=30) as client:
        experiment = client.get("experiments/get-by-name", params={"experiment_name": EXPERIMENT})
        if experiment.status_code == httpx.codes.NOT_FOUND:
            return []
        experiment.raise_for_status()
        wanted = {
            "experiment_ids": [experiment.json()["experiment"]["experiment_id"]],
            "filter": f"attributes.run_name = '{run_name}'",
            "max_results": 1,
        }
        answer = client.post("runs/search", json=wanted)
        answer.raise_for_status()
        runs = answer.json().get("runs") or []
        if not runs:
            return []
        query = {"run_id": runs[0]["info"]["run_id"], "metric_key": name}
        history = client.get("metrics/get-history", params=query)
        history.raise_for_status()
    found = sorted(history.json().get("metrics", []), key=lambda metric: int(metric.get("step", 0)))
    return [float(metric["value"]) for metric in found]


def read_series(tracking_uri: str, run_id: str, name: str) -> int:
    """Read a whole series over HTTP, page by page; returns its points."""
    points, token = 0, None
    with httpx.Client(base_url=f"{tracking_uri}/api/2.0/mlflow/", timeout=120) as client:
        while True:
            query: dict[str, Any] = {"run_id": run_id, "metric_key": name, "max_results": PAGE}
            answer = client.get("metrics/get-history", params={**query, **({"page_token": token} if token else {})})
            answer.raise_for_status()
            page = answer.json()
            points += len(page.get("metrics", []))
            token = page.get("next_page_token")
            if not token:
                return points
