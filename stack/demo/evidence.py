"""What the closing table rests on, each fact asked where it lies: in Kafka, Postgres, S3, MLflow, the API."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from minio.error import S3Error

from events.dedupe import SessionMarks
from producers.database import connect, search_path
from producers.queries import load_queries
from projections.core.names import series_name
from projections.mlflow_mirror.names import mlflow_key
from projections.registry import PROJECTIONS
from stack.demo.store import open_store, split_uri
from stack.settings import Settings
from training_sdk.wire import (
    CHECKPOINT_SAVED,
    JOB_TOPICS,
    JOBS,
    LOG_WRITTEN,
    METRICS_REPORTED,
    WireEvent,
    partition_of,
    wire_event,
)

queries: Final = load_queries(Path(__file__).with_suffix(".sql"))

READ_TIMEOUT_MS: Final = 500
SILENCE_MAX_S: Final = 20.0
CATCH_UP_TIMEOUT_S: Final = 60.0
MLFLOW_PAGE: Final = 25_000
SERIES_A_REQUEST: Final = 20

Point = tuple[int, float]
"""Step (or epoch where the report named no step) and value."""


@dataclass(slots=True)
class Written:
    """What Kafka holds of a job. An event that was sent twice counts once; ``repeated`` says how many were."""

    events: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    points: int = 0
    lines: int = 0
    checkpoints: int = 0
    series: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Applied:
    """What one read model says of a job; ``rows`` in its own unit (events, points, lines), None where it keeps none."""

    topic: str
    events: int
    dead_letters: int
    rows: int | None = None
    rows_wanted: int | None = None
    unit: str = ""


@dataclass(slots=True)
class Evidence:
    """Everything the verdict looks at. Series are by name, points sorted by step and value."""

    job: Mapping[str, Any]
    epochs_wanted: int
    epochs_seen: int
    written: Written
    applied: dict[str, Applied]
    checkpoints: dict[str, int | None]
    """URI to bytes in the store, None for an object that is not there."""
    series: dict[str, list[Point]]
    mlflow_run_id: str | None
    mlflow_status: str | None
    mlflow_series: dict[str, list[Point]]
    latencies_s: Sequence[float]


async def gather(
    settings: Settings, api: httpx.AsyncClient, job_id: int, epochs_wanted: int, latencies_s: Sequence[float]
) -> Evidence:
    """Ask every place, waiting at most CATCH_UP_TIMEOUT_S for what may lag (only the MLflow mirror should).

    Raises httpx.HTTPError, OSError or asyncpg.PostgresError when a service does not answer.
    """
    prefix = settings.inherited.get("EPOCHLOG_TOPIC_PREFIX", "")
    job = await _answer(api, f"training/jobs/{job_id}")
    history = await _answer(api, f"training/jobs/{job_id}/metrics")
    written = await read_log(settings.kafka_bootstrap_servers, prefix, job_id)
    series = await read_series(api, job_id, sorted(written.series))
    applied = await _caught_up(settings, job_id, written)
    # The job's answer names its MLflow run once the mirror made it.
    job = await _answer(api, f"training/jobs/{job_id}")
    run_id = job.get("mlflow_run_id")
    status, mirrored = await read_mlflow(settings.mlflow_tracking_uri, run_id, list(series))
    return Evidence(
        job=job,
        epochs_wanted=epochs_wanted,
        epochs_seen=sum(1 for epoch in history["epochs"] if epoch.get("val_metrics")),
        written=written,
        applied=applied,
        checkpoints=await asyncio.to_thread(_sizes, settings, job.get("checkpoints") or {}),
        series=series,
        mlflow_run_id=run_id,
        mlflow_status=status,
        mlflow_series=mirrored,
        latencies_s=latencies_s,
    )


async def _answer(client: httpx.AsyncClient, path: str, **parameters: str | int) -> dict[str, Any]:
    answer = await client.get(path, params=parameters)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


async def read_log(bootstrap_servers: str, topic_prefix: str, job_id: int) -> Written:
    """Read the job's partition of every topic from the beginning to its present end.

    Raises TimeoutError when the broker hands out nothing for SILENCE_MAX_S though records are missing.
    """
    key = str(job_id).encode()
    places = [TopicPartition(topic_prefix + topic, partition_of(key)) for topic in JOB_TOPICS]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=None, enable_auto_commit=False)
    written, seen = Written(), set[str]()
    await consumer.start()
    try:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        starts = await consumer.beginning_offsets(places)
        open_places = {place for place in places if starts[place] < ends[place]}
        for place in places:
            consumer.seek(place, starts[place])
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while open_places:
            fetched = await consumer.getmany(timeout_ms=READ_TIMEOUT_MS)
            if fetched:
                heard = loop.time()
            elif loop.time() - heard > SILENCE_MAX_S:
                raise TimeoutError(f"Kafka hands out nothing of {sorted(place.topic for place in open_places)}")
            for place, records in fetched.items():
                for record in records:
                    if record.key == key and record.offset < ends[place]:
                        topic = place.topic.removeprefix(topic_prefix)
                        _count(written, seen, wire_event(topic, record.key, record.headers, record.value))
                if records[-1].offset + 1 >= ends[place]:
                    open_places.discard(place)
    finally:
        await consumer.stop()
    return written


def _count(written: Written, seen: set[str], event: WireEvent) -> None:
    if event.id in seen:
        written.repeated += 1
        return
    seen.add(event.id)
    written.events[event.topic] += 1
    if event.type == METRICS_REPORTED:
        data = orjson.loads(event.data)
        for name, column in data["values"].items():
            written.points += sum(value is not None for value in column)
            written.series.add(series_name(data["phase"], name))
    elif event.type == LOG_WRITTEN:
        written.lines += len(orjson.loads(event.data)["lines"])
    elif event.type == CHECKPOINT_SAVED:
        written.checkpoints += 1


async def _caught_up(settings: Settings, job_id: int, written: Written) -> dict[str, Applied]:
    """Ask the read models until they have everything, or time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CATCH_UP_TIMEOUT_S
    connection = await connect(settings.database_url, name="demo")
    try:
        while True:
            applied = await read_models(connection, job_id, written)
            behind = [name for name, found in applied.items() if found.events < written.events[found.topic]]
            if not behind or loop.time() > deadline:
                return applied
            await asyncio.sleep(0.25)
    finally:
        await connection.close()


