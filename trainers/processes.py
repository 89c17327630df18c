"""Processes by pid and start time: a pid alone may belong to somebody else by now. Standard library only."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """``start_time`` is in clock ticks since boot (proc(5), field 22)."""

    pid: int
    start_time: int

    def alive(self) -> bool:
        return start_time_of(self.pid) == self.start_time

    def send(self, number: signal.Signals) -> bool:
        """Signal it; False when it is gone."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def send_group(self, number: signal.Signals) -> bool:
        """Signal its process group, which it leads; False when the group is gone."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def die_with_parent() -> None:
    """From now on this process is killed when its parent ends, whichever way (prctl(2)).

    For ranks of multi-GPU training: nobody would pass on a stop to them any more, and torchrun lets each lead a session
    of its own, where a kill of the run's process group does not reach it.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def take_lock(path: Path) -> int | None:
    """The descriptor that holds the lock on this file, None when somebody else holds it (flock(2)).

    It is held until every process that has the descriptor ended, whichever way: nothing stale can be left behind.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(path: Path) -> bool:
    descriptor = take_lock(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def start_time_of(pid: int) -> int | None:
    """None for no such process, and for one that ended and only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def mark_of(pid: int) -> ProcessMark | None:
    started = start_time_of(pid)
    return None if started is None else ProcessMark(pid, started)


def write_json(path: Path, document: dict[str, object]) -> None:
    """Atomically, and on the disk when this returns."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_json(path: Path) -> dict[str, object] | None:
    """None when there is no such file or it is not whole."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def write_mark(path: Path, mark: ProcessMark) -> None:
    write_json(path, asdict(mark))


def read_mark(path: Path) -> ProcessMark | None:
    document = read_json(path)
    if document is None:
        return None
    pid, started = document.get("pid"), document.get("start_time")
    return ProcessMark(pid, started) if isinstance(pid, int) and isinstance(started, int) else None
