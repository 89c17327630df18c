"""Postgres is lost altogether, or restored from a backup, while the log goes on: what comes back, and what does not."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from stack.postgres import binary_folder
from tests.chaos.conftest import Chaos
from tests.chaos.histories import everything, make_history
from tests.running import create_job, register_dataset
from tests.services import World
from tests.waiting import eventually

pytestmark = pytest.mark.full


async def all_sent(world: World) -> None:
    """Wait until the outbox has told the log everything."""
    connection = await asyncpg.connect(world.database_url)
    try:

        async def none_unsent() -> bool:
            return bool(await connection.fetchval("SELECT count(*) = 0 FROM write.outbox WHERE sent_at IS NULL"))

        await eventually(none_unsent, what="the outbox is sent")
    finally:
        await connection.close()


async def lose_database(world: World) -> None:
    """As if its server had burnt down: an empty one is at its address."""
    name = urlsplit(world.database_url).path.lstrip("/")
    admin = await asyncpg.connect(urlsplit(world.database_url)._replace(path="/postgres").geturl())
    try:
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.execute(f'CREATE DATABASE "{name}"')
    finally:
        await admin.close()


async def one_value(world: World, query: str) -> object:
    connection = await asyncpg.connect(world.database_url)
    try:
        value: object = await connection.fetchval(query)
        return value
    finally:
        await connection.close()


async def migrate(world: World) -> str:
    return await asyncio.to_thread(world.run, "-m", "projections", "migrate")


async def restart(chaos: Chaos, *, launcher: str) -> None:
    chaos.running.start_api()
    chaos.running.start_core()
    await asyncio.to_thread(chaos.running.wait_ready)
    chaos.start_launcher(launcher)


def kill_ours(chaos: Chaos) -> None:
    for name in list(chaos.running.processes):
        chaos.running.kill(name)


@pytest.mark.timeout(240)
async def test_everything_that_was_told_comes_back_from_the_log(chaos: Chaos) -> None:
    world = chaos.running.world
    chaos.start_launcher()
    jobs = await make_history(chaos)
    # Another one runs while it happens; its trainer knows nothing of Postgres.
    running = await chaos.create_run(600, 0.05)
    await chaos.has_returned(running, 20)
    await all_sent(world)
    before = await everything(chaos, jobs)
    installation = await one_value(world, "SELECT id FROM write.installation")

    kill_ours(chaos)
    # Accepted, and not told to the log yet: nobody is left who would.
    untold = await register_dataset(world, name="untold")
    assert await one_value(world, "SELECT key FROM write.outbox WHERE sent_at IS NULL ORDER BY id DESC LIMIT 1") == str(
        untold
    )
    await lose_database(world)
    assert "read model jobs_v" in await migrate(world)
    await restart(chaos, launcher="launcher-after")

    after = await everything(chaos, jobs)
    assert after == before
    # Nothing that had ended was started again, what ran went on, and ids go on above the old ones.
    job = await chaos.ends(running, timeout_s=90)
    assert (job["status"], job["integrity"], job["attempt"]) == ("completed", "complete", 1)
    await chaos.has_everything_once(running, 600)
    assert [(await chaos.job(job))["attempt"] for job in jobs] == [1, 1]
    assert await create_job(chaos.client, chaos.dataset_id) > running
    # The one thing that is lost: its id is given again.
    assert await register_dataset(world) == untold
    # Its outbox begins new sessions: under the old ones, the log would drop the new facts as repeats.
    assert await one_value(world, "SELECT id FROM write.installation") != installation


def backup(world: World, file: Path, *what: str) -> None:
    command = [str(binary_folder() / "pg_dump"), "--format=custom", f"--file={file}", *what, world.database_url]
    subprocess.run(command, check=True, timeout=60)


def restore(world: World, file: Path) -> None:
    command = [str(binary_folder() / "pg_restore"), "--exit-on-error", f"--dbname={world.database_url}", str(file)]
    subprocess.run(command, check=True, timeout=60)


async def report(chaos: Chaos, job_id: int, step: int) -> None:
    body = {"epoch": 1, "step": step, "phase": "train", "metrics": {"loss": 1 / step}}
    answer = await chaos.client.post(f"training/jobs/{job_id}/callback/metrics", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.timeout(240)
@pytest.mark.parametrize("what", [("--schema=write",), ()], ids=["schema write", "whole database"])
async def test_a_backup_that_is_older_than_the_log_is_restored_and_nothing_is_told_twice_or_dropped(
    chaos: Chaos, what: tuple[str, ...], tmp_path: Path
) -> None:
    world = chaos.running.world
    job = await create_job(chaos.client, chaos.dataset_id)
    started = await chaos.client.post(f"training/jobs/{job}/callback/started", json={"pid": 1})
    assert started.status_code == 200
    await report(chaos, job, 1)
    await all_sent(world)
    chaos.running.kill("api")
    await register_dataset(world, name="told after the backup")
    backup(world, tmp_path / "backup", *what)

    chaos.running.start_api()
    await asyncio.to_thread(chaos.running.wait_ready)
    await report(chaos, job, 2)
    later = await create_job(chaos.client, chaos.dataset_id)
    await all_sent(world)
    before = await everything(chaos, [job, later])

    kill_ours(chaos)
    await lose_database(world)
    restore(world, tmp_path / "backup")
    assert "this database was restored or moved" in await migrate(world)
    assert await migrate(world) == "nothing to do\n"
    chaos.running.start_api()
    chaos.running.start_core()
    await asyncio.to_thread(chaos.running.wait_ready)

    async def as_before() -> bool:
        return await everything(chaos, [job, later]) == before

    await eventually(as_before, what="the API says what it said before")
    # What is told now is not taken for what the log has from the time after the backup.
    await report(chaos, job, 3)
    await all_sent(world)

    async def three_steps() -> bool:
        answer = await chaos.client.get(f"training/jobs/{job}/metrics/series", params={"names": "train/loss"})
        return [series["steps"] for series in answer.json()["series"]] == [[1, 2, 3]]

    await eventually(three_steps, what="the third step is there, each once")
    assert await create_job(chaos.client, chaos.dataset_id) > later
