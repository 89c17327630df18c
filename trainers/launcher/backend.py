"""How an attempt is started, seen and stopped: local processes now, clusters later."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from events.job import Job


class RunState(Enum):
    SUPERVISED = "supervised"
    """Its supervisor is at work."""
    ABANDONED = "abandoned"
    """The supervisor is gone before its work was done: somebody must take over."""
    SHIPPING = "shipping"
    """Its process ended; its supervisor ships what it left and records the end."""
    DONE = "done"
    """Ended, shipped and recorded."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt that was started here."""

    job_id: int
    attempt: int
    state: RunState
    folder: Path


class Backend(Protocol):
    def start(self, job: Job, attempt: int) -> Run:
        """Start an attempt, once: a second call for the same attempt takes over instead, or finds it done.

        Raises OSError, InvalidEnvironment.
        """

    def take_over(self, job: Job, attempt: int) -> Run:
        """Give an abandoned run a new supervisor. Raises OSError, InvalidEnvironment."""

    def terminate(self, job_id: int, attempt: int, *, hurry: bool = False) -> bool:
        """Ask it to stop, SIGKILL after its grace period, a short one in a hurry; False when nothing runs."""

    def how_it_ended(self, job_id: int, attempt: int) -> str | None:
        """In words, where it is known here that the run is over; else None."""

    def runs(self) -> list[Run]:
        """All runs of this machine that are not done."""
