"""Training on several GPUs: Ultralytics starts a process for each, a *rank*, and waits in the one that we started.

Rank 0 speaks for the run while it trains; the parent says how it began and ended. They share a file each way: a
request to stop, and how far the run is. What a rank died of is a third.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any, Final

from trainers.failures import error_code_of, message_of
from trainers.processes import read_json, write_json
from trainers.ultralytics.progress import Progress, read_progress, write_progress

RANK: Final = int(os.environ.get("RANK", "-1"))
"""-1: not one of several."""


class RankFailed(RuntimeError):
    """A process of multi-GPU training failed; ``code`` is the error code of what it failed of."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def of_several() -> bool:
    return RANK != -1


def speaks() -> bool:
    """Whether this process reports for the run."""
    return RANK in (-1, 0)


def folder() -> Path:
    """Not below Ultralytics' own folder of the run, which multi-GPU training removes when it begins."""
    return Path(os.environ.get("OUTPUT_PATH") or "output").resolve()


def stop_file() -> Path:
    return folder() / "stop-asked"


def stop_asked() -> bool:
    return of_several() and stop_file().exists()


def tell_parent(progress: Progress) -> None:
    write_progress(folder() / "progress.json", progress)


def note_failure(error: BaseException | None) -> None:
    """What this rank dies of; None where it does not."""
    if error is not None:
        document: dict[str, object] = {"code": error_code_of(error), "message": message_of(error)}
        write_json(folder() / f"rank-{RANK}-failed.json", document)


class Ranks:
    """The parent's side."""

    def __init__(self) -> None:
        for path in (stop_file(), folder() / "progress.json", *folder().glob("rank-*-failed.json")):
            path.unlink(missing_ok=True)
        self._previous: Any = signal.getsignal(signal.SIGTERM)
        # SIGTERM comes to this process only, which waits for the others.
        signal.signal(signal.SIGTERM, self._pass_on)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        stop_file().touch()
        if callable(self._previous):
            self._previous(number, frame)

    @property
    def progress(self) -> Progress:
        """How far rank 0 came."""
        return read_progress(folder() / "progress.json") or Progress()

    def failure(self) -> RankFailed | None:
        """Of the rank that failed first: the others only see that a connection broke."""
        files = sorted(folder().glob("rank-*-failed.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in files:
            found = read_json(path)
            if found is not None:
                rank = path.name.split("-")[1]
                return RankFailed(str(found["code"]), f"rank {rank}: {found['message']}")
        return None
