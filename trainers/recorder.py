"""The parent of a trainer: starts it, waits, and writes down how it ended. Standard library only.

So small that nothing ends it but a kill of itself: whoever supervises may die and be replaced, the exit code is kept.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from trainers.processes import mark_of, read_json, take_lock, write_json, write_mark

STDOUT, STDERR, LOCK = "stdout.log", "stderr.log", "recorder.lock"
RECORDER_PID, TRAINER_PID, EXIT = "recorder.pid", "trainer.pid", "exit.json"
BUSY: Final = 4
CANNOT_START: Final = 127
"""The shell's exit code for a command that cannot be found."""
LAST_BYTES: Final = 65_536


def nothing(number: int, frame: object) -> None:
    """A handler, not SIG_IGN: that would be inherited by the trainer."""


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {number}"


def last_line(path: Path) -> str | None:
    """What a Python program says last when it fails, e.g. ``ModuleNotFoundError: No module named 'torch'``.

    As a whole: the SDK masks secrets in it, and would not know a part of one.
    """
    with path.open("rb") as file:
        begin = max(0, path.stat().st_size - LAST_BYTES)
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").splitlines()[1 if begin else 0 :]
    printable = ("".join(letter for letter in line if letter.isprintable()).strip() for line in reversed(lines))
    return next((line for line in printable if line), None)


def wait(trainer: subprocess.Popen[bytes]) -> int:
    """Its exit code, negative for a signal. What it leaves behind in its group ends with it: it would hold GPUs."""
    # Not reaped yet, so its pid, which names the group, can belong to nobody else.
    os.waitid(os.P_PID, trainer.pid, os.WEXITED | os.WNOWAIT)
    os.killpg(trainer.pid, signal.SIGKILL)
    return trainer.wait()


def run_trainer(folder: Path, lock: int, began: float) -> dict[str, object]:
    """Start the trainer and wait for it. Returns how it ended."""
    run = read_json(folder / "run.json") or {}
    command = run.get("command")
    if not isinstance(command, list):
        return {"exit_code": CANNOT_START, "reason": f"{folder / 'run.json'} names no command"}
    with (folder / STDOUT).open("ab") as stdout, (folder / STDERR).open("ab") as stderr:
        try:
            # A group of its own, so that the trainer's workers can be killed with it. It keeps our lock: as long as
            # either of us lives, nobody starts this attempt again.
            trainer = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                process_group=0,
                pass_fds=(lock,),
            )
        except OSError as error:
            return {"exit_code": CANNOT_START, "reason": f"the trainer cannot be started: {error}"}
        mark = mark_of(trainer.pid)
        if mark is not None:
            write_mark(folder / TRAINER_PID, mark)
        code = wait(trainer)
    return {
        "pid": trainer.pid,
        "exit_code": code if code >= 0 else None,
        "signal": signal_name(-code) if code < 0 else None,
        "began": began,
        "ended": time.time(),
    }


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, nothing)
    lock = take_lock(folder / LOCK)
    if lock is None or (folder / TRAINER_PID).exists() or (folder / EXIT).exists():
        print(f"recorder: the trainer of {folder} was started already", file=sys.stderr)
        return BUSY
    own = mark_of(os.getpid())
    assert own is not None
    write_mark(folder / RECORDER_PID, own)
    write_json(folder / EXIT, run_trainer(folder, lock, time.time()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
