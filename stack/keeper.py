"""The keeper: starts services when what they need is ready, restarts what dies, stops all in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from stack.processes import Mark, kill_group, stop_runs
from stack.services import Service
from stack.settings import Settings

POLL_INTERVAL_S: Final = 0.25
BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_MAX_S: Final = 20.0
STEADY_AFTER_S: Final = 60.0
"""A service that ran this long starts its back-off from the beginning when it dies."""
LOG_BYTES_MAX: Final = 64 * 1024 * 1024
PR_SET_PDEATHSIG: Final = 1

logger: Final = logging.getLogger(__name__)
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
    mark: Mark | None = None
    state: str = "waiting"
    restarts: int = 0
    started_at: float = 0.0
    back_off_s: float = BACK_OFF_FIRST_S
    start_after: float = 0.0
    detail: str | None = None

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
        own = Mark.of(os.getpid())
        assert own is not None  # this process runs
        self._own_mark = own

    async def run(self) -> None:
        self.settings.log_dir.mkdir(parents=True, exist_ok=True)
        self._write_state()
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
            problem = await self._problem_of(service)
            running.state, running.detail = ("external", None) if problem is None else ("waiting", problem)
            return
        if running.process is None:
            await self._start_when_possible(running)
            return
        code = running.process.poll()
        if code is not None:
            self._ended(running, code)
        elif running.state == "starting" and not service.one_shot:
            problem = await self._problem_of(service)
            running.state, running.detail = ("running", None) if problem is None else ("starting", problem)

    async def _problem_of(self, service: Service) -> str | None:
        try:
            return await service.ready(self.settings)
        except Exception as error:  # a check that stumbles must not end the keeper, and with it every service
            return f"its ready check failed: {error!r}"

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
        user = service.user() if service.user is not None else None
        with path.open("ab") as log:
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
        running.mark = Mark.of(running.process.pid)
        running.state, running.started_at = "starting", time.monotonic()
        # At once: whoever tidies up after a killed keeper must know every child.
        self._write_state()

    def _ended(self, running: Running, code: int) -> None:
        if running.process is not None:
            # A worker of its own that outlived it would keep the port.
            kill_group(running.process.pid)
        running.process = running.mark = None
        if running.service.one_shot and code == 0:
            running.state, running.detail = "done", None
            return
        if time.monotonic() - running.started_at > STEADY_AFTER_S:
            running.back_off_s = BACK_OFF_FIRST_S
        running.restarts += 1
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        logger.warning("%s ended with %s; start %d follows", running.service.name, how, running.restarts + 1)
        self._delay(running, f"ended with {how}; see {self._log_path(running.service.name)}")

    def _delay(self, running: Running, reason: str) -> None:
        running.state, running.detail = "restarting", reason
        running.start_after = time.monotonic() + running.back_off_s
        running.back_off_s = min(running.back_off_s * 2, BACK_OFF_MAX_S)

    async def _stop_all(self) -> None:
        for running in reversed(self.services.values()):
            process = running.process
            if process is not None and process.poll() is None:
                running.state = "stopping"
                self._write_state()
                began = time.monotonic()
                process.send_signal(running.service.stop_signal)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(process.wait, running.service.stop_timeout_s)
                kill_group(process.pid)
                code = await asyncio.to_thread(process.wait)
                name = running.service.name
                logger.info("%s ended with %d, %.1f s after it was asked to", name, code, time.monotonic() - began)
            if running.service.name == "launcher":
                # Also when it is dead at this moment: its runs outlive it on purpose.
                await asyncio.to_thread(stop_runs, self.settings.data_dir)

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
        marks = {name: asdict(running.mark) for name, running in self.services.items() if running.mark is not None}
        text = json.dumps({"keeper": asdict(self._own_mark), "marks": marks, "services": self.rows()})
        if text == self._written:
            return
        path = state_file(self.settings)
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(text)
            temporary.replace(path)
        except OSError as error:
            # A full disk is no reason to stop what still runs; the next look tries again.
            logger.warning("%s cannot be written: %s", path, error)
            return
        self._written = text


def last_state(settings: Settings) -> dict[str, Any] | None:
    """What a keeper wrote last, also one that was killed; None after a proper end."""
    try:
        state: dict[str, Any] = json.loads(state_file(settings).read_text())
    except (OSError, ValueError):
        return None
    return state


def read_state(settings: Settings) -> dict[str, Any] | None:
    """What the running keeper wrote, or None when none runs."""
    state = last_state(settings)
    return state if state is not None and Mark(**state["keeper"]).alive else None


async def keep(settings: Settings, services: tuple[Service, ...]) -> None:
    """Run the keeper until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # A broker that starts refuses connections; the state says so already.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    keeper = Keeper(settings, services)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, keeper.stop.set)
    await keeper.run()
