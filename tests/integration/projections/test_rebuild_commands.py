"""``rebuild``, ``verify``, ``flip-back``: exit codes, what is printed, kill -9, and what the API shows."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from producers.database import Pool, transaction
from producers.kafka.publisher import KafkaPublisher
from projections.registry import projection_named
from projections.runtime.apply import apply_batch
from projections.runtime.replay import read_topic
from tests.builders import event, metrics_reported, wire
from tests.running import Running, running_in
from tests.services import ROOT, World
from tests.waiting import eventually
from training_sdk.wire import METRICS

EVENTS = 50


@pytest_asyncio.fixture
async def running(world: World) -> AsyncIterator[Running]:
    """An API, and a log with EVENTS metric reports."""
    async with running_in(world, core=False) as found:
        publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
        facts = [(seq, metrics_reported({"loss": [0.5] * 20}, first_step=20 * seq)) for seq in range(1, EVENTS + 1)]
        await publisher.publish([wire(event(fact, seq=seq)) for seq, fact in facts])
        await publisher.close()
        yield found


async def follow(pool: Pool, world: World) -> None:
    async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, METRICS):
        await apply_batch(pool, projection_named("metrics"), batch)


async def run(world: World, *arguments: str) -> tuple[int, str]:
    """Exit code, and what is printed."""
    command = [sys.executable, "-m", "projections", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=world.environment(), capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


async def shown(running: Running) -> Any:
    """What the API says of the metrics; None while it does not answer yet."""
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{running.backend_url}/operations/read-models", timeout=10)
    except httpx.HTTPError:
        return None
    assert answer.status_code == 200, answer.text
    return next(one for one in answer.json()["read_models"] if one["read_model"] == "metrics")


async def test_a_rebuild_is_killed_seen_run_again_and_taken_back(running: Running, pool: Pool) -> None:
    world, schema = running.world, f"metrics_v{projection_named('metrics').version}"
    await follow(pool, world)
    first = await eventually(lambda: shown(running), what="the API answers")
    assert (first["live"]["schema"], first["flip_back_to"], first["running"]) == (f"{schema}_1", None, None)
    async with transaction(pool) as tx:
        # As a batch that is at work: the build waits for it before it compares.
        await tx.fetch("SELECT 1 FROM write.read_models WHERE projection = 'metrics' FOR SHARE")
        killed = running.start("rebuild", "-m", "projections", "rebuild", "metrics")

        async def replayed() -> Any:
            found = await shown(running)
            return found if found["running"] and found["running"]["events_done"] == EVENTS else None

        seen = await eventually(replayed, what="the replay is seen")
        assert (seen["running"]["purpose"], seen["running"]["events_total"]) == ("rebuild", EVENTS)
        assert (seen["live"]["schema"], seen["building"]["schema"]) == (f"{schema}_1", f"{schema}_2")
        running.kill("rebuild")
        assert killed.returncode == -9

        async def interrupted() -> Any:
            found = await shown(running)
            return found if found["running"] is None else None

        seen = await eventually(interrupted, what="the lock of the killed one is gone")
        assert (seen["last"]["purpose"], seen["last"]["state"]) == ("rebuild", "interrupted")
    code, text = await run(world, "rebuild", "metrics")
    assert code == 0 and f"{schema}_2 is live" in text and "flip-back metrics" in text, text
    assert not re.search(r"\b0 of 50 events", text), "it did not go on where it was killed"
    seen = await shown(running)
    assert (seen["live"]["schema"], seen["flip_back_to"]["schema"]) == (f"{schema}_2", f"{schema}_1")
    assert (seen["last"]["state"], seen["last"]["result"]["equal"]) == ("done", True)
    code, text = await run(world, "flip-back", "metrics")
    assert code == 0 and (await shown(running))["live"]["schema"] == f"{schema}_1", text


async def test_exit_codes_say_equal_different_or_cannot_say(running: Running, pool: Pool) -> None:
    world = running.world
    await follow(pool, world)
    assert (await run(world, "verify"))[0] == 0
    async with transaction(pool) as tx:
        await tx.execute("UPDATE metric_series SET last_value = 7")
    code, text = await run(world, "verify", "metrics", "logs")
    assert code == 1 and "metrics: differs" in text and "logs: equal" in text, text
    assert "metric_series (job_id=25, name=train/loss, attempt=1) last_value: live 7, rebuilt 0.5" in text
    code, text = await run(world, "verify", "metrics", "--json")
    found = json.loads(text)["metrics"]
    assert (code, found["equal"], found["by_table"]) == (1, False, {"metric_series": 1})
    code, text = await run(world, "rebuild", "core", "--only-if-equal")
    assert code == 1 and "stays live" in text, text
    assert (await run(world, "rebuild", "metrics"))[0] == 0
    assert (await run(world, "verify"))[0] == 0
    for arguments in (("rebuild",), ("rebuild", "nothing"), ("flip-back", "datasets", "nothing")):
        assert (await run(world, *arguments))[0] == 2, arguments
    async with transaction(pool) as tx:
        await tx.execute("UPDATE write.read_models SET version = version - 1 WHERE projection = 'metrics'")
    code, text = await run(world, "verify", "metrics")
    assert code == 2 and "run: python -m projections migrate" in text, text
