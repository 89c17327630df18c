"""A secret of a trainer: in its environment, and nowhere else that somebody could read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.codec import data_bytes
from events.job import Job
from stack.processes import stop_runs
from tests.builders import NOON
from tests.integration.sdk.reading import events_of
from tests.services import World
from tests.waiting import eventually
from trainers.launcher.local import LocalProcesses
from trainers.launcher.settings import Settings
from trainers.processes import read_mark
from trainers.recorder import RECORDER_PID, STDERR, TRAINER_PID
from trainers.supervisor import DONE, SUPERVISOR_PID

TOKEN = "hf_Tr0ub4dorAnd3"


@pytest.mark.parametrize("dies", [False, True], ids=["reports its end", "dies of an error"])
async def test_a_secret_is_in_no_event_no_file_and_no_process_list(migrated_world: World, dies: bool) -> None:
    settings = Settings.from_env(
        migrated_world.environment(
            EPOCHLOG_TRAINERS='{"telltale": "tests.integration.trainers.telltale"}',
            EPOCHLOG_TRAINER_VARIABLES="HF_TOKEN",
            HF_TOKEN=TOKEN,
        )
    )
    given = {"id": 25, "created_at": NOON, "model_name": "m", "framework": "telltale", "task_type": "detection"}
    backend = LocalProcesses(settings)
    folder = backend.start(Job.model_validate({**given, "dataset_id": 1}), 1).folder
    try:
        await eventually((folder / "output" / "started").exists, timeout_s=40, what="the trainer has started")
        marks = [read_mark(folder / name) for name in (SUPERVISOR_PID, RECORDER_PID, TRAINER_PID)]
        for mark in marks:
            assert mark is not None
            process = Path("/proc") / str(mark.pid)
            assert TOKEN.encode() in (process / "environ").read_bytes(), "the trainer needs it"
            arguments = (process / "cmdline").read_bytes()
            for secret in (TOKEN, settings.s3_secret_key, migrated_world.database_url):
                assert secret.encode() not in arguments
        if dies:
            (folder / "output" / "die").touch()
        (folder / "output" / "release").touch()
        commands: set[bytes] = set()

        def is_done() -> bool:
            commands.update(command_lines())
            return (folder / DONE).exists()

        await eventually(is_done, timeout_s=40, what="the supervisor is done")
        assert not any(TOKEN.encode() in command for command in commands)
    finally:
        await asyncio.to_thread(stop_runs, migrated_world.folder)
        # Looking waits for children that have ended.
        assert backend.runs() == []
    written = b"\n".join(data_bytes(event.data) for event in await events_of(migrated_world, 25))
    assert b"the token is ***" in written and b"Bearer ***" in written
    assert (b"login with *** fai" if dies else b"https://me:***@example.com/") in written
    assert TOKEN[:6].encode() not in written, "nor a part of it, where a long text was cut"
    for path in migrated_world.folder.rglob("*"):
        # Its last words are its own: they stay in this file.
        if path.is_file() and path != folder / STDERR:
            assert TOKEN.encode() not in path.read_bytes(), path


def command_lines() -> Iterator[bytes]:
    """Of every process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_bytes()
