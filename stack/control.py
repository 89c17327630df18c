"""Start and stop the keeper from the command line, and wait for what it keeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from stack import mlflow
from stack.keeper import read_state, start_time
from stack.ports import check_ports
from stack.services import chosen
from stack.settings import ROOT, Settings

UP_TIMEOUT_S: Final = 240.0
DOWN_TIMEOUT_S: Final = 120.0
RESTARTS_MAX: Final = 5
"""A service that died this often while starting will not get better by waiting."""


class NotReady(RuntimeError):
    """The stack did not become ready in time; the message says which service and which log."""


def say_nothing(line: str) -> None:
    pass


_keepers: Final[list[subprocess.Popen[bytes]]] = []


def up(settings: Settings, names: list[str], say: Callable[[str], None] = say_nothing) -> bool:
    """Start the stack unless it runs, and wait until it is ready. Returns whether this call started it.

    Raises PortTaken, ValueError for an unknown name, NotReady after UP_TIMEOUT_S.
    """
    services = chosen(names)
    started = read_state(settings) is None
    if started:
        check_ports(settings, [service for service in services if service.name not in settings.external])
        settings.log_dir.mkdir(parents=True, exist_ok=True)
        with (settings.log_dir / "keeper.log").open("ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "stack", "keep", *names],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=settings.process_environment() | _external_only(settings),
                start_new_session=True,
            )
        # It outlives us on purpose; whoever stays (a test, the demo) waits for it in `down`.
        _keepers.append(keeper)
    wait_ready(settings, {service.name for service in services}, say)
    return started


def _external_only(settings: Settings) -> dict[str, str]:
    """The keeper must not take our own defaults for addresses that somebody gave."""
    given = {"kafka": "KAFKA_BOOTSTRAP_SERVERS", "postgres": "DATABASE_URL", "s3": "S3_ENDPOINT"}
    given["mlflow"] = "MLFLOW_TRACKING_URI"
    return {name: "" for service, name in given.items() if service not in settings.external}


def wait_ready(settings: Settings, names: set[str], say: Callable[[str], None]) -> None:
    """Wait until the named services run and, where the API is among them, ``/readyz`` answers 200."""
    deadline, shown = time.monotonic() + UP_TIMEOUT_S, set[str]()
    missing = "the keeper has not started"
    readyz = settings.backend_url.removesuffix("/api/v1") + "/readyz"
    while time.monotonic() < deadline:
        state = read_state(settings)
        rows = [row for row in (state or {"services": []})["services"] if row["name"] in names]
        waiting = [row for row in rows if row["state"] not in ("running", "done", "external")]
        for row in rows:
            if row not in waiting and row["name"] not in shown:
                shown.add(row["name"])
                say(f"{row['name']}: {row['state']}")
        if rows and not waiting:
            problem = mlflow.http_ok(readyz) if "api" in names else None
            if problem is None:
                return
            missing = f"{problem}; see {settings.log_dir / 'api.log'}"
        elif waiting:
            missing = "; ".join(
                f"{row['name']} is {row['state']} ({row['detail']}), log {row['log']}" for row in waiting
            )
            for row in waiting:
                if row["restarts"] >= RESTARTS_MAX:
                    raise NotReady(f"{row['name']} died {row['restarts']} times: {row['detail']}; log {row['log']}")
        time.sleep(0.2)
    raise NotReady(f"not ready after {UP_TIMEOUT_S:.0f} s: {missing}; log of the keeper: {settings.log_dir}/keeper.log")


def down(settings: Settings) -> bool:
    """Stop the stack and wait for its end. Returns False when nothing ran. Raises NotReady when it does not end."""
    state = read_state(settings)
    if state is None:
        return False
    pid, began = state["keeper_pid"], state["keeper_start"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while start_time(pid) == began:
        if time.monotonic() > deadline:
            raise NotReady(f"the keeper (pid {pid}) did not end within {DOWN_TIMEOUT_S:.0f} s; see {settings.log_dir}")
        time.sleep(0.1)
    for keeper in list(_keepers):
        if keeper.poll() is not None:
            _keepers.remove(keeper)
    return True


def process_rows(settings: Settings) -> list[dict[str, Any]]:
    state = read_state(settings)
    return [] if state is None else list(state["services"])


def log_files(settings: Settings) -> list[Path]:
    return sorted(settings.log_dir.glob("*.log"))
