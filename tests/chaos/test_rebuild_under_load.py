"""Two API processes, two workers, rebuilds of everything again and again: nobody is ever told anything wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from events.envelope import Event
from events.types.checkpoints import CheckpointSaved
from events.types.vocabulary import Fact
from producers.kafka.publisher import KafkaPublisher
from tests.builders import event, log_written, metrics_reported, session_opened, wire
from tests.running import Running, create_job, register_dataset
from tests.services import World, free_port
from tests.waiting import eventually
from training_sdk.wire import JOBS, LOGS, METRICS, WireEvent

RUNS = 4
ROUNDS = 700
POINTS = 5
ROUND_PAUSE_S = 0.03
REBUILDS_MIN = 2


def value_of(job_id: int, step: int) -> float:
    return job_id * 1_000_000 + step / 2


@dataclass(slots=True)
class Written:
    """What was handed to the broker of one job, so far: a reader may have seen any part of it, from the beginning."""

    job_id: int
    rounds: int = 0
    seqs: dict[str, int] = field(default_factory=dict)

    def next_round(self) -> list[WireEvent]:
        """Five points, a line, and now and then a checkpoint."""
        number = self.rounds
        self.rounds += 1
        steps = range(number * POINTS, (number + 1) * POINTS)
        loss: list[float | None] = [value_of(self.job_id, step) for step in steps]
        facts: list[tuple[str, Fact]] = [(topic, session_opened()) for topic in (JOBS, METRICS, LOGS) if number == 0]
        facts.append((METRICS, metrics_reported({"loss": loss}, first_step=steps[0])))
        facts.append((LOGS, log_written(f"line {number}")))
        if number % 50 == 0:
            saved = CheckpointSaved(epoch=number // 50, checkpoint_path=f"s3://b/{self.job_id}/{number // 50}")
            facts.append((JOBS, saved))
        return [wire(self._event(topic, fact)) for topic, fact in facts]

    def _event(self, topic: str, fact: Fact) -> Event[Fact]:
        self.seqs[topic] = self.seqs.get(topic, 0) + 1
        return event(fact, job_id=self.job_id, session=f"{self.job_id:032x}", seq=self.seqs[topic], topic=topic)


@dataclass(slots=True)
class Checker:
    """Asks one API after the other, and remembers what anybody was told: nothing of that may vanish or change."""

    clients: list[httpx.AsyncClient]
    written: dict[int, Written]
    seen: dict[tuple[int, str], int] = field(default_factory=dict)
    answers: int = 0

    async def run(self) -> None:
        while True:
            for client in self.clients:
                for job_id in self.written:
                    await self.look(client, job_id)

    async def look(self, client: httpx.AsyncClient, job_id: int) -> None:
        listed = await self.ask(client, "training/jobs")
        assert listed["total"] == len(self.written), listed
        assert (await self.ask(client, f"training/jobs/{job_id}"))["name"] == f"run {job_id}"
        found = await self.ask(client, f"training/jobs/{job_id}/metrics/series?names=train/loss")
        steps, values = ([], []) if not found["series"] else (found["series"][0]["steps"], found["series"][0]["values"])
        assert steps == list(range(len(steps))), (job_id, steps)
        assert values == [value_of(job_id, step) for step in steps], job_id
        self.grew(job_id, "points", len(steps), POINTS)
        logs = await self.ask(client, f"training/jobs/{job_id}/logs?limit=1000&source=trainer")
        lines = sorted((line["message"] for line in logs["logs"]), key=lambda text: int(text.split()[1]))
        assert lines == [f"line {number}" for number in range(len(lines))], (job_id, lines)
        assert logs["total"] == len(lines)
        self.grew(job_id, "lines", len(lines), 1)
        saved = await self.ask(client, f"training/jobs/{job_id}/checkpoints")
        assert len({one["epoch"] for one in saved["checkpoints"]}) == len(saved["checkpoints"])
        self.grew(job_id, "checkpoints", len(saved["checkpoints"]), 1)

    async def ask(self, client: httpx.AsyncClient, path: str) -> Any:
        answer = await client.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        self.answers += 1
        return answer.json()

    def grew(self, job_id: int, what: str, count: int, a_round: int) -> None:
        before = self.seen.get((job_id, what), 0)
        assert before <= count <= self.written[job_id].rounds * a_round, (job_id, what, before, count)
        self.seen[job_id, what] = count


@asynccontextmanager
async def two_of_each(world: World) -> AsyncIterator[tuple[Running, list[httpx.AsyncClient]]]:
    running, other = Running(world, free_port()), Running(world, free_port())
    try:
        running.start_api()
        other.start("other-api", "-m", "api")
        for instance in ("0", "1"):
            name = f"core-{instance}"
            running.start(name, "-m", "projections", "run", "core", EPOCHLOG_WORKER_INSTANCE=instance)
        await asyncio.to_thread(running.wait_ready)
        await asyncio.to_thread(other.wait_ready)
        async with (
            httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=60) as first,
            httpx.AsyncClient(base_url=f"{other.backend_url}/", timeout=60) as second,
        ):
            yield running, [first, second]
    finally:
        await asyncio.to_thread(other.stop)
        await asyncio.to_thread(running.stop)


async def write(world: World, written: dict[int, Written]) -> None:
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    try:
        for _ in range(ROUNDS):
            await publisher.publish([message for one in written.values() for message in one.next_round()])
            await asyncio.sleep(ROUND_PAUSE_S)
    finally:
        await publisher.close()


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_while_everything_is_rebuilt_under_load_no_answer_is_wrong(migrated_world: World) -> None:
    world = migrated_world
    async with two_of_each(world) as (running, clients):
        dataset_id = await register_dataset(world)
        job_ids = [await create_job(clients[0], dataset_id) for _ in range(RUNS)]
        for job_id in job_ids:
            renamed = await clients[0].patch(f"training/jobs/{job_id}", json={"name": f"run {job_id}"})
            assert renamed.status_code in (200, 202), renamed.text
        written = {job_id: Written(job_id) for job_id in job_ids}
        checker = Checker(clients, written)

        async def everything_is_seen() -> bool:
            for client in clients:
                for job_id in job_ids:
                    await checker.look(client, job_id)
            wanted = {"points": ROUNDS * POINTS, "lines": ROUNDS}
            return all(checker.seen[job_id, what] == count for job_id in job_ids for what, count in wanted.items())

        async def listed() -> bool:
            answers = [(await client.get("training/jobs")).json() for client in clients]
            names = {f"run {job_id}" for job_id in job_ids}
            return all({job["name"] for job in answer["jobs"]} == names for answer in answers)

        await eventually(listed, what="the jobs are there")
        writing = asyncio.create_task(write(world, written))
        checking = asyncio.create_task(checker.run())
        rebuilds = 0
        try:
            while rebuilds < REBUILDS_MIN or not writing.done():
                await asyncio.to_thread(world.run, "-m", "projections", "rebuild", "--all", timeout_s=200)
                rebuilds += 1
                if checking.done():
                    break
            await writing
        finally:
            checking.cancel()
            # What it found wrong, if anything.
            (ended,) = await asyncio.gather(checking, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended
        try:
            await eventually(everything_is_seen, timeout_s=60, what="all of it is applied")
        except AssertionError as error:
            logs = "\n".join(running.log(name) for name in running.processes)
            raise AssertionError(f"{error}: {checker.seen}\n{logs}") from error
        assert checker.answers > 200
    assert '"equal": false' not in await asyncio.to_thread(world.run, "-m", "projections", "verify", "--json")
