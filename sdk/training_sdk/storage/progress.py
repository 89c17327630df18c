"""How far a download is, said every few seconds."""

from __future__ import annotations

import threading
import time as clock
from collections.abc import Callable
from typing import Final

SAID_EVERY_S: Final = 3.0
MEGABYTE: Final = 1_000_000


class Progress:
    """Counts files and bytes; any thread may count. ``say`` is called with a line for a person."""

    def __init__(self, what: str, files: int, say: Callable[[str], object]) -> None:
        self._what, self._files, self._say = what, files, say
        self._lock = threading.Lock()
        self._began = self._said_at = clock.monotonic()
        self._finished = self._bytes = self._bytes_said = 0

    def received(self, count: int) -> None:
        self._count(0, count)

    def finished_file(self) -> None:
        self._count(1, 0)

    def _count(self, files: int, count: int) -> None:
        with self._lock:
            self._finished += files
            self._bytes += count
            now = clock.monotonic()
            if (spent := now - self._said_at) < SAID_EVERY_S:
                return
            speed = (self._bytes - self._bytes_said) / spent
            self._said_at, self._bytes_said = now, self._bytes
            line = f"{self._what}: {self._finished:,} of {self._files:,} files, {speed / MEGABYTE:.3g} MB/s"
        self._say(line)

    def end(self) -> None:
        """Say that all of it is here. Of the bytes, those that were fetched now count."""
        spent = clock.monotonic() - self._began
        self._say(f"{self._what}: {self._files:,} files, {self._bytes / MEGABYTE:,.1f} MB fetched in {spent:.1f} s")
