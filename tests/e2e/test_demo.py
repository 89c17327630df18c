"""``make demo`` as a newcomer runs it, on ports and in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.keeper import read_state
from stack.ports import port_is_free
from stack.settings import PORT_SETTINGS, Settings
from tests.services import ADDRESSES, ROOT, free_port

DEMO_TIMEOUT_S = 900.0
TRAINING_BEGINS_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 180.0


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="epochlog-demo-", dir="/var/tmp") as folder:
        # Postgres runs under another user when we are root: it must be able to walk in.
        Path(folder).chmod(0o755)
        kept = {name: text for name, text in os.environ.items() if name not in ADDRESSES and not name.startswith("EPO")}
        ports = {variable: str(free_port()) for variable, _ in PORT_SETTINGS.values()}
        yield {**kept, **ports, "EPOCHLOG_DATA_DIR": folder, "PYTHONUNBUFFERED": "1"}


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stack.demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_all_stopped(environment: dict[str, str]) -> None:
    settings = Settings.from_env(environment)
    assert read_state(settings) is None
    taken = [name for name, port in settings.ports.items() if not port_is_free(port)]
    assert taken == []
    folder = environment["EPOCHLOG_DATA_DIR"].encode()
    left = [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if folder in _read(path)]
    assert left == [], "processes of the demo still run"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.timeout(DEMO_TIMEOUT_S + STOP_TIMEOUT_S)
def test_the_demo_trains_a_model_and_everything_in_its_table_holds(environment: dict[str, str]) -> None:
    demo = start(environment)
    output, _ = demo.communicate(timeout=DEMO_TIMEOUT_S)
    assert demo.returncode == 0, output
    assert "Everything holds" in output
    rows = [line for line in output.splitlines() if line.startswith("│")]
    assert len(rows) >= 17 and not any("│ NO" in row for row in rows), output
    assert_all_stopped(environment)


@pytest.mark.full
@pytest.mark.timeout(TRAINING_BEGINS_TIMEOUT_S + STOP_TIMEOUT_S)
def test_an_interrupt_while_it_trains_stops_every_process(environment: dict[str, str]) -> None:
    demo = start(environment)
    assert demo.stdout is not None
    lines: list[str] = []
    kill = threading.Timer(TRAINING_BEGINS_TIMEOUT_S, demo.kill)
    kill.start()
    for line in demo.stdout:
        lines.append(line)
        if "epoch 1 of" in line:
            break
    kill.cancel()
    assert lines and "epoch 1 of" in lines[-1], "".join(lines)
    demo.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest, _ = demo.communicate(timeout=STOP_TIMEOUT_S)
    assert demo.returncode == 130, "".join(lines) + rest
    assert "interrupted" in rest
    assert time.monotonic() - began < STOP_TIMEOUT_S
    assert_all_stopped(environment)


def test_a_taken_port_is_named_with_its_setting_and_nothing_is_started(environment: dict[str, str]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        environment["EPOCHLOG_API_PORT"] = str(holder.getsockname()[1])
        demo = start(environment)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "EPOCHLOG_API_PORT" in output
    assert_all_stopped(environment)
