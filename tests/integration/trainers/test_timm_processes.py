"""The timm trainer as processes of its own: two ranks under torchrun, and the signals that reach them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.digit_pictures import write_digit_pictures
from tests.integration.trainers.timm_runs import environment
from tests.services import ADDRESSES, ROOT
from tests.waiting import eventually
from trainers.processes import read_mark
from trainers.timm.ranks import RANK_0_PID
from trainers.timm.train import CHECKPOINT
from training_sdk import RunSettings, wire
from training_sdk.sync import sync
from training_sdk.testing import RecordingTransport

START_TIMEOUT_S = 90.0
TRAINER = ["-m", "trainers.timm.train"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def start(arguments: list[str], folder: Path, **basic: Any) -> subprocess.Popen[bytes]:
    """Three classes with seven pictures each in val: no even number, so one rank has more of them."""
    data = write_digit_pictures(folder / "data", classes=3, train=8, val=7)
    kept = {name: value for name, value in os.environ.items() if name not in ADDRESSES}
    given = environment(data, folder, "test_resnet", basic, {})
    with (folder / "trainer.log").open("wb") as log:
        return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env={**kept, **given}, stdout=log, stderr=log)


async def ended(process: subprocess.Popen[bytes], folder: Path) -> tuple[int, RecordingTransport]:
    """Its exit code, and what its processes left in the spool: there was nobody to send it to."""
    try:
        code = await asyncio.to_thread(process.wait, START_TIMEOUT_S)
    finally:
        process.kill()
    log = RecordingTransport()
    settings = RunSettings.from_env({"EPOCHLOG_SPOOL_DIR": str(folder / "spool")})
    report = await asyncio.to_thread(sync, folder / "spool", settings=settings, transport=log)
    assert report.left == {}, report
    return code, log


async def trains(folder: Path) -> None:
    checkpoint = folder / "output" / CHECKPOINT
    await eventually(checkpoint.exists, timeout_s=START_TIMEOUT_S, what=f"a checkpoint, {folder / 'trainer.log'}")


@pytest.mark.timeout(START_TIMEOUT_S * 2)
async def test_two_ranks_report_once_count_each_picture_once_and_stop_together(tmp_path: Path) -> None:
    process = start(TRAINER, tmp_path, device="cpu:2", epochs=500)
    await trains(tmp_path)
    process.send_signal(signal.SIGTERM)
    code, log = await ended(process, tmp_path)
    assert code == 0, (tmp_path / "trainer.log").read_text()

    types = {rank: Counter(event.type for event in log.events if event.rank == rank) for rank in (0, 1)}
    assert types[0][wire.JOB_STARTED] == types[0][wire.JOB_STOPPED] == 1
    assert set(types[1]) <= {wire.SESSION_OPENED, wire.SESSION_CLOSED, wire.SYSTEM_SAMPLED, wire.HEARTBEAT_SENT}
    assert types[1][wire.SYSTEM_SAMPLED] >= 1
    (stopped,) = log.data(wire.JOB_STOPPED)
    assert 1 <= stopped["stopped_at_epoch"] < 500
    # 24 pictures, eight a step for both: three steps an epoch.
    points = [data for data in log.data(wire.METRICS_REPORTED) if data["phase"] == "train"]
    steps = [step for data in points for step in data["steps"] if step is not None]
    assert steps == list(range(1, 3 * stopped["stopped_at_epoch"] + 1))
    for data in log.data(wire.METRICS_REPORTED):
        for accuracy in data["values"].get("accuracy", []):
            assert accuracy * 21 == pytest.approx(round(accuracy * 21)), "21 pictures, each counted once"


@pytest.mark.timeout(START_TIMEOUT_S * 2)
async def test_what_another_rank_died_of_is_what_is_reported(tmp_path: Path) -> None:
    process = start([*TORCHRUN, "-m", "tests.integration.trainers.timm_failing_rank"], tmp_path, device="cpu")
    code, log = await ended(process, tmp_path)
    assert code != 0
    (failed,) = log.data(wire.JOB_FAILED)
    assert failed["error_code"] == "OOM" and failed["error_message"].startswith("rank 1: RuntimeError")


@pytest.mark.full
@pytest.mark.timeout(START_TIMEOUT_S * 2)
async def test_ranks_are_in_the_runs_group_and_a_kill_9_of_rank_0_looks_like_one_of_the_trainer(tmp_path: Path) -> None:
    process = start(TRAINER, tmp_path, device="cpu:2", epochs=500)
    await trains(tmp_path)
    rank_0 = read_mark(tmp_path / "output" / RANK_0_PID)
    assert rank_0 is not None and os.getpgid(rank_0.pid) == os.getpgid(process.pid)
    rank_0.send(signal.SIGKILL)
    code, log = await ended(process, tmp_path)
    assert code == 128 + signal.SIGKILL
    assert log.data(wire.JOB_FAILED) == [], "it is judged from the exit"
    assert (tmp_path / "trainer.log").read_text().splitlines()[-1] == "rank 0 was ended by SIGKILL"


@pytest.mark.full
@pytest.mark.timeout(START_TIMEOUT_S * 2)
async def test_kill_9_of_the_one_process_that_is_known_leaves_none_of_the_others(tmp_path: Path) -> None:
    process = start(TRAINER, tmp_path, device="cpu:2", epochs=500)
    await trains(tmp_path)
    rank_0 = read_mark(tmp_path / "output" / RANK_0_PID)
    assert rank_0 is not None and rank_0.alive()
    process.kill()
    process.wait()
    await eventually(lambda: not rank_0.alive(), what="rank 0 is gone")
