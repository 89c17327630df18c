"""``as_of``: asked later for any moment, the API answers what it answered then. Real Postgres, random runs."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.app import create_app
from api.context import Context
from api.live.hub import Hub
from api.settings import Settings
from events.envelope import Event, Record
from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import (
    JobDescribed,
    JobFailed,
    JobLaunched,
    JobStopped,
    ProgressReported,
    StopDecided,
    StopRequested,
    StopSignalled,
)
from events.types.requests import RetryRequested
from events.types.vocabulary import Fact
from producers.database import Pool, open_pool
from tests.builders import (
    NOON,
    event,
    job_completed,
    job_created,
    job_started,
    log_written,
    metrics_reported,
    record,
    session_opened,
)
from tests.given import apply_all
from tests.services import World
from training_sdk.wire import JOBS, LOGS, METRICS, partition_of

JOB = "/api/v1/training/jobs/25"
PLACE = partition_of(b"25")
PATHS = {
    "job": JOB,
    "metrics": f"{JOB}/metrics",
    "series": f"{JOB}/metrics/series",
    "few points": f"{JOB}/metrics/series?max_points=5",
    "logs": f"{JOB}/logs",
    "errors": f"{JOB}/logs?limit=3&min_level=INFO",
    "checkpoints": f"{JOB}/checkpoints",
    "artifacts": f"{JOB}/artifacts",
}


class Log:
    """What was appended; the API's tail of it only says how far it goes."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.records: list[Record] = []
        self.unapplied: list[Record] = []

    def append(self, happened: Event[Fact], *, applied: bool = True, milliseconds: int | None = None) -> Record:
        offset = sum(one.topic == happened.topic for one in self.records)
        moment = NOON + timedelta(milliseconds=10 * len(self.records) if milliseconds is None else milliseconds)
        placed = record(happened, offset=offset, timestamp_ms=int(moment.timestamp() * 1000))
        self.records.append(placed)
        self.unapplied.append(placed)
        return placed

    async def apply(self) -> None:
        waiting, self.unapplied = self.unapplied, []
        await apply_all(self.pool, waiting)

    async def end_offsets(self) -> dict[tuple[str, int], int]:
        return {(topic, PLACE): sum(one.topic == topic for one in self.records) for topic in (JOBS, METRICS, LOGS)}


@pytest_asyncio.fixture
async def log(migrated_world: World) -> AsyncIterator[Log]:
    pool = await open_pool(migrated_world.database_url, size_max=4)
    yield Log(pool)
    await pool.close()


@pytest_asyncio.fixture
async def client(log: Log, migrated_world: World) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.from_env(migrated_world.environment())
    app = create_app(settings)
    used: dict[str, Any] = {field.name: None for field in dataclasses.fields(Context)}
    used |= {"settings": settings, "pool": log.pool, "hub": Hub(log.pool), "tail": log}
    app.state.context = Context(**used)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as found:
        yield found


def asked(path: str, as_of: str | None) -> httpx.URL:
    return httpx.URL(path) if as_of is None else httpx.URL(path).copy_add_param("as_of", as_of)


async def answers(client: httpx.AsyncClient, as_of: str | None = None) -> dict[str, Any]:
    """What a reader is told at each path, without what a past moment does not have."""
    found = {}
    for name, path in PATHS.items():
        answer = await client.get(asked(path, as_of))
        body = answer.json()
        if answer.status_code != 200:
            found[name] = answer.status_code
            continue
        if as_of is not None:
            assert body.pop("as_of") == answer.headers["Epochlog-As-Of"]
        body.pop("as_of", None)
        body.pop("integrity", None)
        found[name] = body
    return found


