"""From ``sdk.log`` in a training process to a WebSocket client, in a quiet run. No peer promises such a time."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import orjson
from websockets.asyncio.client import connect

from benchmarks.place import Place
from benchmarks.report import Measurement, percentile, spin_s
from stack.demo.follow import socket_url

INTERVAL_S = 0.5
FRAME_TIMEOUT_S = 20.0


def measure(place: Place) -> Iterator[Measurement]:
    lines = 20 if place.quick else 120
    spin = spin_s()
    job = place.new_job("benchmark latency", 1_000)
    took_ms = asyncio.run(_latencies(place, job, lines))
    note = f"{len(took_ms)} log lines, one every {INTERVAL_S} s"
    for what, value in (("p50", percentile(took_ms, 0.5)), ("p99", percentile(took_ms, 0.99)), ("worst", max(took_ms))):
        yield Measurement("live_latency", f"log to WebSocket, {what}", "epochlog", value, "ms", note=note, spin_s=spin)


async def _latencies(place: Place, job: int, lines: int) -> list[float]:
    """Milliseconds a line: each carries the time at which ``log`` was called (same machine, same clock)."""
    async with connect(socket_url(place.backend_url, job, None), max_size=2**24) as socket:
        await asyncio.wait_for(socket.recv(), FRAME_TIMEOUT_S)
        process = subprocess.Popen(  # noqa: ASYNC220  # a spawn of milliseconds, before anything is measured
            [sys.executable, "-m", "benchmarks.live_latency", str(lines)],
            env={**os.environ, **place.sdk_environment(job)},
            stdout=subprocess.DEVNULL,
        )
        try:
            took: list[float] = []
            while len(took) < lines:
                frame = orjson.loads(await asyncio.wait_for(socket.recv(), FRAME_TIMEOUT_S))
                received = time.time()
                if frame["type"] == "log" and frame["data"]["message"].startswith("{"):
                    took.append((received - json.loads(frame["data"]["message"])["called"]) * 1_000)
            return took
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 30)


def main() -> None:
    """The training process."""
    from training_sdk import TrainerSDK

    with TrainerSDK.from_env() as sdk:
        # The first line pays for connecting; it is no part of a quiet run.
        sdk.log("connecting", "INFO")
        time.sleep(3 * INTERVAL_S)
        for _ in range(int(sys.argv[1])):
            sdk.log(json.dumps({"called": time.time()}), "INFO")
            time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main()
