"""Start and stop the keeper from the command line, and wait for what it keeps."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from stack import mlflow
from stack.keeper import last_state, read_state, state_file
from stack.ports import check_ports
from stack.processes import Mark, end, stop_runs
from stack.services import Service, chosen, services_of
from stack.settings import ROOT, Settings

UP_TIMEOUT_S: Final = 240.0
DOWN_TIMEOUT_S: Final = 120.0
KEEPER_TIMEOUT_S: Final = 20.0
RESTARTS_MAX: Final = 5
"""A service that died this often while starting will not get better by waiting."""


class NotReady(RuntimeError):
    """The stack did not become ready in time; the message says which service and which log."""


def say_nothing(line: str) -> None:
    pass


_keepers: Final[list[subprocess.Popen[bytes]]] = []


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """One start or stop at a time. Raises NotReady when another one holds on for too long."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + UP_TIMEOUT_S
    with (settings.data_dir / "control.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NotReady(f"another start or stop in {settings.data_dir} does not come to its end") from None
                time.sleep(0.1)
        yield


def up(settings: Settings, names: list[str], say: Callable[[str], None] = say_nothing) -> bool:
    """Start the stack unless it runs, and wait until it is ready. Returns whether this call started it.

    Raises PortTaken, ValueError for a name that is unknown or was not started by the running stack, NotReady after
    UP_TIMEOUT_S or when the keeper ended.
    """
    services = chosen(names, settings)
    wanted = {service.name for service in services}
    with alone(settings):
        state = read_state(settings)
        if state is None:
            stop_left_over(settings, say)
            check_ports(settings, [service for service in services if service.name not in settings.external])
            start_keeper(settings, names)
        elif missing := wanted - {row["name"] for row in state["services"]}:
            raise ValueError(f"the stack was started without {', '.join(sorted(missing))}; stop it first: make down")
    wait_ready(settings, wanted, say)
    return state is None


def start_keeper(settings: Settings, names: list[str]) -> None:
    """Start it and wait for its first word. Raises NotReady when it ends before."""
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
    deadline = time.monotonic() + KEEPER_TIMEOUT_S
    while read_state(settings) is None:
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise NotReady(f"the keeper did not start; see {settings.log_dir / 'keeper.log'}")
        time.sleep(0.05)


def stop_left_over(settings: Settings, say: Callable[[str], None] = say_nothing) -> bool:
    """End the services of a keeper that was killed. Their runs go on: the next launcher takes them over."""
    state = last_state(settings)
    if state is None:
        return False
    ended = 0
    for service in reversed(services_of(settings)):
        mark = state["marks"].get(service.name)
        if mark is not None:
            ended += _end_left_over(service, Mark(**mark))
    state_file(settings).unlink(missing_ok=True)
    say(f"the last keeper was killed; {ended} processes of it still ran and were stopped")
    return ended > 0


def _end_left_over(service: Service, mark: Mark) -> int:
    return end(lambda: [mark], service.stop_signal, service.stop_timeout_s)


def _external_only(settings: Settings) -> dict[str, str]:
    """The keeper must not take our own defaults for addresses that somebody gave."""
    given = {"kafka": "KAFKA_BOOTSTRAP_SERVERS", "postgres": "DATABASE_URL", "s3": "S3_ENDPOINT"}
    given["mlflow"] = "MLFLOW_TRACKING_URI"
    return {name: "" for service, name in given.items() if service not in settings.external}


def wait_ready(settings: Settings, names: set[str], say: Callable[[str], None]) -> None:
    """Wait until the named services run and, where the API is among them, ``/readyz`` answers 200."""
    deadline, shown = time.monotonic() + UP_TIMEOUT_S, set[str]()
    missing = ""
    readyz = settings.backend_url.removesuffix("/api/v1") + "/readyz"
    while time.monotonic() < deadline:
        state = read_state(settings)
        if state is None:
            raise NotReady(f"the keeper ended; see {settings.log_dir / 'keeper.log'}")
        rows = [row for row in state["services"] if row["name"] in names]
        waiting = [row for row in rows if row["state"] not in ("running", "done", "external")]
        for row in rows:
            if row not in waiting and row["name"] not in shown:
                shown.add(row["name"])
                say(f"{row['name']}: {row['state']}")
        if not waiting:
            problem = mlflow.http_ok(readyz) if "api" in names else None
            if problem is None:
                return
            missing = f"{problem}; see {settings.log_dir / 'api.log'}"
        else:
            missing = "; ".join(
                f"{row['name']} is {row['state']} ({row['detail']}), log {row['log']}" for row in waiting
            )
            for row in waiting:
                if row["restarts"] >= RESTARTS_MAX:
                    raise NotReady(f"{row['name']} died {row['restarts']} times: {row['detail']}; log {row['log']}")
        time.sleep(0.2)
    raise NotReady(f"not ready after {UP_TIMEOUT_S:.0f} s: {missing}; log of the keeper: {settings.log_dir}/keeper.log")


def down(settings: Settings) -> bool:
    """Stop the stack and its runs, wait for their end. Returns False when nothing ran.

    Raises NotReady when something does not end.
    """
    if not settings.data_dir.exists():
        return False
    with alone(settings):
        state = read_state(settings)
        try:
            if state is None:
                found = stop_left_over(settings)
            else:
                keeper = Mark(**state["keeper"])
                found = end(lambda: [keeper], signal.SIGTERM, DOWN_TIMEOUT_S) > 0
                # Nothing of it is left now, unless it had to be killed.
                stop_left_over(settings)
            found = stop_runs(settings.data_dir) > 0 or found
        except TimeoutError as error:
            raise NotReady(f"{error}; logs: {settings.log_dir}") from error
    for process in list(_keepers):
        if process.poll() is not None:
            _keepers.remove(process)
    return found


def process_rows(settings: Settings) -> list[dict[str, Any]]:
    state = read_state(settings)
    return [] if state is None else list(state["services"])


def log_files(settings: Settings) -> list[Path]:
    return sorted(settings.log_dir.glob("*.log"))
