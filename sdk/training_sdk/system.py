"""What the machine is doing: processor and memory from /proc, GPUs from nvidia-smi where there is one."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

SAMPLE_INTERVAL_S: Final = 5.0
QUERY_TIMEOUT_S: Final = 5.0
_QUERY: Final = "index,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw"
_MIB: Final = 1024 * 1024


class SystemSampler:
    """Call ``sample`` every few seconds, from one thread."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._last = self._processor_times()
        self._nvidia_smi = shutil.which("nvidia-smi")

    def sample(self) -> dict[str, Any]:
        """Data of a system.sampled event; what cannot be read is missing. Waits for nvidia-smi, 5 s at most."""
        sample: dict[str, Any] = {}
        now = self._processor_times()
        if now is not None and self._last is not None and now[1] > self._last[1]:
            busy, total = now[0] - self._last[0], now[1] - self._last[1]
            sample["cpu_percent"] = round(100.0 * busy / total, 1)
        self._last = now
        memory = self._memory()
        if "MemTotal" in memory and "MemAvailable" in memory:
            sample["memory_total_bytes"] = memory["MemTotal"]
            sample["memory_used_bytes"] = memory["MemTotal"] - memory["MemAvailable"]
        try:
            pages = int((self._proc / "self" / "statm").read_text().split()[1])
            sample["process_memory_bytes"] = pages * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            sample.pop("process_memory_bytes", None)
        sample["gpus"] = self._gpus()
        return sample

    def _processor_times(self) -> tuple[int, int] | None:
        """(busy, total) in clock ticks since boot, over all cores: proc(5), /proc/stat."""
        try:
            fields = (self._proc / "stat").read_text().split("\n", 1)[0].split()
            ticks = [int(field) for field in fields[1:9]]
        except (OSError, ValueError):
            return None
        if len(ticks) < 5:
            return None
        idle = ticks[3] + ticks[4]
        return sum(ticks) - idle, sum(ticks)

    def _memory(self) -> dict[str, int]:
        found: dict[str, int] = {}
        try:
            for line in (self._proc / "meminfo").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in ("MemTotal", "MemAvailable"):
                    found[name] = int(rest.split()[0]) * 1024
        except (OSError, ValueError, IndexError):
            return {}
        return found

    def _gpus(self) -> list[dict[str, Any]]:
        if self._nvidia_smi is None:
            return []
        command = [self._nvidia_smi, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True)
        except (OSError, subprocess.SubprocessError):
            self._nvidia_smi = None  # no driver behind it: do not try every few seconds
            return []
        return parse_gpus(answer.stdout)


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """nvidia-smi's CSV answer; a field that it does not know ("[N/A]") is left out. Memory in bytes."""
    gpus = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != 7 or not row[0].isdigit():
            continue
        gpu: dict[str, Any] = {"index": int(row[0]), "name": row[1]}
        for name, raw in (("utilization_percent", row[2]), ("temperature_celsius", row[5]), ("power_watts", row[6])):
            if (value := _number(raw)) is not None:
                gpu[name] = value
        for name, raw in (("memory_used_bytes", row[3]), ("memory_total_bytes", row[4])):
            if (value := _number(raw)) is not None:
                gpu[name] = int(value) * _MIB
        gpus.append(gpu)
    return gpus


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
