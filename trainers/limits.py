"""What a run may use, and what it uses: seconds, memory, bytes of its folder. Standard library only."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainers.processes import ProcessMark

MEMORY_INTERVAL_S: Final = 1.0
STORAGE_INTERVAL_S: Final = 5.0
STORAGE_GRACE_S: Final = 10.0
"""A disk that fills up does not wait for an epoch's end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one attempt; None: no limit."""

    max_seconds: float | None = None
    max_memory_bytes: float | None = None
    max_storage_bytes: float | None = None

    @classmethod
    def of(cls, document: object) -> Limits:
        """The ``limits`` of a job's config, which were checked when it was created."""
        given: dict[str, Any] = document if isinstance(document, dict) else {}
        names = ("max_seconds", "max_memory_bytes", "max_storage_bytes")
        return cls(*(float(given[name]) if isinstance(given.get(name), (int, float)) else None for name in names))


@dataclass(frozen=True, slots=True)
class Usage:
    """None: not measured now."""

    seconds: float
    memory_bytes: int | None = None
    storage_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Excess:
    """``grace_s``: how long its process may take to end; None: as long as after a stop."""

    limit: str
    allowed: float
    used: float
    error_code: str
    reason: str
    grace_s: float | None


def excess_of(limits: Limits, usage: Usage) -> Excess | None:
    """The first limit that is exceeded. Pure."""
    for name, allowed, used, code, unit, grace_s in (
        # limit              allowed                   used                 error code      unit     grace
        ("max_seconds", limits.max_seconds, usage.seconds, "TIMEOUT", "s", None),
        # At once, as the system does when memory runs out: it would take the whole machine with it.
        ("max_memory_bytes", limits.max_memory_bytes, usage.memory_bytes, "OOM", "bytes of memory", 0.0),
        ("max_storage_bytes", limits.max_storage_bytes, usage.storage_bytes, "STORAGE_LIMIT", "bytes", STORAGE_GRACE_S),
    ):
        if allowed is not None and used is not None and used > allowed:
            reason = f"The attempt used {used:.10g} {unit}, {name} is {allowed:.10g}."
            return Excess(name, allowed, used, code, reason, grace_s)
    return None


def seconds_since_start(mark: ProcessMark) -> float:
    """Of a process, by the machine's clock since boot: whoever asks later gets the same time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - mark.start_time / os.sysconf("SC_CLK_TCK")


def group_memory_bytes(group: int, proc: Path = Path("/proc")) -> int:
    """Memory of a process group: shared pages count once where the kernel says so (Pss), else for each process."""
    total = 0
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += _memory_bytes(folder)
        except (OSError, IndexError, ValueError):
            continue  # it ended while it was looked at
    return total


def _memory_bytes(folder: Path) -> int:
    try:
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def folder_bytes(folder: Path) -> int:
    """What the files below take on the disk; links are not followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue  # removed while it was looked at
    return total
