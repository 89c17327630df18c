"""The keeper: starts services when what they need is ready, restarts what dies, stops all in reverse order."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from stack.services import SERVICES, Service
from stack.settings import Settings

POLL_INTERVAL_S: Final = 0.25
BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_MAX_S: Final = 20.0
STEADY_AFTER_S: Final = 60.0
"""A service that ran this long starts its back-off from the beginning when it dies."""
LOG_BYTES_MAX: Final = 64 * 1024 * 1024
PR_SET_PDEATHSIG: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Runs in the child: the kernel sends it SIGTERM when the keeper dies, so that kill -9 of it leaves nothing."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def state_file(settings: Settings) -> Path:
    return settings.data_dir / "stack.json"


@dataclass(slots=True)
class Running:
    """What the keeper knows of one service."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    state: str = "waiting"
    restarts: int = 0
    started_at: float = 0.0
    back_off_s: float = BACK_OFF_FIRST_S
    start_after: float = 0.0
    detail: str | None = None
    log: IO[bytes] | None = field(default=None, repr=False)

    @property
    def ready(self) -> bool:
        return self.state in ("running", "done", "external")


class Keeper:
    """Keeps the given services alive until ``stop`` is set."""

    def __init__(self, settings: Settings, services: tuple[Service, ...]) -> None:
        self.settings = settings
        self.services = {service.name: Running(service) for service in services}
        self.stop = asyncio.Event()
        self._written = ""

    async def run(self) -> None:
        self.settings.log_dir.mkdir(parents=True, exist_ok=True)
        try:
            while not self.stop.is_set():
                for running in self.services.values():
                    await self._step(running)
                self._write_state()
                try:
                    await asyncio.wait_for(self.stop.wait(), POLL_INTERVAL_S)
                except TimeoutError:
                    continue
        finally:
            await self._stop_all()
            state_file(self.settings).unlink(missing_ok=True)

    def _log_path(self, name: str) -> Path:
        return self.settings.log_dir / f"{name}.log"

    async def _step(self, running: Running) -> None:
        service = running.service
        if running.state in ("done", "external"):
            return
        if service.name in self.settings.external:
            problem = await service.ready(self.settings)
            running.state, running.detail = ("external", None) if problem is None else ("waiting", problem)
            return
        if running.process is None:
            await self._start_when_possible(running)
            return
        code = running.process.poll()
        if code is not None:
            self._ended(running, code)
        elif running.state == "starting" and not service.one_shot:
            problem = await service.ready(self.settings)
            running.state, running.detail = ("running", None) if problem is None else ("starting", problem)

    async def _start_when_possible(self, running: Running) -> None:
        missing = [name for name in running.service.needs if not self.services[name].ready]
        if missing:
            running.detail = f"waits for {', '.join(missing)}"
            return
        if time.monotonic() < running.start_after:
            return
        try:
            if running.service.prepare is not None:
                await asyncio.to_thread(running.service.prepare, self.settings)
            self._start(running)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            self._delay(running, f"could not be started: {error}")

    def _start(self, running: Running) -> None:
        service, path = running.service, self._log_path(running.service.name)
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
        log = path.open("ab")
        user = service.user() if service.user is not None else None
        running.process = subprocess.Popen(
            service.command(self.settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).resolve().parent.parent,
            env={**self.settings.process_environment(), **service.environment(self.settings)},
            process_group=0,
            user=user,
            preexec_fn=die_with_parent,
        )
        running.log, running.state, running.started_at = log, "starting", time.monotonic()

    def _ended(self, running: Running, code: int) -> None:
        if running.log is not None:
            running.log.close()
        running.process = None
        if running.service.one_shot and code == 0:
            running.state, running.detail = "done", None
            return
        if time.monotonic() - running.started_at > STEADY_AFTER_S:
            running.back_off_s = BACK_OFF_FIRST_S
        running.restarts += 1
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._delay(running, f"ended with {how}; see {self._log_path(running.service.name)}")

    def _delay(self, running: Running, reason: str) -> None:
        running.state, running.detail = "restarting", reason
        running.start_after = time.monotonic() + running.back_off_s
        running.back_off_s = min(running.back_off_s * 2, BACK_OFF_MAX_S)

    async def _stop_all(self) -> None:
        for running in reversed(self.services.values()):
            process = running.process
            if process is None or process.poll() is not None:
                continue
            running.state = "stopping"
            self._write_state()
            process.send_signal(running.service.stop_signal)
            try:
                await asyncio.to_thread(process.wait, running.service.stop_timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                await asyncio.to_thread(process.wait)
            if running.service.name == "launcher":
                await asyncio.to_thread(stop_supervisors, self.settings)

    def rows(self) -> list[dict[str, Any]]:
        """One row a service, as ``make ps`` prints them."""
        return [
            {
                "name": name,
                "pid": running.process.pid if running.process is not None else None,
                "port": self.settings.ports[running.service.listeners[0]] if running.service.listeners else None,
                "log": str(self._log_path(name)),
                "restarts": running.restarts,
                "state": running.state,
                "detail": running.detail,
            }
            for name, running in self.services.items()
        ]

    def _write_state(self) -> None:
        text = json.dumps({"keeper_pid": os.getpid(), "keeper_start": start_time(os.getpid()), "services": self.rows()})
        if text == self._written:
            return
        path = state_file(self.settings)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(path)
        self._written = text


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the process's start, None for no such process: tells a reused pid (proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def read_state(settings: Settings) -> dict[str, Any] | None:
    """What the keeper wrote, or None when no keeper runs."""
    try:
        state: dict[str, Any] = json.loads(state_file(settings).read_text())
    except (OSError, ValueError):
        return None
    return state if start_time(state["keeper_pid"]) == state["keeper_start"] else None


def stop_supervisors(settings: Settings, timeout_s: float = 30.0) -> None:
    """End the supervisors that the launcher left running (they outlive it on purpose), by their recorded pids."""
    alive: list[int] = []
    for path in (settings.data_dir / "runs").glob("*/*/supervisor.pid"):
        try:
            noted = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if start_time(noted["pid"]) == noted["start_time"]:
            os.kill(noted["pid"], signal.SIGTERM)
            alive.append(noted["pid"])
    deadline = time.monotonic() + timeout_s
    while alive and time.monotonic() < deadline:
        alive = [pid for pid in alive if start_time(pid) is not None]
        time.sleep(0.1)
    for pid in alive:
        os.killpg(pid, signal.SIGKILL)


async def keep(settings: Settings, services: tuple[Service, ...] = SERVICES) -> None:
    """Run the keeper until SIGTERM or SIGINT."""
    keeper = Keeper(settings, services)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, keeper.stop.set)
    await keeper.run()