async def read_models(connection: asyncpg.Connection[Any], job_id: int, written: Written) -> dict[str, Applied]:
    """What each read model of a job topic has applied, by the session marks it keeps, and the rows it made of it."""
    own_rows = {
        "jobs": (queries.job_event_rows, written.events[JOBS], "events"),
        "checkpoints": (queries.checkpoint_rows, written.checkpoints, "checkpoints"),
        "metrics": (queries.metric_points, written.points, "points"),
        "logs": (queries.log_lines, written.lines, "lines"),
        "mlflow-metrics": (queries.mirrored_points, written.points, "points"),
    }
    applied: dict[str, Applied] = {}
    for projection in PROJECTIONS:
        if projection.topic not in JOB_TOPICS:
            continue
        async with connection.transaction(readonly=True):
            schema = await queries.live_schema(connection, projection=projection.name)
            if schema is None:
                applied[projection.name] = Applied(projection.topic, 0, 0)
                continue
            await connection.execute(search_path([schema]))
            marks = [
                SessionMarks(row["high"], tuple((low, high) for low, high in row["gaps"]))
                for row in await queries.marks(connection, job_id=job_id, topic=projection.topic)
            ]
            found = Applied(
                topic=projection.topic,
                events=sum(mark.high - mark.missing for mark in marks),
                dead_letters=await queries.dead_letters(connection, key=str(job_id).encode()),
            )
            if projection.name in own_rows:
                count, found.rows_wanted, found.unit = own_rows[projection.name]
                found.rows = await count(connection, job_id=job_id)
            applied[projection.name] = found
    return applied


async def read_series(api: httpx.AsyncClient, job_id: int, names: Sequence[str]) -> dict[str, list[Point]]:
    """Every point of the named series through the API."""
    series: dict[str, list[Point]] = {}
    for start in range(0, len(names), SERIES_A_REQUEST):
        part = ",".join(names[start : start + SERIES_A_REQUEST])
        for found in (await _answer(api, f"training/jobs/{job_id}/metrics/series", names=part))["series"]:
            steps = [
                step if step is not None else epoch for step, epoch in zip(found["steps"], found["epochs"], strict=True)
            ]
            series[found["name"]] = sorted_points(zip(steps, found["values"], strict=True))
    return series


def sorted_points(points: Any) -> list[Point]:
    """As int and float; NaN, which equals nothing, as infinity's neighbour so that lists can be compared."""
    clean = [(int(step or 0), float(value)) for step, value in points]
    return sorted((step, 1e308 if math.isnan(value) else value) for step, value in clean)


async def read_mlflow(
    tracking_uri: str, run_id: str | None, names: Sequence[str]
) -> tuple[str | None, dict[str, list[Point]]]:
    """Status of the run and every point of each series, by our names; (None, {}) for a run that does not exist."""
    if run_id is None:
        return None, {}
    async with httpx.AsyncClient(base_url=f"{tracking_uri.rstrip('/')}/api/2.0/mlflow/", timeout=30) as client:
        answer = await client.get("runs/get", params={"run_id": run_id})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None, {}
        answer.raise_for_status()
        series: dict[str, list[Point]] = {}
        for name in names:
            points: list[tuple[Any, Any]] = []
            token: str | None = None
            while True:
                query = {"run_id": run_id, "metric_key": mlflow_key(name), "max_results": str(MLFLOW_PAGE)}
                page = await _answer(client, "metrics/get-history", **query, **({"page_token": token} if token else {}))
                points += [(metric.get("step", 0), metric["value"]) for metric in page.get("metrics", [])]
                token = page.get("next_page_token")
                if not token:
                    break
            series[name] = sorted_points(points)
        return answer.json()["run"]["info"]["status"], series


def _sizes(settings: Settings, checkpoints: Mapping[str, str | None]) -> dict[str, int | None]:
    store = open_store(settings)
    sizes: dict[str, int | None] = {}
    for uri in checkpoints.values():
        if uri is None:
            continue
        bucket, name = split_uri(uri)
        try:
            sizes[uri] = store.stat_object(bucket, name).size
        except S3Error as error:
            if error.code not in ("NoSuchKey", "NoSuchBucket"):
                raise
            sizes[uri] = None
    return sizes