class Run:
    """A random life of job 25: attempts, retries, early stops, late senders."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.attempt = 1
        self.seqs: dict[tuple[str, str], int] = {}

    def sent(self, fact: Fact, topic: str | None = None, attempt: int | None = None) -> Event[Fact]:
        attempt = self.attempt if attempt is None else attempt
        session = f"{attempt:032x}"
        placed = event(fact, attempt=attempt, session=session, topic=topic)
        seq = self.seqs.get((session, placed.topic), 0) + 1
        self.seqs[session, placed.topic] = seq
        return event(fact, attempt=attempt, session=session, topic=topic, seq=seq)

    def opened(self) -> list[Event[Fact]]:
        pick = self.random
        resume: dict[str, Any] = pick.choice(
            [{}, {"resume_step": pick.randint(0, 30)}, {"resume_epoch": pick.randint(0, 4)}]
        )
        both: dict[str, Any] = {"resume_step": pick.randint(0, 30), "resume_epoch": pick.randint(0, 4)}
        opened = session_opened(**pick.choice([resume, resume, both]))
        return [self.sent(opened, topic) for topic in pick.sample((JOBS, METRICS, LOGS), 3)]

    def measured(self) -> Fact:
        pick = self.random
        values: list[float | None] = [
            pick.choice([round(pick.random(), 3), math.nan]) for _ in range(pick.randint(1, 9))
        ]
        if pick.random() < 0.5:
            return metrics_reported({"loss": values}, first_step=pick.randint(0, 40), epoch=pick.randint(1, 6))
        step = pick.choice([None, None, pick.randint(0, 40)])
        name = pick.choice(["mAP50", "mAP50-95"])
        return metrics_reported({name: values[:1]}, phase="val", first_step=step, epoch=pick.randint(1, 6))

    def some(self) -> list[Event[Fact]]:
        pick = self.random
        if pick.random() < 0.1:
            self.attempt += 1
            retry = RetryRequested(requested_by="ann", reason="again")
            launched = JobLaunched(launcher="launcher", reason="retry")
            return [self.sent(retry, attempt=self.attempt - 1), self.sent(launched), *self.opened()]
        epoch = pick.randint(1, 100)
        attempt = pick.randint(1, self.attempt)
        fact: Fact = pick.choice(
            [
                *[self.measured() for _ in range(6)],
                *[log_written(*["line"] * pick.randint(1, 3)) for _ in range(2)],
                ProgressReported(epoch=epoch, total_epochs=100, phase="train"),
                CheckpointSaved(epoch=epoch, checkpoint_path="s3://c/25/best.pt", is_best=pick.random() < 0.5),
                ArtifactSaved(name="a.png", kind="plot", object_uri="s3://c/a", file_size_bytes=3, sha256="00"),
                JobDescribed(name=f"name {epoch}", requested_by="ann"),
                StopRequested(requested_by="ann", reason="enough"),
                StopDecided(decision_id=str(epoch), rule="patience", metric="val/mAP50", reason="no better"),
                StopSignalled(signal="SIGTERM", reason="asked"),
                job_started(),
                JobStopped(stopped_at_epoch=epoch),
                JobFailed(error_code="OOM", error_message="no memory"),
                job_completed(),
            ]
        )
        return [self.sent(fact, attempt=attempt)]


async def lives_through(seed: int, log: Log, client: httpx.AsyncClient, length: int) -> None:
    """Look at the job after every event; ask for each of these moments when all is over."""
    run = Run(seed)
    events = [*run.opened(), run.sent(run.measured()), run.sent(job_created())]
    while len(events) < length:
        events += run.some()
    seen: dict[str, dict[str, Any]] = {}
    for happened in events:
        placed = log.append(happened)
        await log.apply()
        moment = datetime.fromtimestamp(placed.timestamp_ms / 1000, UTC)
        found = await answers(client)
        between = (moment + timedelta(milliseconds=7)).isoformat().replace("+00:00", "Z")
        seen |= {between: found, f"{placed.topic}/{placed.partition}/{placed.offset}": found}
    for as_of, found in seen.items():
        assert await answers(client, as_of) == found, f"seed {seed}, {as_of}"


async def test_any_moment_is_answered_as_it_was_answered_then(log: Log, client: httpx.AsyncClient) -> None:
    await lives_through(7, log, client, 30)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(12))
async def test_many_random_runs_are_answered_as_they_were_then(seed: int, log: Log, client: httpx.AsyncClient) -> None:
    await lives_through(seed, log, client, 60)


async def test_what_is_superseded_later_was_not_superseded_then(log: Log, client: httpx.AsyncClient) -> None:
    run = Run(0)
    log.append(run.sent(job_created()))
    log.append(run.sent(metrics_reported({"mAP50": [0.5]}, phase="val", first_step=None, epoch=1)))
    log.append(run.sent(metrics_reported({"mAP50": [0.9]}, phase="val", first_step=None, epoch=2)))
    run.attempt = 2
    log.append(run.sent(session_opened(resume_epoch=1), METRICS))
    log.append(run.sent(metrics_reported({"mAP50": [0.4]}, phase="val", first_step=None, epoch=2)))
    await log.apply()

    async def read(as_of: str) -> tuple[Any, ...]:
        found = await answers(client, as_of)
        best = found["job"]["best_metric"]
        return best, [epoch["val_metrics"]["mAP50"] for epoch in found["metrics"]["epochs"]]

    assert await read(f"{METRICS}/{PLACE}/1") == (0.9, [0.5, 0.9])
    assert await read(f"{METRICS}/{PLACE}/2") == (0.5, [0.5])
    assert await read(f"{METRICS}/{PLACE}/3") == (0.5, [0.5, 0.4])


async def test_a_moment_that_the_read_models_lack_is_waited_for(
    log: Log, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(Run(0).sent(job_created()))
    await log.apply()
    later = log.append(event(JobDescribed(name="later", requested_by="ann"), seq=2))
    monkeypatch.setattr("api.jobs.history.WAIT_MAX_S", 0.2)
    moment = datetime.fromtimestamp(later.timestamp_ms / 1000, UTC).isoformat()
    for as_of in (moment, f"{JOBS}/{PLACE}/1"):
        answer = await client.get(JOB, params={"as_of": as_of})
        assert (answer.status_code, "do not hold all of that moment" in answer.json()["detail"]) == (503, True)
    before = (await client.get(JOB, params={"as_of": f"{JOBS}/{PLACE}/0"})).json()
    assert before["name"] == "Vehicle Detection v1"
    await log.apply()
    for as_of in (moment, f"{JOBS}/{PLACE}/1"):
        assert (await client.get(JOB, params={"as_of": as_of})).json()["name"] == "later"


async def test_what_is_no_moment_of_the_job_is_refused_with_what_is_taken(log: Log, client: httpx.AsyncClient) -> None:
    run = Run(0)
    log.append(run.sent(session_opened(), LOGS))
    log.append(run.sent(job_created()))
    await log.apply()
    elsewhere = (PLACE + 1) % 12
    for as_of, status, says in [
        ("yesterday", 422, "a place in the log such as training.jobs/3/120"),
        ("2026-01-02T12:00:00 02:00", 422, "%2B"),
        ("9999-12-31T23:59:59-23:00", 422, "is no moment"),
        ("2999-01-01T00:00:00Z", 422, "lies in the future"),
        (f"training.system/{PLACE}/0", 422, "is no topic of a moment"),
        (f"training.jobs/{elsewhere}/0", 422, f"stands in partition {PLACE}"),
        (f"training.jobs/{PLACE}/1", 422, f"training.jobs/{PLACE} ends before offset 1"),
        (f"training.metrics/{PLACE}/0", 422, f"training.metrics/{PLACE} ends before offset 0"),
        ("2026-01-02T12:00:00.005Z", 404, f"it exists since 2026-01-02T12:00:00.010000Z (training.jobs/{PLACE}/0)"),
        (f"training.logs/{PLACE}/0", 404, "it exists since"),
    ]:
        for path in PATHS.values():
            answer = await client.get(asked(path, as_of))
            assert (answer.status_code, says in answer.json()["detail"]) == (status, True), (as_of, answer.text)
    assert (await client.get("/api/v1/training/jobs/26", params={"as_of": NOON.isoformat()})).status_code == 404
