"""The live fan-out: the design's messages for plain clients, every point and a cursor for those that ask."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import httpx
import pytest
import websockets

from tests.running import Running, create_job
from tests.waiting import eventually

SPEC_TYPES = {"job_status", "progress", "metrics", "checkpoint", "log", "error"}


async def report(client: httpx.AsyncClient, job_id: int, first: int, last: int) -> None:
    for step in range(first, last + 1):
        body = {"epoch": 1, "step": step, "phase": "train", "metrics": {"loss": step / 10}}
        answer = await client.post(f"training/jobs/{job_id}/callback/metrics", json=body)
        assert answer.status_code == 200


async def receive(connection: websockets.ClientConnection, timeout_s: float = 15) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), timeout_s))
    return frame


async def points_until(connection: websockets.ClientConnection, step: int) -> tuple[list[int], dict[str, Any]]:
    """Steps of full metric frames, up to and with ``step``, and the frame that brought it."""
    steps: list[int] = []
    while step not in steps:
        frame = await receive(connection)
        if frame["type"] == "metrics":
            steps += frame["data"]["steps"]
    return steps, frame


async def test_a_plain_client_gets_the_designs_messages_and_nothing_else(
    running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    async with websockets.connect(f"{running.socket_url}?job_id={job_id}") as connection:
        assert await receive(connection) == {"type": "job_status", "data": {"status": "pending", "state": "pending"}}
        callback = f"training/jobs/{job_id}/callback"
        await client.post(f"{callback}/started", json={"pid": 1, "hostname": "pod"})
        await client.post(f"{callback}/progress", json={"epoch": 1, "total_epochs": 100, "phase": "train"})
        await report(client, job_id, 1, 3)
        await client.post(f"{callback}/checkpoint", json={"checkpoint_path": "s3://c/25/best.pt", "is_best": True})
        await client.post(f"{callback}/log", json={"level": "INFO", "message": "hello"})
        failed = {"status": "failed", "error_code": "OOM", "error_message": "CUDA out of memory"}
        await client.post(f"{callback}/completion", json=failed)
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] != "error":
            frames.append(await receive(connection))
    assert {frame["type"] for frame in frames} == SPEC_TYPES
    assert all(set(frame) == {"type", "data"} for frame in frames)
    by_type = {frame["type"]: frame["data"] for frame in frames}
    assert by_type["progress"]["epoch"] == 1
    assert by_type["progress"]["total"] == 100
    assert by_type["metrics"]["metrics"] == {"loss": 0.3}
    assert by_type["checkpoint"]["path"] == "s3://c/25/best.pt"
    assert by_type["log"]["message"] == "hello"
    assert by_type["job_status"]["status"] == "failed"
    assert by_type["error"] == {"code": "OOM", "message": "CUDA out of memory"}
    assert (await client.get(f"training/jobs/{job_id}")).json()["status"] == "failed"


async def test_a_client_that_reconnects_with_its_cursor_gets_every_point_once(
    running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    await report(client, job_id, 1, 10)
    url = f"{running.socket_url}?job_id={job_id}"
    async with websockets.connect(f"{url}&protocol=2") as connection:
        snapshot = await receive(connection)
        assert snapshot["type"] == "snapshot"
        assert snapshot["data"]["job"]["id"] == job_id
        reading = asyncio.create_task(points_until(connection, 20))
        await report(client, job_id, 11, 20)
        steps, frame = await reading
    cursor = frame["cursor"]
    await report(client, job_id, 21, 30)  # while nobody listens
    async with websockets.connect(f"{url}&after={cursor}") as connection:
        reading = asyncio.create_task(points_until(connection, 40))
        await report(client, job_id, 31, 40)
        more, _ = await reading
    # What the snapshot held already is not sent again; everything after it comes exactly once, in order.
    assert steps == list(range(steps[0], 21))
    assert steps[0] <= 11
    assert more == list(range(21, 41))


async def test_a_cursor_goes_on_where_it_was_also_after_the_api_was_restarted(
    running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    url = f"{running.socket_url}?job_id={job_id}"
    async with websockets.connect(f"{url}&protocol=2") as connection:
        await receive(connection)
        reading = asyncio.create_task(points_until(connection, 5))
        await report(client, job_id, 1, 5)
        _, frame = await reading
    await report(client, job_id, 6, 9)
    running.kill("api")
    running.start_api()
    await asyncio.to_thread(running.wait_ready)
    await report(client, job_id, 10, 12)
    async with websockets.connect(f"{url}&after={frame['cursor']}") as connection:
        steps, _ = await points_until(connection, 12)
    assert steps == list(range(6, 13))


async def test_a_client_of_all_jobs_hears_of_new_ones(
    running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    async with websockets.connect(running.socket_url) as connection:
        await asyncio.sleep(0)
        job_id = await create_job(client, dataset_id)
        while True:
            frame = await receive(connection)
            if frame["type"] == "job_created" and frame["data"]["id"] == job_id:
                return


@pytest.mark.parametrize(
    ("query", "code"),
    [("job_id=999999", 4404), ("job_id=1&after=nonsense", 4400)],
)
async def test_what_cannot_be_served_is_closed_with_a_code(
    running: Running, client: httpx.AsyncClient, dataset_id: int, query: str, code: int
) -> None:
    await create_job(client, dataset_id)
    async with websockets.connect(f"{running.socket_url}?{query}") as connection:
        with pytest.raises(websockets.ConnectionClosed):
            await receive(connection)
        assert connection.close_code == code


@pytest.mark.full
async def test_a_client_that_does_not_read_is_cut_off_and_costs_nobody_anything(
    running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    raw = socket.create_connection(("127.0.0.1", running.port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = (
        f"GET /api/v1/ws/training?job_id={job_id}&protocol=2 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    raw.sendall(request.encode())

    async def clients() -> float:
        metrics = (await client.get(f"{running.url}/metrics")).text
        (line,) = [found for found in metrics.splitlines() if found.startswith("epochlog_websocket_clients ")]
        return float(line.split()[1])

    async def connected() -> bool:
        return await clients() == 1

    async def cut_off() -> bool:
        return await clients() == 0

    await eventually(connected, what="the deaf client is connected")
    async with websockets.connect(f"{running.socket_url}?job_id={job_id}&protocol=2") as listener:
        await receive(listener)
        line = "x" * 60_000
        for number in range(60):
            body = {"logs": [{"message": f"{number} {line}", "timestamp": "2026-01-01T00:00:00Z"}]}
            assert (await client.post(f"training/jobs/{job_id}/callback/log", json=body)).status_code == 200
        seen = 0
        while seen < 60:
            seen += (await receive(listener))["type"] == "log"
    await eventually(cut_off, timeout_s=40, what="the deaf client is cut off")
    raw.close()


@pytest.mark.parametrize("more", ["", "&protocol=2"])
async def test_who_comes_while_a_run_is_finishing_is_told_its_end(
    running: Running, client: httpx.AsyncClient, dataset_id: int, more: str
) -> None:
    job_id = await create_job(client, dataset_id)
    running.kill("core")
    try:
        completed = {"status": "completed", "training_results": {"total_epochs": 1}}
        await client.post(f"training/jobs/{job_id}/callback/completion", json=completed)
        async with websockets.connect(f"{running.socket_url}?job_id={job_id}{more}") as connection:
            first = await receive(connection)
            assert first["data"].get("job", first["data"])["state"] == "finishing"
            running.start_core()
            assert (await receive(connection, 20))["data"]["status"] == "completed"
    finally:
        if "core" not in running.processes:
            running.start_core()
        await asyncio.to_thread(running.wait_ready)


async def test_who_comes_back_is_told_the_status_that_it_missed(
    running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    url = f"{running.socket_url}?job_id={job_id}"
    async with websockets.connect(f"{url}&protocol=2") as connection:
        cursor = (await receive(connection))["cursor"]
    failed = {"status": "failed", "error_code": "OOM", "error_message": "no memory"}
    await client.post(f"training/jobs/{job_id}/callback/completion", json=failed)

    async def ended() -> bool:
        return bool((await client.get(f"training/jobs/{job_id}")).json()["status"] == "failed")

    await eventually(ended, what="the job has failed")
    async with websockets.connect(f"{url}&after={cursor}") as connection:
        assert (await receive(connection))["data"] == {"status": "failed", "state": "failed"}
