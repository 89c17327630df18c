"""Points and lines a second of ``python -m projections rebuild``, and the memory that its process takes at most.

The log, its read models and the database are the benchmark's own, on the brokers and the server of the place.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import orjson
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.place import Place
from benchmarks.report import Measurement, spin_s
from benchmarks.workload import TRAIN_NAMES
from producers.database import open_pool
from producers.kafka.publisher import KafkaPublisher
from projections.registry import projection_named
from projections.runtime.apply import apply_batch
from projections.runtime.replay import end_offsets
from projections.runtime.source import in_lanes, log_records
from training_sdk.wire import LOGS, METRICS, WireEvent

PEAK_MEMORY_MAX_MIB: Final = 500
"""What a rebuild may take, however long the log is. More fails the benchmark."""
BOUND: Final = f"{PEAK_MEMORY_MAX_MIB} MiB are allowed"
JOBS: Final = 16
ROWS_PER_EVENT: Final = 50
LINES_PER_EVENT: Final = 100
EVENTS_PER_SEND: Final = 400
POLL_INTERVAL_S: Final = 0.1
TIME: Final = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Log:
    """A read model's own log: how many events of how many things each."""

    projection: str
    topic: str
    type: str
    things: str
    events: int
    per_event: int
    data: Callable[[int], dict[str, Any]]


def measure(place: Place) -> Iterator[Measurement]:
    points, lines = (1_000_000, 100_000) if place.quick else (10_000_000, 1_000_000)
    per_event = ROWS_PER_EVENT * len(TRAIN_NAMES)
    logs = (
        Log(
            "metrics",
            METRICS,
            "training.metrics.reported.v1",
            "points",
            math.ceil(points / per_event),
            per_event,
            _metrics,
        ),
        Log("logs", LOGS, "training.log.written.v1", "lines", lines // LINES_PER_EVENT, LINES_PER_EVENT, _lines),
    )
    for log in logs:
        yield from asyncio.run(_measure(place, log))


async def _measure(place: Place, log: Log) -> list[Measurement]:
    async with _own_world(place) as environment:
        await _write(environment, log)
        await _fill(environment, log)
        spin = spin_s()
        took_s, peak_mib, done = await asyncio.to_thread(_rebuild, environment, log.projection)
    if not (done["flipped"] and done["equal"]):
        raise RuntimeError(f"the rebuilt {log.projection} differ from the live ones: {done}")
    if peak_mib > PEAK_MEMORY_MAX_MIB:
        raise RuntimeError(f"rebuild {log.projection} took {peak_mib:.0f} MiB, {PEAK_MEMORY_MAX_MIB} are allowed")
    count, seconds = log.events * log.per_event, done["seconds"]
    what = f"{count:,} {log.things}"
    phases = ", ".join(f"{phase} {phase_s:.1f} s" for phase, phase_s in seconds.items())
    unit = f"{log.things}/s"
    return [
        Measurement("rebuild", f"{what}, replay", "epochlog", count / seconds["replay"], unit, "higher", phases, spin),
        Measurement("rebuild", f"{what}, whole command", "epochlog", took_s, "s"),
        Measurement(
            "rebuild",
            f"{what}, peak memory",
            "epochlog",
            peak_mib,
            "MiB",
            note=f"{PEAK_MEMORY_MAX_MIB} MiB are allowed",
        ),
    ]


@asynccontextmanager
async def _own_world(place: Place) -> AsyncIterator[dict[str, str]]:
    """The environment of processes that see an empty log and an empty database."""
    name, settings = f"rebuild{uuid.uuid4().hex[:8]}", place.settings
    admin = await asyncpg.connect(settings.database_url)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        environment = {
            **os.environ,
            **settings.client_environment(),
            "DATABASE_URL": urlsplit(settings.database_url)._replace(path=f"/{name}").geturl(),
            "EPOCHLOG_TOPIC_PREFIX": f"{name}.",
        }
        await asyncio.to_thread(_migrate, environment)
        yield environment
    finally:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await admin.close()
        kafka = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
        await kafka.start()
        try:
            await kafka.delete_topics([topic for topic in await kafka.list_topics() if topic.startswith(f"{name}.")])
        finally:
            await kafka.close()


def _migrate(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "projections", "migrate"]
    subprocess.run(command, env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL)


async def _write(environment: dict[str, str], log: Log) -> None:
    """As senders do: JOBS runs, each a session that numbers its events."""
    publisher = KafkaPublisher(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["EPOCHLOG_TOPIC_PREFIX"])
    try:
        for first in range(0, log.events, EVENTS_PER_SEND):
            numbers = range(first, min(log.events, first + EVENTS_PER_SEND))
            await publisher.publish([_event(log, number) for number in numbers])
    finally:
        await publisher.close()


def _event(log: Log, number: int) -> WireEvent:
    job_id, nth = number % JOBS + 1, number // JOBS
    return WireEvent(
        topic=log.topic,
        key=str(job_id),
        type=log.type,
        time=TIME,
        source=f"/jobs/{job_id}/attempts/1/ranks/0",
        attempt=1,
        rank=0,
        session=f"{job_id:032x}",
        seq=nth + 1,
        data=orjson.dumps(log.data(nth)),
    )


def _metrics(nth: int) -> dict[str, Any]:
    steps = range(nth * ROWS_PER_EVENT, (nth + 1) * ROWS_PER_EVENT)
    return {
        "phase": "train",
        "steps": list(steps),
        "epochs": [nth // 10 + 1] * ROWS_PER_EVENT,
        "times": [1_767_225_600 + step * 0.05 for step in steps],
        "values": {name: [math.exp(-step / 1e5) + place for step in steps] for place, name in enumerate(TRAIN_NAMES)},
    }


def _lines(nth: int) -> dict[str, Any]:
    first = nth * LINES_PER_EVENT
    return {
        "lines": [
            {
                "level": "INFO",
                "message": f"Epoch {first // 5_000}: batch {number} of 5000, loss {math.exp(-number / 1e5):.6f}",
                "timestamp": TIME,
                "source": "trainer",
            }
            for number in range(first, first + LINES_PER_EVENT)
        ]
    }


async def _fill(environment: dict[str, str], log: Log) -> None:
    """The live read model, up to the end of the log."""
    servers, prefix = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["EPOCHLOG_TOPIC_PREFIX"]
    pool, projection = await open_pool(environment["DATABASE_URL"], size_max=3), projection_named(log.projection)
    try:
        ends = await end_offsets(servers, prefix, log.topic)

        async def apply(portion: list[Any]) -> None:
            await apply_batch(pool, projection, portion)

        await in_lanes(log_records(servers, prefix).read(log.topic, {}, ends), apply, lanes=2)
    finally:
        await pool.close()


def _rebuild(environment: dict[str, str], name: str) -> tuple[float, float, dict[str, Any]]:
    """Seconds from start to exit, the process' peak memory in MiB, and what it says."""
    began, peak_kib = time.monotonic(), 0
    command = [sys.executable, "-m", "projections", "rebuild", name, "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            peak_kib = max(peak_kib, _peak_kib(process.pid))
            time.sleep(POLL_INTERVAL_S)
        took_s = time.monotonic() - began
        assert process.stdout is not None
        printed = process.stdout.read()
    document: dict[str, Any] = json.loads(printed)[name]
    if process.returncode != 0:
        raise RuntimeError(f"rebuild {name} ended with {process.returncode}: {document}")
    return took_s, peak_kib / 1024, document


def _peak_kib(pid: int) -> int:
    """VmHWM; 0 for a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
