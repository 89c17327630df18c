from __future__ import annotations

import asyncio
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.waiting import eventually
from training_sdk import RunSettings, TrainerSDK, wire


class Door(http.server.ThreadingHTTPServer):
    """What the API does with a sender's batches, without a log behind it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.events: list[dict[str, Any]] = []
        self.status = 200
        self.commands: dict[str, Any] = {"stop": False, "reason": None, "attempt": 1}
        self.paths: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/api/v1"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Door
    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        if self.server.status == 200:
            self.server.events.extend(body["events"])
        self._answer(self.server.status, {"status": "ok", "received": len(body["events"])})

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self._answer(200, self.server.commands)

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        self.seen.append(format % args)


@pytest.fixture
def door() -> Iterator[Door]:
    server = Door()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def settings_of(door: Door, folder: Path, **extra: str) -> RunSettings:
    return RunSettings.from_env(
        {"JOB_ID": "25", "CALLBACK_URL": door.url, "EPOCHLOG_SPOOL_DIR": str(folder), "TRAINING_ATTEMPT": "1", **extra}
    )


async def test_without_kafka_the_same_events_go_to_the_api_in_batches(door: Door, tmp_path: Path) -> None:
    sdk = TrainerSDK(settings_of(door, tmp_path))
    for step in range(3_000):
        sdk.report_metrics(1, "train", {"loss": 0.5}, step=step)
    sdk.report_completed({})
    assert await asyncio.to_thread(sdk.close)
    steps = [step for event in door.events if event["type"] == wire.METRICS_REPORTED for step in event["data"]["steps"]]
    assert steps == list(range(3_000))
    assert set(door.events[0]) == {
        "topic",
        "key",
        "type",
        "time",
        "source",
        "attempt",
        "rank",
        "session",
        "seq",
        "data",
    }
    assert "/api/v1/training/jobs/25/events" in door.paths
    assert door.events[-1]["type"] == wire.SESSION_CLOSED
    assert os.listdir(tmp_path) == []


async def test_an_api_that_refuses_is_asked_again_with_the_same_events(door: Door, tmp_path: Path) -> None:
    door.status = 503
    sdk = TrainerSDK(settings_of(door, tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", TRAINING_SDK_TRANSPORT="http"))
    sdk.log("kept")
    await eventually(lambda: sum(path.endswith("/events") for path in door.paths) >= 2)
    door.status = 200
    await eventually(lambda: any(event["type"] == wire.LOG_WRITTEN for event in door.events))
    assert await asyncio.to_thread(sdk.close)
    ids = [(event["topic"], event["seq"]) for event in door.events]
    assert len(ids) == len(set(ids))


async def test_what_a_purged_job_still_has_to_say_is_dropped_and_not_kept(door: Door, tmp_path: Path) -> None:
    door.status = 410
    sdk = TrainerSDK(settings_of(door, tmp_path))
    sdk.log("nobody may have this any more")
    assert await asyncio.to_thread(sdk.close)
    assert door.events == [] and os.listdir(tmp_path) == []


async def test_the_service_can_ask_this_attempt_to_stop_and_no_other(door: Door, tmp_path: Path) -> None:
    door.commands = {"stop": True, "reason": "for attempt 2", "attempt": 2}
    sdk = TrainerSDK(settings_of(door, tmp_path))
    assert not sdk.should_stop()
    await eventually(lambda: sum(path.endswith("/25/commands") for path in door.paths) >= 2)
    assert not sdk.should_stop()
    door.commands = {"stop": True, "reason": "enough", "attempt": 1}
    await eventually(sdk.should_stop)
    assert sdk.stop_reason == "enough"
    assert await asyncio.to_thread(sdk.close)
