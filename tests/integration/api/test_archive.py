"""How far the archive is, over HTTP and for Prometheus."""

from __future__ import annotations

import httpx

from producers.database import open_pool
from tests.integration.projections.archive.archiving import archive_all, checked, publish, some_events
from tests.running import running_in
from tests.services import World
from tests.waiting import eventually
from training_sdk.wire import LOGS, METRICS


async def test_how_far_the_archive_is(world: World) -> None:
    async with running_in(world, core=False) as running, httpx.AsyncClient(base_url=running.url) as client:

        async def lives() -> bool:
            try:
                return (await client.get("/healthz")).is_success
            except httpx.TransportError:
                return False

        await eventually(lives, what="the API answers")
        await publish(world, some_events(25))

        async def topics() -> dict[str, dict[str, object]]:
            answer = (await client.get("/api/v1/operations/archive")).json()
            assert answer["worker_alive"] is False
            return {topic["topic"]: topic for topic in answer["topics"]}

        assert {name: (await topics())[LOGS][name] for name in ("parts", "records", "lag", "unchecked")} == {
            "parts": 0,
            "records": 0,
            "lag": 13,
            "unchecked": 0,
        }
        pool = await open_pool(world.database_url, size_max=4)
        try:
            await archive_all(world, pool)
            there = (await topics())[LOGS]
            assert (there["parts"], there["records"], there["lag"], there["unchecked"]) == (3, 13, 0, 13)
            assert there["files"] == 4 and there["checked_at"] is None
            await checked(world, pool)
        finally:
            await pool.close()
        assert (await topics())[LOGS]["unchecked"] == 0 and (await topics())[METRICS]["checked_at"] is not None
        ready = (await client.get("/readyz")).json()
        assert ready["archive"]["lag"][METRICS] == 0
        metrics = (await client.get("/metrics")).text
        assert f'epochlog_archive_unchecked{{topic="{LOGS}"}} 0.0' in metrics
        assert "epochlog_archive_worker_up 0.0" in metrics
