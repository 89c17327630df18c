"""Training by several processes, started here or by torchrun; each is a *rank*, and rank 0 speaks for all.

What rank 0 decides (the data set's folder, a stop) it shares with the others, so that none waits for one that left.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from trainers.configuration import InvalidConfig
from trainers.failures import error_code_of, message_of
from trainers.processes import die_with_parent, mark_of, read_json, read_mark, write_json, write_mark
from trainers.timm.config import Devices

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")

POLL_INTERVAL_S: Final = 0.2
COLLECTIVE_TIMEOUT: Final = timedelta(hours=3)
"""How long a rank waits for the others; they wait for rank 0 while it fetches the data set."""
OTHERS_WORD_S: Final = 3.0
"""How long rank 0, cut off from another one, waits for that one's own word."""
OTHERS_END_S: Final = 90.0
"""How long the others may take to end when one has failed: rank 0 ships its reports. On GPUs they may hang instead."""
RANK_0_PID: Final = "rank-0.pid"
FAILED: Final = "rank-{}-failed.json"


class RanksHung(RuntimeError):
    """Rank 0 said nothing and did not end, though another rank had failed."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place: rank ``rank`` of ``count``, computing on ``device``."""

    rank: int
    count: int
    device: torch.device

    @property
    def speaks(self) -> bool:
        """Whether this process reports, writes and uploads for the run."""
        return self.rank == 0

    def share(self, value: Value) -> Value:
        """Rank 0's value, on every rank."""
        if self.count == 1:
            return value
        import torch

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over all ranks, on every rank."""
        return self.sum(value) / self.count

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        if self.count == 1:
            return value
        import torch

        total = value.clone()
        torch.distributed.all_reduce(total)
        return total


def under_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    return "RANK" in environment and "WORLD_SIZE" in environment


def choose_devices(asked: Devices | None) -> Devices:
    """What is asked for, else the first GPU, else the CPU. Raises InvalidConfig for a GPU that is not there."""
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked is None:
        return Devices("cuda" if there else "cpu", (0,))
    missing = [index for index in asked.indices if index >= there] if asked.kind == "cuda" else []
    if missing:
        wanted = ", ".join(str(index) for index in missing)
        raise InvalidConfig(f"config.device: there is no GPU {wanted} here, {there} in all; cpu trains without")
    return asked


def start_ranks(count: int, output: Path) -> int:
    """Run this trainer ``count`` times, with torchrun's variables, and return rank 0's exit code.

    In this process's group, unlike torchrun's: limits count them and a kill of the group reaches them. SIGTERM is
    passed on to rank 0 alone, which lets all end together. Where rank 0 was killed, the code is what a shell makes of
    it, and nothing is reported: that is judged from the exit, as of any process. Raises RanksHung.
    """
    asked: list[float] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(time.monotonic()))
    for left in (output / RANK_0_PID, *output.glob(FAILED.format("*"))):
        left.unlink(missing_ok=True)
    ranks = [
        subprocess.Popen([sys.executable, "-m", "trainers.timm.train"], env={**os.environ, **variables})
        for variables in rank_variables(count)
    ]
    try:
        failed_at, passed_on = None, False
        while any(rank.poll() is None for rank in ranks):
            mark = read_mark(output / RANK_0_PID) if asked and not passed_on else None
            passed_on = passed_on or (mark is not None and mark.send(signal.SIGTERM))
            if failed_at is None and any(rank.returncode for rank in ranks):
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > OTHERS_END_S:
                break
            time.sleep(POLL_INTERVAL_S)
    finally:
        hung = ranks[0].poll() is None
        for rank in ranks:
            rank.kill()
            rank.wait()
        signal.signal(signal.SIGTERM, previous)
    if hung:
        raise RanksHung(f"rank 0 did not end within {OTHERS_END_S:.0f} s of the failure of another one")
    code = ranks[0].returncode
    if code < 0:
        print(f"rank 0 was ended by {signal.Signals(-code).name}", file=sys.stderr)
    return code if code >= 0 else 128 - code


def rank_variables(count: int) -> list[dict[str, str]]:
    """What torchrun would set for each rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def join(devices: Devices, output: Path) -> Ranks:
    """Become one of the ranks that were started, or the only one. Raises InvalidConfig."""
    import torch

    if not under_torchrun():
        return Ranks(0, 1, device_of(devices, 0))
    rank, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    die_with_parent()
    if count > 1 and len(devices.indices) not in (1, count):
        raise InvalidConfig(f"config.device names {len(devices.indices)} devices for {count} processes")
    if rank == 0:
        own = mark_of(os.getpid())
        assert own is not None
        write_mark(output / RANK_0_PID, own)
    device = device_of(devices, local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=COLLECTIVE_TIMEOUT)
    return Ranks(rank, count, device)


def device_of(devices: Devices, local_rank: int) -> torch.device:
    import torch

    if devices.kind == "cpu":
        return torch.device("cpu")
    index = devices.indices[local_rank] if local_rank < len(devices.indices) else local_rank
    return torch.device("cuda", index)


def leave() -> None:
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def note_failure(output: Path, error: BaseException) -> None:
    """A rank that may not report leaves word for the one that does."""
    path = output / FAILED.format(os.environ["RANK"])
    write_json(path, {"code": error_code_of(error), "message": message_of(error)})


def failure_of_another(output: Path, error: BaseException) -> tuple[str, str] | None:
    """Error code and message of a rank that failed first. Rank 0 only sees that a connection broke, if anything."""
    several = under_torchrun() and int(os.environ["WORLD_SIZE"]) > 1
    if not several and not isinstance(error, RanksHung):
        return None
    deadline = time.monotonic() + OTHERS_WORD_S
    while True:
        for path in sorted(output.glob(FAILED.format("*"))):
            if found := read_json(path):
                rank = path.name.split("-")[1]
                return str(found["code"]), f"rank {rank}: {found['message']}"
        if time.monotonic() > deadline:
            return None
        time.sleep(POLL_INTERVAL_S)
