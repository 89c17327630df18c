"""A supervisor and its recorder, as real processes around a small trainer, with the real SDK and a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_asyncio

from events.types.jobs import JobCompleted, JobStopped, ProcessExited
from events.types.sessions import SessionClosed, SessionOpened
from tests.integration.sdk.reading import events_of, once, unbroken
from tests.services import World
from tests.waiting import eventually
from trainers.processes import ProcessMark, read_json, read_mark, start_time_of, write_json
from trainers.recorder import EXIT, RECORDER_PID, TRAINER_PID
from trainers.supervisor import DONE, STOP, SUPERVISOR_PID, ask_to_stop

JOB_ID = 25


@dataclass(slots=True)
class Supervised:
    """A run folder, and the supervisors that were started for it."""

    world: World
    folder: Path
    supervisors: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def write_run(self, *command: str, grace_s: float = 60.0) -> None:
        run = {"job_id": JOB_ID, "attempt": 1, "command": list(command), "grace_s": grace_s}
        write_json(self.folder / "run.json", {**run, "spool_dir": str(self.world.folder / "spool")})

    def write_script(self, name: str, *, grace_s: float = 60.0) -> None:
        module = ("-m", "tests.integration.trainers.scripts", name, str(self.folder))
        self.write_run(sys.executable, *module, grace_s=grace_s)

    def supervise(self) -> subprocess.Popen[bytes]:
        process = self.world.start(
            *("-m", "trainers.supervisor", str(self.folder)),
            log="supervisor",
            JOB_ID=str(JOB_ID),
            TRAINING_ATTEMPT="1",
        )
        self.supervisors.append(process)
        return process

    def kill_supervisor(self) -> None:
        self.supervisors[-1].kill()
        self.supervisors[-1].wait()

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def mark(self, name: str) -> ProcessMark:
        found = read_mark(self.folder / name)
        assert found is not None, name
        return found

    async def has_started(self) -> None:
        def started() -> bool:
            return bool(self.lines("started")) and (self.folder / TRAINER_PID).exists()

        await eventually(started, timeout_s=40, what="the trainer has started")

    async def is_done(self) -> dict[str, Any]:
        await eventually((self.folder / DONE).exists, timeout_s=40, what="the supervisor is done")
        assert read_json(self.folder / DONE) is not None
        exit_report = read_json(self.folder / EXIT)
        assert exit_report is not None
        return exit_report

    async def exit_events(self) -> list[ProcessExited]:
        return [e.data for e in once(await events_of(self.world, JOB_ID)) if isinstance(e.data, ProcessExited)]


@pytest_asyncio.fixture
async def run(migrated_world: World) -> AsyncIterator[Supervised]:
    folder = migrated_world.folder / "runs" / f"job-{JOB_ID}" / "attempt-1"
    folder.mkdir(parents=True)
    supervised = Supervised(migrated_world, folder)
    try:
        yield supervised
    finally:
        for process in supervised.supervisors:
            process.kill()
            process.wait()
        for name in (TRAINER_PID, RECORDER_PID):
            mark = read_mark(folder / name)
            if mark is not None:
                mark.send(signal.SIGKILL)


async def test_a_run_ends_with_its_exit_code_and_every_session_closed(run: Supervised) -> None:
    run.write_script("until_released")
    run.supervise()
    await run.has_started()
    (run.folder / "release").touch()
    ended = await run.is_done()
    assert (ended["exit_code"], ended["signal"]) == (0, None)
    assert [(d.exit_code, d.pid, d.reason) for d in await run.exit_events()] == [(0, ended["pid"], None)]
    events = await events_of(run.world, JOB_ID)
    assert unbroken(events)
    opened = {event.session for event in events if isinstance(event.data, SessionOpened)}
    closed = {event.data.session for event in events if isinstance(event.data, SessionClosed)}
    assert opened == closed and len(opened) == 2
    assert not list((run.world.folder / "spool").glob("job-*/*/session.json")), "nothing is left in the spool"


async def test_a_trainer_that_does_not_heed_is_killed_with_its_workers_after_the_grace_period(run: Supervised) -> None:
    run.write_script("deaf", grace_s=1.0)
    supervisor = run.supervise()
    await run.has_started()
    supervisor.terminate()
    ended = await run.is_done()
    assert (ended["exit_code"], ended["signal"]) == (None, "SIGKILL")
    assert run.lines("signals") == [str(int(signal.SIGTERM))], "asked first, and once"
    (worker,) = run.lines("workers")
    assert start_time_of(int(worker)) is None
    assert [data.signal for data in await run.exit_events()] == ["SIGKILL"]


async def test_a_request_to_stop_outlives_the_supervisor_that_got_it(run: Supervised) -> None:
    run.write_script("deaf", grace_s=4.0)
    run.supervise()
    await run.has_started()
    ask_to_stop(run.folder)
    await eventually(lambda: run.lines("signals") != [], what="the trainer was asked")
    run.kill_supervisor()
    assert run.mark(TRAINER_PID).alive()
    run.supervise()
    ended = await run.is_done()
    assert ended["signal"] == "SIGKILL"
    # A second SIGTERM would end a trainer that is busy writing its last checkpoint.
    assert len(run.lines("signals")) == 1


async def test_a_request_to_stop_before_the_trainer_is_there_reaches_it(run: Supervised) -> None:
    run.write_script("until_stopped")
    ask_to_stop(run.folder)
    run.supervise()
    ended = await run.is_done()
    # It came while Python was starting, so before anybody in the trainer could listen; or after, then it ended well.
    assert (ended["exit_code"], ended["signal"]) in [(0, None), (None, "SIGTERM")]
    stop = read_json(run.folder / STOP)
    assert stop is not None and "told_at" in stop and "killed_at" not in stop


async def test_a_trainer_that_heeds_ends_by_itself(run: Supervised) -> None:
    run.write_script("until_stopped")
    run.supervise()
    await run.has_started()
    await eventually(lambda: len(list((run.world.folder / "spool").glob("job-*/*"))) > 0, what="the SDK listens")
    run.supervisors[-1].terminate()
    ended = await run.is_done()
    assert ended["exit_code"] == 0
    assert any(isinstance(event.data, JobStopped) for event in await events_of(run.world, JOB_ID))


async def test_supervisors_one_after_the_other_and_at_once_have_one_trainer(run: Supervised) -> None:
    run.write_script("until_released")
    first = [run.supervise() for _ in range(4)]
    await run.has_started()
    await eventually(lambda: sum(p.poll() is not None for p in first) == 3, what="one supervisor is left")
    assert sorted(process.poll() or 0 for process in first) == [0, 3, 3, 3]
    os.kill(run.mark(SUPERVISOR_PID).pid, signal.SIGKILL)
    await eventually(lambda: all(p.poll() is not None for p in first), what="the last supervisor is gone")
    assert run.mark(TRAINER_PID).alive()
    run.supervise()
    (run.folder / "release").touch()
    assert (await run.is_done())["exit_code"] == 0
    assert len(run.lines("started")) == 1
    assert len(await run.exit_events()) == 1
    completed = [e for e in once(await events_of(run.world, JOB_ID)) if isinstance(e.data, JobCompleted)]
    assert len(completed) == 1


async def test_recorders_at_once_start_one_trainer_and_none_starts_it_again(run: Supervised) -> None:
    run.write_script("leaves_a_worker")
    variables = {"JOB_ID": str(JOB_ID), "TRAINING_ATTEMPT": "1"}
    arguments = ("-m", "trainers.recorder", str(run.folder))
    recorders = [run.world.start(*arguments, log="recorder", **variables) for _ in range(5)]
    codes = sorted(process.wait(60) for process in recorders)
    assert codes == [0, 4, 4, 4, 4]
    assert run.world.start(*arguments, log="recorder", **variables).wait(60) == 4
    # Even when everything that was written down is gone but that it was started.
    (run.folder / EXIT).unlink()
    assert run.world.start(*arguments, log="recorder", **variables).wait(60) == 4
    assert len(run.lines("started")) == 1


async def test_what_a_trainer_leaves_in_its_group_ends_with_it(run: Supervised) -> None:
    run.write_script("leaves_a_worker")
    run.supervise()
    assert (await run.is_done())["exit_code"] == 0
    (worker,) = run.lines("workers")
    await eventually(lambda: start_time_of(int(worker)) is None, what="the worker is gone")


async def test_a_trainer_that_breaks_says_why(run: Supervised) -> None:
    run.write_script("broken")
    run.supervise()
    assert (await run.is_done())["exit_code"] == 1
    said = "ModuleNotFoundError: No module named 'my_package'"
    assert [(data.exit_code, data.reason) for data in await run.exit_events()] == [(1, said)]


async def test_a_trainer_that_cannot_be_started_says_why(run: Supervised) -> None:
    run.write_run("/nowhere/python")
    run.supervise()
    ended = await run.is_done()
    assert ended["exit_code"] == 127
    (data,) = await run.exit_events()
    assert data.exit_code == 127 and "/nowhere/python" in (data.reason or "")


async def test_without_a_recorder_the_end_is_said_to_be_unknown(run: Supervised) -> None:
    run.write_script("until_released")
    run.supervise()
    await run.has_started()
    os.kill(run.mark(RECORDER_PID).pid, signal.SIGKILL)
    trainer = run.mark(TRAINER_PID)
    assert trainer.alive(), "the trainer goes on"
    (run.folder / "release").touch()
    await eventually((run.folder / DONE).exists, timeout_s=40, what="the supervisor is done")
    assert not trainer.alive()
    (data,) = await run.exit_events()
    assert data.signal == "UNKNOWN" and "not known" in (data.reason or "")
    assert any(isinstance(event.data, JobCompleted) for event in await events_of(run.world, JOB_ID))
