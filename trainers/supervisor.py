"""Watches one attempt to its true end. Standard library only; outlives the launcher, and may itself be replaced.

``python -m trainers.supervisor RUN_FOLDER`` starts the trainer (through its recorder) or, where it runs already, takes
over. A file ``stop.json``, written by the launcher or for SIGTERM, asks the trainer to stop: SIGTERM to it, SIGKILL to
its group after the grace period, a shorter one where ``hurry.json`` says so; files, so that a request outlives the
supervisor that got it. A run that uses more than its limits is asked by the supervisor itself. When the trainer has
ended: ship what its spool still holds, record how it ended, close its sessions.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from trainers.limits import (
    MEMORY_INTERVAL_S,
    STORAGE_INTERVAL_S,
    Excess,
    Limits,
    Usage,
    excess_of,
    folder_bytes,
    group_memory_bytes,
    seconds_since_start,
)
from trainers.processes import ProcessMark, is_locked, mark_of, read_json, read_mark, take_lock, write_json, write_mark
from trainers.recorder import BUSY, EXIT, RECORDER_PID, STDERR, TRAINER_PID, last_line
from trainers.recorder import LOCK as RECORDER_LOCK

SUPERVISOR_PID, LOCK, STOP, DONE = "supervisor.pid", "supervisor.lock", "stop.json", "done.json"
HURRY, LIMIT, LIMIT_RECORDED = "hurry.json", "limit.json", "limit-recorded.json"
POLL_INTERVAL_S: Final = 0.2
RECORDER_START_S: Final = 60.0
GRACE_DEFAULT_S: Final = 120.0
SYNC_PAUSE_FIRST_S: Final = 1.0
SYNC_PAUSE_MAX_S: Final = 30.0
SYNC_GIVE_UP_S: Final = 24 * 3600.0
"""After this the spool stays where it is, for the launcher's sweep or ``python -m training_sdk sync``."""
SDK_TIMEOUT_S: Final = 3600.0
"""For a store that hangs; large checkpoints take their time."""
LIMIT_REPORT_S: Final = 60.0
TOOK_TOO_LONG: Final = 124
SPOOLED: Final = (0, 1)
"""Exit codes of the SDK's command: 0 in the log, 1 it waits in the spool behind what could not be shipped yet."""
UNKNOWN_END: Final = "How the process ended is not known: its recorder is gone."


def ask_to_stop(folder: Path, hurry_s: float | None = None) -> None:
    """Once: the grace period runs from the first request. ``hurry_s``: a shorter one, from now on, once too.

    Times are of the machine's monotonic clock. Two files, because the supervisor writes into the first one.
    """
    if not (folder / STOP).exists():
        write_json(folder / STOP, {"asked_at": time.monotonic()})
    if hurry_s is not None and not (folder / HURRY).exists():
        write_json(folder / HURRY, {"asked_at": time.monotonic(), "grace_s": hurry_s})


