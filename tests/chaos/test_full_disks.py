"""The disk of Postgres, then that of Kafka, is full for a while: nothing that was accepted is lost, no run stops."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest

from stack import kafka
from stack.processes import stop_runs
from tests.chaos.conftest import Chaos
from tests.chaos.small_disks import fill, free, small_disk
from tests.running import create_job, register_dataset, running_in
from tests.services import Services, World, a_world, own_stack
from tests.waiting import eventually

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

STEPS = 500
MORE = 60
"""Steps that the trainer makes while the disk is full."""


@contextlib.asynccontextmanager
async def in_a_world_of(services: Services, folder: Path) -> AsyncIterator[Chaos]:
    async with a_world(services, folder) as world, running_in(world) as running:
        dataset_id = await register_dataset(world)
        async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=40) as client:
            try:
                yield Chaos(running, client, dataset_id)
            finally:
                running.stop()
                stop_runs(world.folder)


@contextlib.contextmanager
def folder_for_others() -> Iterator[Path]:
    """Postgres is another user when we are root: it must be able to walk in."""
    with tempfile.TemporaryDirectory(prefix="epochlog-full-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def report(chaos: Chaos, job_id: int, step: int) -> httpx.Response:
    """A callback of a few kilobytes, as a trainer without the SDK sends it."""
    metrics = {"loss": 1 / step, **{f"metric_{number}": number / step for number in range(200)}}
    body = {"epoch": 1, "step": step, "phase": "train", "metrics": metrics}
    return await chaos.client.post(f"training/jobs/{job_id}/callback/metrics", json=body)


async def dead_letters(world: World) -> int:
    connection = await asyncpg.connect(world.database_url)
    try:
        names = await connection.fetch("SELECT schema_name FROM write.read_models WHERE state = 'live'")
        counts = [await connection.fetchval(f'SELECT count(*) FROM "{row[0]}".dead_letters') for row in names]
    finally:
        await connection.close()
    return sum(counts)


async def works_again(chaos: Chaos, job_id: int, step: int) -> None:
    async def accepted() -> bool:
        return (await report(chaos, job_id, step)).status_code == 200

    await eventually(accepted, timeout_s=90, what="callbacks are accepted again")


async def is_whole(chaos: Chaos, run: int, by_hand: int, accepted: set[int]) -> None:
    """Every step of the run and every callback that was accepted is there once, and nothing was parked."""
    job = await chaos.ends(run, timeout_s=120)
    assert (job["status"], job["integrity"], job["attempt"]) == ("completed", "complete", 1)
    await chaos.has_everything_once(run, STEPS)

    async def all_there() -> bool:
        return accepted <= set(await chaos.steps(by_hand))

    await eventually(all_there, timeout_s=60, what="every accepted callback is in the read model")
    steps = await chaos.steps(by_hand)
    assert len(steps) == len(set(steps))
    assert await dead_letters(chaos.running.world) == 0


async def returned(chaos: Chaos, job_id: int) -> int:
    return int((chaos.folder(job_id) / "output" / "returned").read_text())


async def test_the_disk_of_postgres_is_full(services: Services, tmp_path: Path) -> None:
    with (
        folder_for_others() as folder,
        small_disk(folder / "postgres", 400) as disk,
        own_stack(folder, ["postgres"]) as settings,
    ):
        async with in_a_world_of(replace(services, database_url=settings.database_url), tmp_path) as chaos:
            chaos.start_launcher()
            by_hand = await create_job(chaos.client, chaos.dataset_id)
            run = await chaos.create_run(STEPS, 0.05)
            await chaos.has_returned(run, 20)
            fill(disk)
            accepted, refused, step = set[int](), list[httpx.Response](), 0
            try:
                reached = await returned(chaos, run) + MORE
                while not (refused and await returned(chaos, run) >= reached):
                    step += 1
                    answer = await report(chaos, by_hand, step)
                    if answer.status_code == 200:
                        accepted.add(step)
                    else:
                        refused.append(answer)
                        await asyncio.sleep(0.2)
            finally:
                free(disk)
            assert {answer.status_code for answer in refused} == {503}
            assert all(answer.headers["content-type"] == "application/problem+json" for answer in refused)
            print(len(accepted), "accepted,", {answer.json()["detail"] for answer in refused})
            await works_again(chaos, by_hand, step + 1)
            await is_whole(chaos, run, by_hand, accepted | {step + 1})
            assert chaos.running.processes["core"].poll() is None, "the worker waits for room, it does not crash"


async def test_the_disk_of_kafka_is_full(services: Services, tmp_path: Path) -> None:
    with (
        folder_for_others() as folder,
        small_disk(folder / "kafka" / "data", 300) as disk,
        own_stack(folder, ["kafka"]) as settings,
    ):
        own = replace(services, kafka_bootstrap_servers=settings.kafka_bootstrap_servers)
        async with in_a_world_of(own, tmp_path) as chaos:
            chaos.start_launcher()
            by_hand = await create_job(chaos.client, chaos.dataset_id)
            run = await chaos.create_run(STEPS, 0.05)
            await chaos.has_returned(run, 20)
            fill(disk)
            try:

                async def broker_gone() -> bool:
                    return await kafka.ready(settings) is not None

                # It gives its folder up, and with its only folder itself; the keeper's new starts fail likewise.
                await eventually(broker_gone, timeout_s=60, what="the broker has given up its folder")
                step, reached = 0, await returned(chaos, run) + MORE
                while step < MORE or await returned(chaos, run) < reached:
                    step += 1
                    answer = await report(chaos, by_hand, step)
                    assert answer.status_code == 200, answer.text  # the outbox takes them
                    await asyncio.sleep(0.05)
            finally:
                free(disk)
            await is_whole(chaos, run, by_hand, set(range(1, step + 1)))
