"""Lag and the age of what waits, while nothing is applied, and after."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from api.operations.oldest import OldestRecords
from events.envelope import Position
from producers.kafka.create_topics import create_topics
from producers.kafka.publisher import KafkaPublisher
from tests.builders import event, log_written, wire
from tests.running import running_in
from tests.services import World
from tests.waiting import eventually
from training_sdk.wire import JOBS


async def test_a_record_is_as_old_as_the_log_says(world: World) -> None:
    await create_topics(world.kafka_bootstrap_servers, world.topic_prefix)
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    before = time.time()
    first = (await publisher.publish([wire(event(log_written("one")))]))[0]
    large = log_written(*(["x" * 9_000] * 90))
    second = (await publisher.publish([wire(event(large, seq=2))]))[0]
    await publisher.close()
    oldest = OldestRecords(world.kafka_bootstrap_servers, world.topic_prefix)
    nothing = Position(JOBS, 3, 0)
    found = await oldest.append_times([first, second, nothing])
    assert found.keys() == {first, second}, "a place without a record is not known"
    assert before - 1 <= found[first] <= found[second] <= time.time() + 1
    # Known records are not asked for again: this one asks nobody.
    unreachable = OldestRecords("127.0.0.1:1", "")
    unreachable._append_times = dict(found)
    assert await unreachable.append_times([first]) == {first: found[first]}
    assert await unreachable.append_times([nothing]) == {}


@pytest.mark.timeout(180)
async def test_what_waits_has_an_age_and_what_is_applied_a_rate(world: World) -> None:
    async with running_in(world, core=False) as running, httpx.AsyncClient(base_url=running.url) as client:

        async def state() -> dict[str, Any]:
            answer = await client.get("/readyz")
            return dict(answer.json()["projections"]["logs"])

        async def listening() -> bool:
            answer = await client.get("/readyz")
            return bool(answer.json()["dependencies"]["kafka"]["ok"])

        async def answers() -> bool:
            try:
                return (await client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers, what="the API answers")
        await eventually(listening, what="the API reaches Kafka")
        assert (await state())["oldest_unapplied_age_s"] == 0.0
        began = time.monotonic()
        publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
        await publisher.publish([wire(event(log_written(f"line {seq}"), seq=seq)) for seq in range(1, 6)])
        waiting = await eventually(lambda: behind(state, 5), what="five records wait")

        async def older() -> dict[str, Any] | None:
            found = await state()
            return found if found["oldest_unapplied_age_s"] > waiting["oldest_unapplied_age_s"] + 0.5 else None

        later = await eventually(older, what="what waits gets older")
        assert later["oldest_unapplied_age_s"] < time.monotonic() - began + 1
        # One more does not make the oldest one younger.
        await publisher.publish([wire(event(log_written("line 6"), seq=6))])
        await publisher.close()
        assert (await eventually(lambda: behind(state, 6), what="six wait"))["oldest_unapplied_age_s"] > 0.5

        running.start_core()
        await asyncio.to_thread(running.wait_ready)
        done = await eventually(lambda: behind(state, 0), what="all is applied")
        assert (done["oldest_unapplied_age_s"], done["applied_events"], done["dead_letters"]) == (0.0, 6, 0)

        async def fast() -> bool:
            return bool(((await state())["events_per_second"] or 0) > 0)

        await eventually(fast, what="a rate is known")
        metrics = (await client.get("/metrics")).text
        for line in (
            'epochlog_projection_applied_events_total{projection="logs"} 6.0',
            'epochlog_projection_oldest_unapplied_seconds{projection="logs"} 0.0',
            'epochlog_projection_builds_running{projection="logs"} 0.0',
            "epochlog_outbox_oldest_unsent_seconds 0.0",
        ):
            assert line in metrics


async def behind(state: Any, lag: int) -> dict[str, Any] | None:
    found: dict[str, Any] = await state()
    return found if found["lag"] == lag else None
