"""Somebody asked the run to end: a signal, or the service."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

logger = logging.getLogger("training_sdk")


class StopRequest:
    """A flag that is set once, and why."""

    def __init__(self) -> None:
        self.requested = False
        self.reason: str | None = None
        self._previous: Any = None
        self._installed = False

    def request(self, reason: str) -> None:
        if not self.requested:
            self.reason = reason
            self.requested = True

    def watch_sigterm(self) -> None:
        """Let SIGTERM set the flag. Only in the main thread; a handler that was there before is called as well.

        Where there was none, the first SIGTERM asks and the second ends the process as if nobody had listened.
        """
        if threading.current_thread() is not threading.main_thread() or self._installed:
            return
        previous = signal.getsignal(signal.SIGTERM)
        if previous is None or previous == signal.SIG_IGN:
            return
        self._previous = previous
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._installed = True

    def unwatch_sigterm(self) -> None:
        """Give the signal back, unless somebody else has taken it since."""
        if not self._installed or threading.current_thread() is not threading.main_thread():
            return
        self._installed = False
        # == and not `is`: every access to a method makes a new object.
        if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, self._previous)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self.request("SIGTERM")
        previous: Callable[[int, FrameType | None], Any] | Any = self._previous
        if callable(previous) and previous not in (signal.SIG_DFL, signal.SIG_IGN):
            previous(number, frame)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
