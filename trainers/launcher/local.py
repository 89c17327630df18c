"""Runs as processes of this machine, each with a folder, a supervisor and a recorder of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from events.job import Job
from trainers.launcher.backend import Run, RunState
from trainers.launcher.environment import CONFIG_FILE, OUTPUT_FOLDER, config_file, trainer_environment
from trainers.launcher.settings import Settings
from trainers.processes import read_json, read_mark, write_json
from trainers.recorder import EXIT
from trainers.supervisor import DONE, SUPERVISOR_PID, ask_to_stop

ROOT: Final = Path(__file__).resolve().parent.parent.parent
_FOLDER: Final = re.compile(r"job-(\d+)/attempt-(\d+)$")


class LocalProcesses:
    """Supervisors are sessions of their own: they go on when the launcher ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, job: Job, attempt: int) -> Run:
        folder = self._settings.run_folder(job.id, attempt)
        if (folder / DONE).exists():
            return Run(job.id, attempt, RunState.DONE, folder)
        (folder / OUTPUT_FOLDER).mkdir(parents=True, exist_ok=True)
        if read_json(folder / "run.json") is None:
            # Asked for before anything is written: a job that cannot be run here leaves no run behind.
            trainer_environment(job, attempt, self._settings, folder)
            framework = self._settings.frameworks[job.framework or ""]
            write_json(folder / CONFIG_FILE, config_file(job, self._settings.frameworks))
            write_json(
                folder / "run.json",
                {
                    "job_id": job.id,
                    "attempt": attempt,
                    "command": [sys.executable, "-m", framework.module],
                    "spool_dir": str(self._settings.spool_dir),
                    "grace_s": self._settings.grace_s,
                    "limits": job.config.get("limits"),
                },
            )
        try:
            return self.take_over(job, attempt)
        except OSError as error:
            # The launcher records that it could not be started: nobody may start it later after all.
            write_json(folder / DONE, {"not_started": str(error)})
            raise

    def take_over(self, job: Job, attempt: int) -> Run:
        folder = self._settings.run_folder(job.id, attempt)
        with (folder / "supervisor.log").open("ab") as log:
            # The environment holds secrets: it is handed on, never written down or put among arguments.
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "trainers.supervisor", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=trainer_environment(job, attempt, self._settings, folder),
                start_new_session=True,
            )
        self._children.append(supervisor)
        return Run(job.id, attempt, RunState.SUPERVISED, folder)

    def terminate(self, job_id: int, attempt: int, *, hurry: bool = False) -> bool:
        folder = self._settings.run_folder(job_id, attempt)
        if not (folder / "run.json").exists() or (folder / DONE).exists():
            return False
        ask_to_stop(folder, self._settings.cancel_grace_s if hurry else None)
        return True

    def how_it_ended(self, job_id: int, attempt: int) -> str | None:
        folder = self._settings.run_folder(job_id, attempt)
        if not (folder / DONE).exists():
            return None
        ended = read_json(folder / EXIT) or {}
        how = ended.get("signal") or ended.get("exit_code")
        return f"its process ended with {'no known code' if how is None else how}"

    def runs(self) -> list[Run]:
        # Ended children must be waited for, or they would look alive.
        self._children = [child for child in self._children if child.poll() is None]
        starting = {child.args[-1] for child in self._children if isinstance(child.args, list)}
        found = []
        for folder in sorted((self._settings.data_dir / "runs").glob("job-*/attempt-*")):
            place = _FOLDER.search(folder.as_posix())
            if place is None or not (folder / "run.json").exists() or (folder / DONE).exists():
                continue
            mark = read_mark(folder / SUPERVISOR_PID)
            alive = (mark is not None and mark.alive()) or str(folder) in starting
            supervised = RunState.SHIPPING if (folder / EXIT).exists() else RunState.SUPERVISED
            state = supervised if alive else RunState.ABANDONED
            found.append(Run(int(place.group(1)), int(place.group(2)), state, folder))
        return found
