"""Three brokers, three replicas, two of which must have a record: any one of them dies, nothing is lost or stops."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import websockets

from stack.processes import stop_runs
from tests.chaos.brokers import NODES, Brokers, three_brokers
from tests.chaos.conftest import Chaos
from tests.running import create_job, register_dataset, running_in
from tests.services import Services, a_world
from tests.waiting import eventually

STEP_S = 0.05
GOES_ON_WITHIN_S = 30.0
"""A dead broker's session ends after 3 s, the dead controller's own clock begins again; the rest is two busy cores."""


@pytest_asyncio.fixture
async def cluster(services: Services, tmp_path: Path) -> AsyncIterator[tuple[Chaos, Brokers]]:
    async with three_brokers() as brokers:
        of_three = replace(services, kafka_bootstrap_servers=brokers.settings.kafka_bootstrap_servers)
        async with a_world(of_three, tmp_path) as world, running_in(world) as running:
            dataset_id = await register_dataset(world)
            async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=10) as client:
                try:
                    yield Chaos(running, client, dataset_id), brokers
                finally:
                    running.stop()
                    stop_runs(world.folder)
                    # The topics are the cluster's own; whoever tidies up must find it whole.
                    for node in set(NODES) - set(brokers.processes):
                        brokers.start(node)


@dataclass(slots=True)
class Watcher:
    """What somebody sees who follows a job and asks for it all the time."""

    steps: list[int] = field(default_factory=list)
    answers: int = 0
    slowest_s: float = 0.0

    async def listen(self, url: str) -> None:
        """On one connection: one that breaks is an error."""
        async with websockets.connect(url) as connection:
            async for text in connection:
                frame = json.loads(text)
                if frame["type"] == "metrics":
                    self.steps += frame["data"]["steps"]

    async def ask(self, chaos: Chaos, job_id: int) -> None:
        while True:
            began = time.monotonic()
            answer = await chaos.client.get(f"training/jobs/{job_id}")
            assert answer.status_code == 200, answer.text
            self.answers += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            await asyncio.sleep(0.2)


async def gone_on(chaos: Chaos, watcher: Watcher, job_id: int, more: int) -> tuple[float, float]:
    """Seconds until steps that the trainer reports from now on are live on the socket, and in the read model."""
    began = time.monotonic()
    step = int((chaos.folder(job_id) / "output" / "returned").read_text()) + more

    async def applied() -> bool:
        steps = await chaos.steps(job_id)
        return bool(steps) and steps[-1] >= step

    await eventually(lambda: step in watcher.steps, timeout_s=GOES_ON_WITHIN_S, what=f"step {step} is live")
    live_s = time.monotonic() - began
    await eventually(applied, timeout_s=GOES_ON_WITHIN_S, what=f"step {step} is applied")
    return live_s, time.monotonic() - began


async def listed(chaos: Chaos, job_id: int) -> None:
    """Lists show what the read model holds, unlike the job itself."""

    async def is_first() -> bool:
        answer = await chaos.client.get("training/jobs", params={"limit": 1})
        return bool(answer.json()["jobs"][0]["id"] == job_id)

    await eventually(is_first, what=f"job {job_id} is in the read model")


@pytest.mark.full
@pytest.mark.timeout(400)
async def test_any_one_of_three_brokers_is_killed_and_nothing_is_lost_or_stops(
    cluster: tuple[Chaos, Brokers],
) -> None:
    chaos, brokers = cluster
    world = chaos.running.world
    chaos.start_launcher()
    await brokers.all_in_sync(world.topic_prefix)
    job_id = await chaos.create_run(1_000_000, STEP_S)
    await chaos.has_returned(job_id, 20)
    watcher = Watcher()
    async with asyncio.TaskGroup() as watching:
        url = f"{chaos.running.socket_url}?job_id={job_id}&protocol=2"
        tasks = [watching.create_task(watcher.listen(url)), watching.create_task(watcher.ask(chaos, job_id))]
        await gone_on(chaos, watcher, job_id, 10)
        first = brokers.leading_controller()
        for victim in (first, *(node for node in NODES if node != first)):
            brokers.kill(victim)
            # Accepted at once, and told to the log and the read models by those that are left.
            other = await create_job(chaos.client, chaos.dataset_id)
            live_s, applied_s = await gone_on(chaos, watcher, job_id, 40)
            print(f"broker {victim} killed: live again after {live_s:.1f} s, applied after {applied_s:.1f} s")
            await listed(chaos, other)
            brokers.start(victim)
            await brokers.all_in_sync(world.topic_prefix)
        stopped = await chaos.client.post(f"training/jobs/{job_id}/stop")
        assert stopped.status_code == 202, stopped.text
        job = await chaos.ends(job_id)
        last = int((chaos.folder(job_id) / "output" / "returned").read_text())
        await eventually(lambda: last in watcher.steps, what="the last step is live")
        for task in tasks:
            task.cancel()
    assert (job["status"], job["integrity"], job["attempt"]) == ("stopped", "complete", 1)
    assert await chaos.steps(job_id) == list(range(1, last + 1))
    logs = await chaos.client.get(f"training/jobs/{job_id}/logs", params={"source": "trainer", "limit": 1})
    assert logs.json()["total"] == last
    # Who was listening missed nothing and was told nothing twice.
    assert watcher.steps == list(range(watcher.steps[0], last + 1))
    print(f"{last} steps; {watcher.answers} answers of the API, the slowest took {watcher.slowest_s:.2f} s")
    slowest_s = float((chaos.folder(job_id) / "output" / "slowest_s").read_text())
    # One that waited for a broker would have waited for the end of the dead one's session, 3 s.
    assert slowest_s < 3.0, f"a reporting call took {slowest_s} s"
