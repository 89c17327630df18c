"""The whole product on ports of its own, as ``make up`` starts it, and one run of it watched from every side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from stack.demo.evidence import Evidence, gather
from stack.demo.follow import FRAME_BYTES_MAX, Followed, fold, socket_url
from stack.demo.verdict import same_points
from stack.settings import Settings
from tests.waiting import eventually

RUN_TIMEOUT_S = 240.0
ENDED = ("completed", "stopped", "failed")
MLFLOW_STATUS = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(slots=True)
class Product:
    """A running stack with one tiny data set registered in it."""

    settings: Settings
    api: httpx.AsyncClient
    dataset_id: int

    async def job(self, job_id: int) -> dict[str, Any]:
        return await self.get(f"training/jobs/{job_id}")

    async def get(self, path: str, **parameters: str) -> dict[str, Any]:
        answer = await self.api.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def ask(self, job_id: int, command: str) -> dict[str, Any]:
        """Send a command. Returns the answer."""
        first = await self.api.post(f"training/jobs/{job_id}/{command}")
        assert first.status_code == 202, first.text
        found: dict[str, Any] = first.json()
        assert found["position"] is not None
        return found

    async def events(self, job_id: int) -> list[dict[str, Any]]:
        """The whole audit trail."""
        found: list[dict[str, Any]] = []
        after = "-1"
        while True:
            page = await self.get(f"training/jobs/{job_id}/events", limit="1000", after=after)
            found += page["events"]
            if page["next"] is None:
                return found
            after = page["next"]

    async def until(
        self, job_id: int, condition: Callable[[dict[str, Any]], bool], what: str, timeout_s: float = RUN_TIMEOUT_S
    ) -> dict[str, Any]:
        async def holds() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if condition(job) else None

        found: Callable[[], Awaitable[dict[str, Any] | None]] = holds
        job = await eventually(found, timeout_s=timeout_s, what=f"job {job_id}: {what}")
        assert job is not None
        return job

    async def ends(self, job_id: int) -> dict[str, Any]:
        return await self.until(job_id, lambda job: job["status"] in ENDED, "ends")

    async def epoch_reached(self, job_id: int, epoch: int) -> dict[str, Any]:
        """Until that epoch is over: its validation metrics can be read."""

        async def reached() -> dict[str, Any] | None:
            job = await self.job(job_id)
            assert job["status"] not in ENDED, job
            history = await self.get(f"training/jobs/{job_id}/metrics")
            done = [row["epoch"] for row in history["epochs"] if row["val_metrics"]]
            return job if done and max(done) >= epoch else None

        found: Callable[[], Awaitable[dict[str, Any] | None]] = reached
        job = await eventually(found, timeout_s=RUN_TIMEOUT_S, what=f"job {job_id}: epoch {epoch} is over")
        assert job is not None
        return job

    async def epochs_with_validation(self, job_id: int) -> list[int]:
        history = await self.get(f"training/jobs/{job_id}/metrics")
        return [row["epoch"] for row in history["epochs"] if row["val_metrics"]]


@dataclass(slots=True)
class Listener:
    """A WebSocket client that stays on, over every end and new attempt."""

    followed: Followed = field(default_factory=Followed)
    statuses: list[tuple[str, str]] = field(default_factory=list)

    async def listen(self, product: Product, job_id: int) -> None:
        while True:
            url = socket_url(product.settings.backend_url, job_id, self.followed.cursor)
            with contextlib.suppress(ConnectionClosed, OSError, TimeoutError):
                async with connect(url, max_size=FRAME_BYTES_MAX, open_timeout=10) as socket:
                    self.followed.live_since = time.time()
                    async for text in socket:
                        frame = orjson.loads(text)
                        fold(self.followed, frame, time.time())
                        if frame["type"] == "job_status":
                            self.statuses.append((frame["data"]["status"], frame["data"]["state"]))
            self.followed.reconnects += 1


@dataclass(slots=True)
class Run:
    """One job of the product, and who listens to it."""

    product: Product
    job_id: int
    listener: Listener

    async def everybody_agrees(self, status: str, epochs: int) -> Evidence:
        """Kafka, Postgres, S3, MLflow, the API and a WebSocket client say the same of how the job ended.

        ``epochs``: how many have validation metrics.
        """
        product = self.product
        job = await product.until(self.job_id, lambda job: job["status"] == status, f"is {status}")
        assert job["integrity"] in ("complete", "pending", "not provable"), job
        job = await product.until(self.job_id, lambda job: job["integrity"] == "complete", "is complete")
        heard = self.listener.followed
        await eventually(lambda: heard.status == status, what=f"the WebSocket client hears {status}")
        evidence = await gather(product.settings, product.api, self.job_id, epochs, heard.latencies_s)
        assert evidence.epochs_seen == epochs
        for name, applied in evidence.applied.items():
            assert applied.dead_letters == 0, name
            assert applied.events == evidence.written.events[applied.topic], (name, applied)
            assert applied.rows == applied.rows_wanted, (name, applied)
        await eventually(lambda: heard.points == evidence.written.points, what="the WebSocket client has every point")
        assert heard.gaps == 0
        assert heard.checkpoints == evidence.written.checkpoints
        assert all(evidence.checkpoints.values()), evidence.checkpoints
        assert evidence.mlflow_status == MLFLOW_STATUS[status]
        if job["attempt"] <= 1:
            for name, points in evidence.series.items():
                assert same_points(points, evidence.mlflow_series[name]), name
        else:
            # MLflow knows no attempts: it keeps what a later attempt took back.
            for name, points in evidence.series.items():
                assert {step for step, _ in points} <= {step for step, _ in evidence.mlflow_series[name]}, name
        return evidence


@contextlib.asynccontextmanager
async def run_of(product: Product, body: dict[str, Any]) -> AsyncIterator[Run]:
    """Create a job and listen to it. A run that a failed test leaves behind is cancelled."""
    answer = await product.api.post("training/jobs", json={"dataset_id": product.dataset_id, **body})
    assert answer.status_code == 201, answer.text
    job_id: int = answer.json()["id"]
    listener = Listener()
    listening = asyncio.create_task(listener.listen(product, job_id))
    try:
        yield Run(product, job_id, listener)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        if (await product.job(job_id))["status"] not in ENDED:
            await product.api.post(f"training/jobs/{job_id}/cancel")
