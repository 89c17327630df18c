"""``python -m stack`` as a person uses it, with Postgres as the one service."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from stack.keeper import read_state
from stack.ports import port_is_free
from stack.processes import Mark, start_time
from stack.settings import Settings
from tests.services import ROOT
from tests.waiting import eventually


def stack(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_up_down_ps_and_env_and_each_of_them_twice(own_environment: dict[str, str]) -> None:
    settings = Settings.from_env(own_environment)
    port = settings.ports["postgres"]
    assert stack(own_environment, "down").stdout == "nothing was running\n"
    first = stack(own_environment, "up", "postgres")
    assert (first.returncode, first.stdout) == (0, "postgres: running\nready\n"), first.stderr
    again = stack(own_environment, "up", "postgres")
    assert (again.returncode, again.stdout) == (0, "postgres: running\nready (was up already)\n"), again.stderr

    (row,) = [json.loads(line) for line in stack(own_environment, "ps").stdout.splitlines()]
    assert (row["name"], row["port"], row["restarts"], row["state"]) == ("postgres", port, 0, "running")
    assert start_time(row["pid"]) is not None
    assert "ready to accept connections" in Path(row["log"]).read_text()

    words = [shlex.split(line) for line in stack(own_environment, "env").stdout.splitlines()]
    assert {word for word, _ in words} == {"export"}
    given = dict(text.split("=", 1) for _, text in words)
    assert given == settings.client_environment()
    assert given["PYTHON"] == sys.executable

    other = stack(own_environment, "up", "s3")
    assert other.returncode == 1
    assert "the stack was started without s3; stop it first" in other.stderr
    refused = stack(own_environment, "clean-data")
    assert (refused.returncode, refused.stderr) == (1, "the stack is running; stop it first: make down\n")

    assert stack(own_environment, "down").stdout == "stopped\n"
    assert stack(own_environment, "down").stdout == "nothing was running\n"
    assert stack(own_environment, "ps").stdout == ""
    assert start_time(row["pid"]) is None
    assert port_is_free(port)
    stack(own_environment, "clean-data")
    assert not settings.data_dir.exists()


async def test_after_a_kill_of_the_keeper_the_next_up_starts_clean_and_keeps_the_data(
    own_environment: dict[str, str],
) -> None:
    settings = Settings.from_env(own_environment)
    assert stack(own_environment, "up", "postgres").returncode == 0
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    state = read_state(settings)
    assert state is not None
    os.kill(Mark(**state["keeper"]).pid, signal.SIGKILL)
    await eventually(lambda: read_state(settings) is None, what="the keeper is gone")
    # A client holds on: a polite shutdown would wait for it for ever.
    up = stack(own_environment, "up", "postgres")
    assert up.returncode == 0, up.stderr
    assert "the last keeper was killed" in up.stdout
    await connection.close(timeout=5)
    assert start_time(state["marks"]["postgres"]["pid"]) is None
    connection = await asyncpg.connect(settings.database_url)
    assert await connection.fetchval("SELECT answer FROM kept") == 42
    await connection.close()


def test_down_after_a_kill_of_the_keeper_leaves_nothing_running(own_environment: dict[str, str]) -> None:
    settings = Settings.from_env(own_environment)
    assert stack(own_environment, "up", "postgres").returncode == 0
    state = read_state(settings)
    assert state is not None
    os.kill(Mark(**state["keeper"]).pid, signal.SIGKILL)
    assert stack(own_environment, "down").returncode == 0
    assert start_time(state["marks"]["postgres"]["pid"]) is None
    assert port_is_free(settings.ports["postgres"])


def test_a_taken_port_is_refused_before_anything_starts(own_environment: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(own_environment["EPOCHLOG_POSTGRES_PORT"])))
        other.listen()
        refused = stack(own_environment, "up", "postgres")
    assert refused.returncode == 1
    assert "is taken; set EPOCHLOG_POSTGRES_PORT to another one" in refused.stderr
    assert read_state(Settings.from_env(own_environment)) is None


@pytest.mark.parametrize("named", [("redis",), ("postgres", "redis")])
def test_an_unknown_service_is_refused(own_environment: dict[str, str], named: tuple[str, ...]) -> None:
    refused = stack(own_environment, "up", *named)
    assert refused.returncode == 1
    assert "no service is called redis; there are kafka" in refused.stderr