class Supervisor:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.terminated = False
        self.run = read_json(folder / "run.json") or {}
        grace = self.run.get("grace_s")
        self.grace_s = float(grace) if isinstance(grace, (int, float)) else GRACE_DEFAULT_S
        self.limits = Limits.of(self.run.get("limits"))
        self.measured_at: dict[str, float] = {}
        self.recorder: subprocess.Popen[bytes] | None = None
        self.limit_report: subprocess.Popen[bytes] | None = None

    def on_sigterm(self, number: int, frame: object) -> None:
        self.terminated = True

    def start_or_take_over(self) -> ProcessMark | None:
        """The recorder's mark; None when it is gone already."""
        found = read_mark(self.folder / RECORDER_PID)
        if found is not None or (self.folder / EXIT).exists():
            return found
        with (self.folder / "recorder.log").open("ab") as log:
            self.recorder = subprocess.Popen(
                [sys.executable, "-m", "trainers.recorder", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + RECORDER_START_S
        while found is None and time.monotonic() < deadline:
            # It notes itself, under its lock; one that a supervisor before us started may have been faster.
            if self.recorder.poll() not in (None, BUSY):
                break
            time.sleep(POLL_INTERVAL_S / 10)
            found = read_mark(self.folder / RECORDER_PID)
        return read_mark(self.folder / RECORDER_PID)

    def watch(self, recorder: ProcessMark | None) -> dict[str, object]:
        """Until the trainer has ended; passes on a request to stop. Returns how it ended."""
        while True:
            if self.recorder is not None:
                self.recorder.poll()  # else it would stay a zombie
            exit_report = read_json(self.folder / EXIT)
            if exit_report is not None:
                return exit_report
            trainer = read_mark(self.folder / TRAINER_PID)
            if not self._lives(recorder, trainer):
                # The report may have been written between the two looks.
                return read_json(self.folder / EXIT) or {"exit_code": None, "signal": None, "reason": UNKNOWN_END}
            if self.terminated:
                ask_to_stop(self.folder)
            if trainer is not None:
                self._hold_to_limits(trainer)
            stop = read_json(self.folder / STOP)
            if stop is not None and trainer is not None:
                self._pass_on(stop, trainer)
            time.sleep(POLL_INTERVAL_S)

    def _lives(self, recorder: ProcessMark | None, trainer: ProcessMark | None) -> bool:
        if recorder is not None and recorder.alive():
            return True
        # A trainer whose recorder was killed before it noted the pid still holds the lock.
        return trainer.alive() if trainer is not None else is_locked(self.folder / RECORDER_LOCK)

    def _pass_on(self, stop: dict[str, object], trainer: ProcessMark) -> None:
        """SIGTERM once (a second one ends a trainer at once), SIGKILL to all of it after the grace period."""
        asked_at, now = stop.get("asked_at"), time.monotonic()
        if isinstance(asked_at, float) and now >= self._deadline(asked_at):
            if "killed_at" not in stop:
                trainer.send_group(signal.SIGKILL)
                write_json(self.folder / STOP, {**stop, "killed_at": now})
        elif "told_at" not in stop:
            write_json(self.folder / STOP, {**stop, "told_at": now})
            trainer.send(signal.SIGTERM)

    def _deadline(self, asked_at: float) -> float:
        hurry = read_json(self.folder / HURRY) or {}
        since, grace_s = hurry.get("asked_at"), hurry.get("grace_s")
        if isinstance(since, float) and isinstance(grace_s, (int, float)):
            return min(asked_at + self.grace_s, since + grace_s)
        return asked_at + self.grace_s

    def _hold_to_limits(self, trainer: ProcessMark) -> None:
        """End a run that uses more than it may, once, and say so in the log."""
        if found := read_json(self.folder / LIMIT):
            self._end_for(Excess(**found))  # type: ignore[arg-type]  # as it was written
            return
        memory = self.limits.max_memory_bytes is not None and self._is_due("memory", MEMORY_INTERVAL_S)
        storage = self.limits.max_storage_bytes is not None and self._is_due("storage", STORAGE_INTERVAL_S)
        usage = Usage(
            seconds_since_start(trainer),
            group_memory_bytes(trainer.pid) if memory else None,
            folder_bytes(self.folder) if storage else None,
        )
        excess = excess_of(self.limits, usage)
        if excess is not None:
            write_json(self.folder / LIMIT, asdict(excess))
            self._end_for(excess)

    def _end_for(self, excess: Excess) -> None:
        self._report_limit(excess)
        ask_to_stop(self.folder, excess.grace_s)

    def _is_due(self, what: str, interval_s: float) -> bool:
        now = time.monotonic()
        if now - self.measured_at.get(what, -interval_s) < interval_s:
            return False
        self.measured_at[what] = now
        return True

    def _report_limit(self, excess: Excess) -> None:
        """By a process of its own: a broker that is down must not keep the run from being ended."""
        if (self.folder / LIMIT_RECORDED).exists():
            return
        if self.limit_report is None:
            with (self.folder / "sync.log").open("ab") as log:
                self.limit_report = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "training_sdk", "limit-exceeded", f"--limit={excess.limit}"),
                        *(f"--allowed={excess.allowed}", f"--used={excess.used}", f"--error-code={excess.error_code}"),
                        f"--reason={excess.reason}",
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        elif self.limit_report.poll() in SPOOLED:
            write_json(self.folder / LIMIT_RECORDED, {"at": time.time()})
        elif self.limit_report.returncode is not None:
            self.limit_report = None  # once more

    def ship(self, ended: dict[str, object]) -> bool:
        """The trainer's left-over spool, then how its process ended. Tried for a day, then left to the sweep."""
        spool = self.run.get("spool_dir")
        job_spool = Path(str(spool)) / f"job-{self.run.get('job_id')}"
        deadline, pause_s, recorded = time.monotonic() + SYNC_GIVE_UP_S, SYNC_PAUSE_FIRST_S, False
        self._finish_limit_report()
        while time.monotonic() < deadline:
            shipped = self._sdk("sync", str(job_spool), "--closed-by", "supervisor") == 0
            if not recorded and self._record_exit(ended) in SPOOLED:
                recorded = True
                write_json(self.folder / "recorded.json", {"at": time.time()})
                shipped = self._sdk("sync", str(job_spool), "--closed-by", "supervisor") == 0
            if shipped and recorded:
                return True
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, SYNC_PAUSE_MAX_S)
        return False

    def _finish_limit_report(self) -> None:
        """Before the exit is recorded, so that the log says why before it says that."""
        found = read_json(self.folder / LIMIT)
        deadline = time.monotonic() + LIMIT_REPORT_S
        while found and not (self.folder / LIMIT_RECORDED).exists() and time.monotonic() < deadline:
            self._report_limit(Excess(**found))  # type: ignore[arg-type]  # as it was written
            time.sleep(POLL_INTERVAL_S)

    def _record_exit(self, ended: dict[str, object]) -> int:
        if (self.folder / "recorded.json").exists():
            return 0
        options = []
        signal_or_unknown = "UNKNOWN" if ended.get("exit_code") is None else None
        shown = {**ended, "signal": ended.get("signal") or signal_or_unknown}
        for option in ("exit_code", "signal", "pid"):
            if shown.get(option) is not None:
                options.append(f"--{option.replace('_', '-')}={shown[option]}")
        # Not as an argument, nor in a file of ours: it may hold a secret, and arguments are seen by everybody.
        return self._sdk("process-exited", *options, "--reason-from-input", given=self._reason(ended))

    def _reason(self, ended: dict[str, object]) -> str:
        """What the recorder says, else the trainer's last words; "" without."""
        exit_code, told = ended.get("exit_code"), ended.get("reason")
        if told is None and isinstance(exit_code, int) and exit_code > 0 and (self.folder / STDERR).exists():
            told = last_line(self.folder / STDERR)
        return "" if told is None else str(told)

    def _sdk(self, *arguments: str, given: str = "") -> int:
        with (self.folder / "sync.log").open("ab") as log:
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "training_sdk", *arguments],
                    input=given.encode("utf-8", "replace"),
                    stdout=log,
                    stderr=log,
                    check=False,
                    timeout=SDK_TIMEOUT_S,
                )
            except subprocess.TimeoutExpired:
                return TOOK_TOO_LONG
        return done.returncode


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    if take_lock(folder / LOCK) is None:
        print(f"supervisor: another one supervises {folder} already", file=sys.stderr)
        return 3
    if (folder / DONE).exists():
        return 0
    own = mark_of(os.getpid())
    assert own is not None
    supervisor = Supervisor(folder)
    signal.signal(signal.SIGTERM, supervisor.on_sigterm)
    signal.signal(signal.SIGINT, supervisor.on_sigterm)
    write_mark(folder / SUPERVISOR_PID, own)
    ended = supervisor.watch(supervisor.start_or_take_over())
    shipped = supervisor.ship(ended)
    write_json(folder / DONE, {"at": time.time(), "shipped": shipped})
    return 0 if shipped else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
