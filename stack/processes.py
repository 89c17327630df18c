"""Processes by pid and start time, and the end of those that nobody keeps any more."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POLL_INTERVAL_S: Final = 0.1
KILLED_TIMEOUT_S: Final = 5.0
RUN_MARKS: Final = ("supervisor.pid", "recorder.pid", "trainer.pid")
"""What a run's folder names: each leads a process group of its own."""


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the process's start, None for no such process: tells a reused pid (proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


@dataclass(frozen=True, slots=True)
class Mark:
    """One process for ever: a pid alone may belong to somebody else by now."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> Mark | None:
        started = start_time(pid)
        return None if started is None else cls(pid, started)

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.start_time

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL for the process and whatever it left in its group."""
        if self.alive:
            kill_group(self.pid)


def kill_group(group: int) -> None:
    """SIGKILL for what is left of a process group; the number stays taken as long as one member lives."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def end(marks: Callable[[], Collection[Mark]], number: signal.Signals, timeout_s: float) -> int:
    """Signal each process once, SIGKILL its group after ``timeout_s``. Returns how many were alive.

    ``marks`` is asked again and again: one of them may start another before it hears of its end.
    """
    signalled: set[Mark] = set()
    deadline = time.monotonic() + timeout_s
    while alive := [mark for mark in marks() if mark.alive]:
        late = time.monotonic() > deadline
        if time.monotonic() > deadline + KILLED_TIMEOUT_S:
            raise TimeoutError(f"these processes do not end, even killed: {[mark.pid for mark in alive]}")
        for mark in alive:
            if late:
                mark.kill_group()
            elif mark not in signalled:
                mark.send(number)
        signalled.update(alive)
        time.sleep(POLL_INTERVAL_S)
    return len(signalled)


def stop_runs(data_dir: Path, timeout_s: float = 30.0) -> int:
    """End the runs that outlive their launcher on purpose. Returns how many processes that were."""
    return end(lambda: list(run_marks(data_dir / "runs")), signal.SIGTERM, timeout_s)


def run_marks(folder: Path) -> Iterator[Mark]:
    """Supervisors, and what runs without one. (A recorder ends by itself when its trainer has ended.)"""
    for run in folder.glob("*/*"):
        supervisor, recorder, trainer = (read_mark(run / name) for name in RUN_MARKS)
        if supervisor is not None and supervisor.alive:
            yield supervisor
        else:
            yield from (mark for mark in (trainer, recorder) if mark is not None)
    # One that has only just started has not written its mark yet.
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "trainers.supervisor" in words and any(word.startswith(f"{folder}/") for word in words):
                started = Mark.of(int(process.name))
                if started is not None:
                    yield started


def read_mark(path: Path) -> Mark | None:
    try:
        noted = json.loads(path.read_text())
        return Mark(int(noted["pid"]), int(noted["start_time"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
