"""Trainers for tests of the supervisor: ``python -m tests.integration.trainers.scripts NAME FOLDER``.

Each notes in the folder what happened to it: ``started`` holds one line a start, ``signals`` one a SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from training_sdk import TrainerSDK


def note(folder: str, name: str, text: object) -> None:
    with (Path(folder) / name).open("a") as file:
        file.write(f"{text}\n")


def note_signals(folder: str) -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: note(folder, "signals", number))


def until_released(folder: str) -> None:
    """Report a step, then wait for a file ``release``, then complete."""
    note(folder, "started", os.getpid())
    with TrainerSDK.from_env() as sdk:
        sdk.report_started(total_epochs=1)
        sdk.report_metrics(1, "train", {"loss": 0.5}, step=1)
        while not (Path(folder) / "release").exists():
            signal.sigtimedwait([], 0.02)
        sdk.report_completed({"total_epochs": 1})


def until_stopped(folder: str) -> None:
    """End by itself when it is asked to, as every trainer should."""
    note_signals(folder)
    note(folder, "started", os.getpid())
    with TrainerSDK.from_env() as sdk:
        sdk.report_started(total_epochs=1)
        while not sdk.should_stop():
            signal.sigtimedwait([], 0.02)
        sdk.report_stopped(1)


def deaf(folder: str) -> None:
    """Hear SIGTERM, and go on; a worker in the same group does not even hear it."""
    note_signals(folder)
    sleep = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    worker = subprocess.Popen([sys.executable, "-c", sleep])
    note(folder, "workers", worker.pid)
    note(folder, "started", os.getpid())
    while True:
        signal.sigtimedwait([], 1.0)


def leaves_a_worker(folder: str) -> None:
    """End well, and leave a process behind."""
    worker = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    note(folder, "workers", worker.pid)
    note(folder, "started", os.getpid())
    with TrainerSDK.from_env() as sdk:
        sdk.report_started(total_epochs=1)
        sdk.report_completed({"total_epochs": 1})
    # A Popen that is still running would be warned about.
    worker.returncode = 0


def broken(folder: str) -> None:
    note(folder, "started", os.getpid())
    raise ModuleNotFoundError("No module named 'my_package'")


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
