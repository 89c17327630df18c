"""From a call in a training process to somebody who watches, in a quiet run.

Ours is told by the WebSocket. The peers have no such thing: their servers are asked again as soon as they have
answered, which no page of theirs does.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import orjson
from websockets.asyncio.client import connect

from benchmarks.child import BEAT
from benchmarks.peers.mlflow import values_of
from benchmarks.place import Child, Place
from benchmarks.report import Measurement, percentile, spin_s
from stack.demo.follow import socket_url

INTERVAL_S = 0.5
FRAME_TIMEOUT_S = 20.0
POLL_PAUSE_S = 0.002
SERIES = f"train/{BEAT}"


def measure(place: Place) -> Iterator[Measurement]:
    lines = 20 if place.quick else 120
    spin = spin_s()
    job = place.new_job("benchmark latency", 1_000)
    took_ms = asyncio.run(_latencies(place, job, lines))
    note = f"{len(took_ms)} log lines, one every {INTERVAL_S} s"
    yield from _measurements("epochlog", took_ms, f"{note}, to a WebSocket", spin)
    if place.trackio is not None:
        spin, server = spin_s(), place.trackio
        took_ms = _polled(place, "trackio", lines, lambda run: [point["value"] for point in server.series(run, SERIES)])
        yield from _measurements("trackio", took_ms, "its server asked again and again", spin)
    if place.has_mlflow:
        spin, uri = spin_s(), place.settings.mlflow_tracking_uri
        took_ms = _polled(place, "mlflow", lines, lambda run: values_of(uri, run, SERIES))
        yield from _measurements(
            "mlflow", took_ms, "log_metrics(synchronous=False), its server asked again and again", spin
        )


def _measurements(system: str, took_ms: list[float], note: str, spin: float) -> Iterator[Measurement]:
    for what, value in (("p50", percentile(took_ms, 0.5)), ("p99", percentile(took_ms, 0.99)), ("worst", max(took_ms))):
        yield Measurement("live_latency", f"call to watcher, {what}", system, value, "ms", note=note, spin_s=spin)


def _polled(place: Place, system: str, count: int, values: Callable[[str], list[float]]) -> list[float]:
    """Milliseconds from each report's call to the first answer of the peer's server that has it."""
    run = f"latency-{system}"
    child = Child(place, system, "beats", {"count": count, "interval_s": INTERVAL_S}, place.peer_environment(run))
    child.start()
    took: list[float] = []
    seen, deadline = 0, time.monotonic() + count * INTERVAL_S + FRAME_TIMEOUT_S
    while seen < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{system} showed {seen} of {count} reports")
        found = values(run)
        received = time.time()
        took += [(received - called) * 1_000 for called in found[seen:]]
        seen = max(seen, len(found))
        time.sleep(POLL_PAUSE_S)
    child.result()
    child.end()
    # The first one pays for making the run; it is no part of a quiet one.
    return took[1:]


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
