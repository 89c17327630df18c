"""Watches one attempt to its true end. Standard library only; outlives the launcher, and may itself be replaced.

``python -m trainers.supervisor RUN_FOLDER`` starts the trainer (through its recorder) or, where it runs already, takes
over. SIGTERM asks the trainer to stop: SIGTERM to it, SIGKILL to its group after the grace period. When the trainer
has ended: ship what its spool still holds, record how it ended, close its sessions.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from trainers.processes import ProcessMark, mark_of, read_json, read_mark, write_json, write_mark
from trainers.recorder import EXIT, TRAINER_PID

SUPERVISOR_PID, RECORDER_PID, DONE = "supervisor.pid", "recorder.pid", "done.json"
POLL_INTERVAL_S: Final = 0.2
GRACE_DEFAULT_S: Final = 120.0
SYNC_TIMEOUT_S: Final = 60.0
SYNC_PAUSE_FIRST_S: Final = 1.0
SYNC_PAUSE_MAX_S: Final = 30.0
SYNC_GIVE_UP_S: Final = 24 * 3600.0
"""After this the spool stays where it is, for the launcher's sweep or ``python -m training_sdk sync``."""
UNKNOWN_END: Final = "how the process ended is not known: its recorder was killed"


class Supervisor:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop_asked_at: float | None = None
        self.run = read_json(folder / "run.json") or {}
        grace = self.run.get("grace_s")
        self.grace_s = float(grace) if isinstance(grace, (int, float)) else GRACE_DEFAULT_S

    def on_sigterm(self, number: int, frame: object) -> None:
        if self.stop_asked_at is None:
            self.stop_asked_at = time.monotonic()

    def start_or_take_over(self) -> ProcessMark | None:
        """The recorder's mark; None when it is gone already."""
        found = read_mark(self.folder / RECORDER_PID)
        if found is not None or (self.folder / EXIT).exists():
            return found if found is not None and found.alive() else None
        with (self.folder / "recorder.log").open("ab") as log:
            recorder = subprocess.Popen(
                [sys.executable, "-m", "trainers.recorder", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        mark = mark_of(recorder.pid)
        if mark is not None:
            write_mark(self.folder / RECORDER_PID, mark)
        return mark

    def watch(self, recorder: ProcessMark | None) -> dict[str, object]:
        """Until the trainer has ended; passes on a request to stop. Returns how it ended."""
        signalled = killed = False
        while True:
            reap()
            exit_report = read_json(self.folder / EXIT)
            if exit_report is not None:
                return exit_report
            trainer = read_mark(self.folder / TRAINER_PID)
            recorder_gone = recorder is None or not recorder.alive()
            if recorder_gone and (trainer is None or not trainer.alive()):
                # The report may have been written between the two looks.
                return read_json(self.folder / EXIT) or {"exit_code": None, "signal": None, "reason": UNKNOWN_END}
            if self.stop_asked_at is not None and trainer is not None:
                if not signalled:
                    signalled = trainer.send(signal.SIGTERM)
                elif not killed and time.monotonic() - self.stop_asked_at > self.grace_s:
                    killed = trainer.send_group(signal.SIGKILL)
            time.sleep(POLL_INTERVAL_S)

    def ship(self, ended: dict[str, object]) -> bool:
        """The trainer's left-over spool, then how its process ended. Tried for a day, then left to the sweep."""
        spool = self.run.get("spool_dir")
        job_spool = Path(str(spool)) / f"job-{self.run.get('job_id')}"
        deadline, pause_s, recorded = time.monotonic() + SYNC_GIVE_UP_S, SYNC_PAUSE_FIRST_S, False
        while time.monotonic() < deadline:
            shipped = self._sdk("sync", str(job_spool), "--closed-by", "supervisor") == 0
            if not recorded and self._record_exit(ended) in (0, 1):
                # 1: it waits in the spool behind what could not be shipped yet.
                recorded = True
                write_json(self.folder / "recorded.json", {"at": time.time()})
                shipped = self._sdk("sync", str(job_spool), "--closed-by", "supervisor") == 0
            if shipped and recorded:
                return True
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, SYNC_PAUSE_MAX_S)
        return False

    def _record_exit(self, ended: dict[str, object]) -> int:
        if (self.folder / "recorded.json").exists():
            return 0
        options = []
        for option, name in (("--exit-code", "exit_code"), ("--signal", "signal"), ("--pid", "pid")):
            if ended.get(name) is not None:
                options += [option, str(ended[name])]
        if ended.get("exit_code") is None and ended.get("signal") is None:
            options += ["--signal", "UNKNOWN", "--reason", str(ended.get("reason"))]
        return self._sdk("process-exited", *options)

    def _sdk(self, *arguments: str) -> int:
        with (self.folder / "sync.log").open("ab") as log:
            done = subprocess.run(
                [sys.executable, "-m", "training_sdk", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        return done.returncode


def reap() -> None:
    """Children that ended: without this a dead recorder would look alive."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    if (folder / DONE).exists():
        return 0
    other = read_mark(folder / SUPERVISOR_PID)
    if other is not None and other.pid != os.getpid() and other.alive():
        print(f"supervisor: process {other.pid} supervises {folder} already", file=sys.stderr)
        return 3
    own = mark_of(os.getpid())
    assert own is not None
    write_mark(folder / SUPERVISOR_PID, own)
    supervisor = Supervisor(folder)
    signal.signal(signal.SIGTERM, supervisor.on_sigterm)
    signal.signal(signal.SIGINT, supervisor.on_sigterm)
    ended = supervisor.watch(supervisor.start_or_take_over())
    shipped = supervisor.ship(ended)
    write_json(folder / DONE, {"at": time.time(), "shipped": shipped})
    return 0 if shipped else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
