"""Kafka is away when the trainer starts, in the middle, and while it ends: training never waits, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from stack.keeper import state_file
from stack.services import STORES
from stack.settings import Settings
from tests.chaos.conftest import Chaos
from tests.running import create_job, register_dataset, running_in
from tests.services import Services, a_world, own_stack
from tests.waiting import eventually

STEPS = 1_500
STEP_S = 0.02


class Broker:
    """The broker of a stack of the test's own, stopped and let go on: its port stays, it just does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _pid(self) -> int:
        rows = json.loads(state_file(self._settings).read_text())["services"]
        (row,) = [row for row in rows if row["name"] == "kafka"]
        pid: int = row["pid"]
        return pid

    def lives(self) -> bool:
        try:
            os.kill(self._pid(), 0)
        except (OSError, TypeError, ValueError):
            return False
        return True

    def kill(self) -> None:
        """kill -9; the keeper brings it back, with back-off."""
        os.kill(self._pid(), signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self._pid(), signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid(), signal.SIGCONT)


def open_to_others(folder: Path) -> Path:
    folder.chmod(0o755)
    return folder


@pytest_asyncio.fixture
async def outage(tmp_path: Path) -> AsyncIterator[tuple[Chaos, Broker]]:
    # Not below pytest's own folder, which every session closes to other users: Postgres is one when we are root.
    with (
        tempfile.TemporaryDirectory(prefix="epochlog-outage-", dir="/var/tmp") as folder,
        own_stack(open_to_others(Path(folder)), list(STORES)) as settings,
    ):
        services = Services(
            kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
            database_url=settings.database_url,
            s3_endpoint=settings.s3_endpoint,
            s3_access_key=settings.s3_access_key,
            s3_secret_key=settings.s3_secret_key,
            settings=settings,
        )
        async with a_world(services, tmp_path) as world, running_in(world) as running:
            dataset_id = await register_dataset(world)
            async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as client:
                broker = Broker(settings)
                try:
                    yield Chaos(running, client, dataset_id), broker
                finally:
                    broker.thaw()


async def run_trainer(chaos: Chaos, job_id: int) -> subprocess.Popen[bytes]:
    """The steady trainer, run by hand as a user would: no launcher, no supervisor."""
    config = f'{{"steps": {STEPS}, "step_s": {STEP_S}}}'
    output = chaos.folder(job_id) / "output"
    output.mkdir(parents=True)
    return chaos.running.start(
        f"trainer-{job_id}",
        "-m",
        "tests.chaos.steady_trainer",
        JOB_ID=str(job_id),
        CONFIG=config,
        OUTPUT_PATH=str(output),
    )


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_training_never_waits_for_a_broker_that_is_away(outage: tuple[Chaos, Broker]) -> None:
    chaos, broker = outage
    job_id = await create_job(chaos.client, chaos.dataset_id)

    broker.freeze()  # away when the trainer starts
    trainer = await run_trainer(chaos, job_id)
    await chaos.has_returned(job_id, 100)
    # Commands and callbacks need no broker: they are answered, and read back.
    other = await create_job(chaos.client, chaos.dataset_id)
    started = await chaos.client.post(f"training/jobs/{other}/callback/started", json={"pid": 1})
    assert started.status_code == 200
    assert (await chaos.job(other))["status"] == "running"
    assert (await chaos.client.get("../../healthz")).status_code == 200
    broker.thaw()
    await chaos.has_returned(job_id, 300)
    broker.kill()  # dies in the middle
    await chaos.has_returned(job_id, 600)
    await eventually(broker.lives, timeout_s=30, what="the keeper has brought the broker back")
    broker.freeze()
    await chaos.has_returned(job_id, STEPS)  # and away while it ends
    assert await asyncio.to_thread(trainer.wait, 60) == 0
    slowest_s = float((chaos.folder(job_id) / "output" / "slowest_s").read_text())
    assert slowest_s < 1.0, f"a reporting call took {slowest_s} s"
    broker.thaw()

    # What the trainer could not send any more lies in its spool; the user's own command ships it.
    spool = chaos.running.world.folder / "spool"

    async def shipped() -> bool:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "training_sdk", "sync", str(spool), "--timeout", "60"],
            env=chaos.running.environment(JOB_ID=str(job_id)),
            check=False,
        )
        return bool(done.returncode == 0)

    await eventually(shipped, timeout_s=120, what="the spool is shipped")
    job = await chaos.ends(job_id, timeout_s=60)
    assert (job["status"], job["integrity"]) == ("completed", "complete")
    steps = await chaos.steps(job_id)
    assert steps == list(range(1, STEPS + 1))
    logs = await chaos.client.get(f"training/jobs/{job_id}/logs", params={"limit": 1, "source": "trainer"})
    assert logs.json()["total"] == STEPS
