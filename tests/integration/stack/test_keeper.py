"""The keeper, with small programs as services."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from stack.keeper import BACK_OFF_FIRST_S, BACK_OFF_MAX_S, Keeper, Running, last_state, read_state
from stack.processes import start_time
from stack.services import Service
from stack.settings import Settings
from tests.waiting import eventually

SLEEPER = "import time\nwhile True: time.sleep(60)"


def program(text: str, *arguments: str) -> Callable[[Settings], list[str]]:
    return lambda settings: [sys.executable, "-c", text, *arguments]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({**os.environ, "EPOCHLOG_DATA_DIR": str(tmp_path)})


async def test_a_state_file_that_cannot_be_written_stops_no_service(settings: Settings) -> None:
    async with kept(settings, Service("sleeper", program(SLEEPER))) as keeper:
        sleeper = keeper.services["sleeper"]
        await eventually(lambda: sleeper.process is not None and sleeper.state == "running", what="it runs")
        # As on a full disk: nothing can be put in its place.
        blocked = settings.data_dir / "stack.tmp"
        blocked.mkdir()
        sleeper.detail = "something new to write down"
        written = (settings.data_dir / "stack.json").read_text()
        keeper._write_state()
        assert (settings.data_dir / "stack.json").read_text() == written
        blocked.rmdir()
        sleeper.detail = "and newer"
        await eventually(lambda: "and newer" in (settings.data_dir / "stack.json").read_text(), what="it is written")
        assert sleeper.process is not None and sleeper.process.poll() is None


@contextlib.asynccontextmanager
async def kept(settings: Settings, *services: Service) -> AsyncIterator[Keeper]:
    keeper = Keeper(settings, services)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        keeper.stop.set()
        await asyncio.wait_for(task, 30)


def pid_of(running: Running) -> int:
    assert running.process is not None
    return running.process.pid


async def test_a_service_that_is_killed_comes_back_and_is_counted(settings: Settings) -> None:
    async with kept(settings, Service("sleeper", program(SLEEPER))) as keeper:
        running = keeper.services["sleeper"]
        await eventually(lambda: running.state == "running", what="it runs")
        killed = pid_of(running)
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: running.restarts == 1 and running.state == "running", what="it runs again")
        assert pid_of(running) != killed
        state = read_state(settings)
        assert state is not None
        (row,) = state["services"]
        assert (row["name"], row["pid"], row["restarts"], row["state"]) == ("sleeper", pid_of(running), 1, "running")


async def test_the_pause_before_a_restart_grows_and_says_why(settings: Settings) -> None:
    started: list[float] = []

    def command(settings: Settings) -> list[str]:
        started.append(time.monotonic())
        return [sys.executable, "-c", "print('no such table'); raise SystemExit(3)"]

    async with kept(settings, Service("broken", command)) as keeper:
        running = keeper.services["broken"]
        await eventually(lambda: len(started) == 3, what="it is started three times")
        await eventually(lambda: running.restarts == 3, what="it has ended three times")
        log = settings.log_dir / "broken.log"
        assert running.detail == f"ended with exit code 3; see {log}"
        assert log.read_text().count("no such table") == 3
    pauses = [later - earlier for earlier, later in pairwise(started)]
    assert pauses[0] >= BACK_OFF_FIRST_S
    assert pauses[1] >= 2 * BACK_OFF_FIRST_S
    assert running.back_off_s <= BACK_OFF_MAX_S


async def test_a_service_starts_when_what_it_needs_is_ready_not_when_it_runs(settings: Settings) -> None:
    answers: list[str | None] = ["still warming up"]

    async def ready(settings: Settings) -> str | None:
        return answers[-1]

    first = Service("first", program(SLEEPER), ready=ready)
    second = Service("second", program(SLEEPER), needs=("first",))
    async with kept(settings, first, second) as keeper:
        waiting = keeper.services["second"]
        await eventually(lambda: waiting.detail == "waits for first", what="the second waits")
        await eventually(lambda: keeper.services["first"].detail == "still warming up", what="the first says why")
        assert waiting.process is None
        answers.append(None)
        await eventually(lambda: waiting.state == "running", what="the second runs")


async def test_a_one_shot_service_is_done_once_and_not_started_again(settings: Settings) -> None:
    note = settings.data_dir / "note"
    write = program("import sys; open(sys.argv[1], 'a').write('x')", str(note))
    after = Service("after", program(SLEEPER), needs=("once",))
    async with kept(settings, Service("once", write, one_shot=True), after) as keeper:
        await eventually(lambda: keeper.services["after"].state == "running", what="what needs it runs")
        assert keeper.services["once"].state == "done"
    assert note.read_text() == "x"


async def test_a_ready_check_that_stumbles_is_shown_and_ends_nothing(settings: Settings) -> None:
    async def ready(settings: Settings) -> str | None:
        raise LookupError("no such thing")

    async with kept(settings, Service("odd", program(SLEEPER), ready=ready)) as keeper:
        running = keeper.services["odd"]
        await eventually(lambda: "no such thing" in (running.detail or ""), what="the reason is shown")
        assert running.state == "starting"


async def test_services_stop_in_reverse_order_and_a_deaf_one_is_killed(settings: Settings) -> None:
    note = settings.data_dir / "order"
    polite = (
        "import signal, sys, time\n"
        "def end(number, frame):\n    open(sys.argv[1], 'a').write(sys.argv[2]); raise SystemExit\n"
        "signal.signal(signal.SIGTERM, end)\nopen(sys.argv[1] + sys.argv[2], 'w').close()\n"
        "while True: time.sleep(60)"
    )
    deaf = polite.replace("raise SystemExit", "return")

    def heard(name: str) -> Callable[[Settings], object]:
        return lambda settings: Path(f"{note}{name}").exists()

    def service(name: str, text: str, *needs: str) -> Service:
        async def ready(settings: Settings) -> str | None:
            return None if heard(name)(settings) else "its handler is not set yet"

        return Service(name, program(text, str(note), name), needs, ready=ready, stop_timeout_s=1.0)

    services = (service("a", polite), service("b", deaf, "a"), service("c", polite, "b"))
    async with kept(settings, *services) as keeper:
        await eventually(lambda: keeper.services["c"].state == "running", what="all run")
        pids = [pid_of(running) for running in keeper.services.values()]
    assert note.read_text() == "cba"
    assert [start_time(pid) for pid in pids] == [None, None, None]
    assert last_state(settings) is None


async def test_a_killed_services_own_children_go_with_it(settings: Settings) -> None:
    note = settings.data_dir / "child"
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[1], 'a').write(f'{child.pid}\\n')\nwhile True: time.sleep(60)"
    )
    async with kept(settings, Service("parent", program(parent, str(note)))) as keeper:
        running = keeper.services["parent"]
        await eventually(note.exists, what="the child is noted")
        await eventually(lambda: note.read_text().endswith("\n"), what="the child's pid is whole")
        child = int(note.read_text())
        os.kill(pid_of(running), signal.SIGKILL)
        await eventually(lambda: start_time(child) is None, what="the child is gone")
