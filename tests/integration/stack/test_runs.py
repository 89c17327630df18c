"""Runs outlive their launcher; ``down`` is what ends them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.processes import RUN_MARKS, Mark, read_mark, run_marks, start_time, stop_runs
from tests.services import ROOT
from tests.waiting import eventually

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(60)"
POLITE = "import time\nwhile True: time.sleep(60)"


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder; ``supervise`` starts what the launcher would start."""

    folder: Path
    started: list[subprocess.Popen[bytes]]

    @property
    def data_dir(self) -> Path:
        return self.folder.parents[2]

    def mark(self, name: str) -> Mark:
        noted = read_mark(self.folder / name)
        assert noted is not None
        return noted

    async def supervise(self, trainer: str) -> list[Mark]:
        """A real supervisor with its recorder and a small trainer; their marks."""
        start_supervisor(self, trainer)
        marks = [self.folder / name for name in RUN_MARKS]
        await eventually(lambda: all(mark.exists() for mark in marks), what="all three run")
        return [self.mark(name) for name in RUN_MARKS]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path / "runs" / "job-1" / "attempt-1", [])
    made.folder.mkdir(parents=True)
    yield made
    for process in made.started:
        process.kill()
        process.wait()
    for name in RUN_MARKS:
        mark = read_mark(made.folder / name)
        if mark is not None:
            mark.kill_group()


def start_supervisor(run: Run, trainer: str) -> None:
    document = {
        "job_id": 1,
        "attempt": 1,
        "command": [sys.executable, "-c", trainer],
        "spool_dir": str(run.folder / "spool"),
        "grace_s": 600,
    }
    (run.folder / "run.json").write_text(json.dumps(document))
    environment = {
        **os.environ,
        "JOB_ID": "1",
        # Nobody listens there: what should be shipped stays in the spool, as when the broker is down.
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "EPOCHLOG_SPOOL_DIR": str(run.folder / "spool"),
    }
    command = [sys.executable, "-m", "trainers.supervisor", str(run.folder)]
    run.started.append(subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True))


@pytest.mark.parametrize("trainer", [POLITE, DEAF], ids=["polite", "deaf"])
async def test_supervisor_recorder_and_trainer_are_gone_after_the_bound(run: Run, trainer: str) -> None:
    marks = await run.supervise(trainer)
    assert stop_runs(run.data_dir, timeout_s=2.0) > 0
    assert [mark for mark in marks if mark.alive] == []
    assert stop_runs(run.data_dir, timeout_s=2.0) == 0


async def test_a_trainer_whose_supervisor_was_killed_is_asked_to_end(run: Run) -> None:
    supervisor, recorder, trainer = await run.supervise(POLITE)
    supervisor.kill_group()
    await eventually(lambda: not supervisor.alive, what="the supervisor is gone")
    stop_runs(run.data_dir, timeout_s=10.0)
    assert (trainer.alive, recorder.alive) == (False, False)
    assert json.loads((run.folder / "exit.json").read_text())["signal"] == "SIGTERM"


async def test_a_supervisor_that_has_only_just_started_is_found(run: Run) -> None:
    start_supervisor(run, POLITE)
    words = Path(f"/proc/{run.started[0].pid}/cmdline")
    await eventually(lambda: b"trainers.supervisor" in words.read_bytes(), what="the program is loaded")
    # It has not written down its pid yet: the interpreter takes longer to start than we to look.
    assert stop_runs(run.data_dir, timeout_s=2.0) > 0
    assert [mark for mark in run_marks(run.data_dir / "runs") if mark.alive] == []


def test_a_reused_pid_and_a_broken_mark_harm_nobody(run: Run) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", POLITE], process_group=0)
    try:
        began = start_time(stranger.pid)
        assert began is not None
        (run.folder / "supervisor.pid").write_text(json.dumps({"pid": stranger.pid, "start_time": began - 1}))
        (run.folder / "trainer.pid").write_text("{half a fi")
        assert stop_runs(run.data_dir, timeout_s=0.5) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
