"""What a run may use, measured on real processes and files of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from trainers.limits import Limits, Usage, excess_of, folder_bytes, group_memory_bytes, seconds_since_start
from trainers.processes import mark_of


@pytest.mark.parametrize(
    ("given", "usage", "limit", "code"),
    [
        ({"max_seconds": 5}, Usage(5.1), "max_seconds", "TIMEOUT"),
        ({"max_memory_bytes": 100}, Usage(1, memory_bytes=101), "max_memory_bytes", "OOM"),
        ({"max_storage_bytes": 100}, Usage(1, storage_bytes=101), "max_storage_bytes", "STORAGE_LIMIT"),
        ({"max_seconds": 5}, Usage(5.0), None, None),
        ({"max_memory_bytes": 100, "max_storage_bytes": 100}, Usage(1), None, None),
        (None, Usage(10**9, 10**15, 10**15), None, None),
    ],
)
def test_the_limit_that_is_exceeded_is_named(given: Any, usage: Usage, limit: str | None, code: str | None) -> None:
    excess = excess_of(Limits.of(given), usage)
    assert (excess and excess.limit, excess and excess.error_code) == (limit, code)
    if excess is not None:
        assert excess.limit in excess.reason and f"{excess.allowed:.10g}" in excess.reason


def test_what_runs_out_of_memory_is_not_waited_for() -> None:
    excess = excess_of(Limits(max_memory_bytes=1), Usage(0, memory_bytes=2))
    assert excess is not None and excess.grace_s == 0


def test_memory_of_a_group_counts_its_workers_and_nobody_else() -> None:
    grow = "import subprocess, sys; block = bytearray(b'x' * 60_000_000); "
    worker = grow + "print('ready', flush=True); sys.stdin.read()"
    leader = grow + f"worker = subprocess.Popen([sys.executable, '-c', {worker!r}]); worker.wait()"
    process = subprocess.Popen(
        [sys.executable, "-c", leader], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        used = group_memory_bytes(process.pid)
        assert 120_000_000 < used < 250_000_000
    finally:
        process.communicate()
    assert group_memory_bytes(process.pid) == 0


def test_storage_counts_what_files_take_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_bytes(os.urandom(1_000_000))
    (tmp_path / "elsewhere").symlink_to("/usr")
    assert 1_000_000 <= folder_bytes(tmp_path) < 1_200_000


def test_the_age_of_a_process_is_the_same_whoever_asks() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        began = time.monotonic()
        mark = mark_of(process.pid)
        assert mark is not None
        assert abs(seconds_since_start(mark) - (time.monotonic() - began)) < 1.0
    finally:
        process.communicate(b"\n")
