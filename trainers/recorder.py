"""The parent of a trainer: starts it, waits, and writes down how it ended. Standard library only.

So small that nothing ends it but a kill of itself: whoever supervises may die and be replaced, the exit code is kept.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from trainers.processes import mark_of, read_json, write_json, write_mark

STDOUT, STDERR, TRAINER_PID, EXIT = "stdout.log", "stderr.log", "trainer.pid", "exit.json"


def nothing(number: int, frame: object) -> None:
    """A handler, not SIG_IGN: that would be inherited by the trainer."""


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, nothing)
    run = read_json(folder / "run.json")
    if run is None or not isinstance(run.get("command"), list):
        print(f"recorder: {folder / 'run.json'} names no command", file=sys.stderr)
        return 2
    began = time.time()
    with (folder / STDOUT).open("ab") as stdout, (folder / STDERR).open("ab") as stderr:
        # A group of its own, so that the trainer's workers can be killed with it.
        trainer = subprocess.Popen(
            [str(part) for part in run["command"]],  # type: ignore[attr-defined]  # a list: looked at above
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            process_group=0,
        )
        mark = mark_of(trainer.pid)
        if mark is not None:
            write_mark(folder / TRAINER_PID, mark)
        code = trainer.wait()
    write_json(
        folder / EXIT,
        {
            "pid": trainer.pid,
            "exit_code": code if code >= 0 else None,
            "signal": signal.Signals(-code).name if code < 0 else None,
            "began": began,
            "ended": time.time(),
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
