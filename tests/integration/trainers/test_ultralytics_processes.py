"""Ultralytics on two ranks: its own launcher, its callbacks handed over, gloo in place of what GPUs use. Real Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # written in C++

from events.envelope import Event
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import JobFailed, JobStarted, JobStopped, ProgressReported
from events.types.logs import LogWritten
from events.types.metrics import MetricsReported
from events.types.system import SystemSampled
from events.types.vocabulary import Fact
from tests.integration.sdk.reading import events_of, once, steps_of
from tests.integration.trainers.test_ultralytics import TIMEOUT_S, attempt
from tests.services import World
from tests.waiting import eventually
from trainers.failures import error_code_of
from trainers.processes import mark_of

TWO_GPUS = {"device": "0,1", "epochs": 4}

pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)


def lines(events: list[Event[Fact]]) -> list[str]:
    return [line.message for event in events if isinstance(event.data, LogWritten) for line in event.data.lines]


def ranks_of(events: list[Event[Fact]], kind: type[Fact]) -> set[int]:
    return {event.rank for event in events if isinstance(event.data, kind)}


@pytest.mark.full
async def test_rank_0_speaks_for_both_and_the_parent_passes_a_stop_on(migrated_world: World) -> None:
    done = await attempt(migrated_world, "two_ranks", "sigterm_to_the_parent_in_epoch_2", config=TWO_GPUS)
    events = once(await events_of(migrated_world))
    assert done.code == 0, f"{lines(events)}\n{done.output[-6_000:]}"
    # Rank 0 saw six of the twelve pictures, in batches of three: both together make the six that were asked for.
    assert [step for step in steps_of(events) if step is not None] == [1, 2, 3, 4]
    validated = [
        event.data for event in events if isinstance(event.data, MetricsReported) and event.data.phase == "val"
    ]
    assert [epoch for data in validated for epoch in data.epochs] == [1, 2]
    for kind in (MetricsReported, ProgressReported, CheckpointSaved, JobStarted, JobStopped, LogWritten):
        assert ranks_of(events, kind) == {0}, kind
    assert ranks_of(events, SystemSampled) == {0, 1}
    # The parent's own last word, with what rank 0 knows.
    [stopped] = [event.data for event in events if isinstance(event.data, JobStopped)]
    assert stopped.stopped_at_epoch == 2
    assert stopped.training_results is not None
    assert (stopped.training_results.total_epochs, stopped.training_results.best_epoch) == (2, 1)
    assert any(line == "Stopped after epoch 2: SIGTERM" for line in lines(events))


@pytest.mark.full
async def test_what_a_rank_dies_of_is_what_the_run_failed_of(migrated_world: World) -> None:
    done = await attempt(migrated_world, "two_ranks", "rank_1_runs_out_of_memory", config=TWO_GPUS)
    events = once(await events_of(migrated_world))
    [failed] = [event.data for event in events if isinstance(event.data, JobFailed)]
    assert (done.code, failed.error_code, failed.last_successful_epoch) == (1, "OOM", 1)
    assert "rank 1: OutOfMemoryError: CUDA out of memory" in failed.error_message


@pytest.mark.full
async def test_no_rank_outlives_its_run(migrated_world: World) -> None:
    """They lead sessions of their own, where a signal to the run's process group does not reach them."""
    folder = migrated_world.folder / "attempt-1"
    config = {**TWO_GPUS, "epochs": 1_000}
    running = asyncio.create_task(attempt(migrated_world, "two_ranks", "each_rank_says_its_pid", config=config))
    pids = [folder / f"rank-{rank}.pid" for rank in range(2)]
    await eventually(lambda: all(path.exists() for path in pids), timeout_s=TIMEOUT_S, what="both ranks train")
    marks = [mark_of(int(path.read_text())) for path in pids]
    os.killpg(int((folder / "trainer.pid").read_text()), signal.SIGKILL)
    await eventually(lambda: not any(mark and mark.alive() for mark in marks), timeout_s=20, what="both are gone")
    assert (await running).code == -signal.SIGKILL


def test_a_rank_that_never_comes_is_a_timeout() -> None:
    with pytest.raises(RuntimeError) as caught:
        TCPStore("127.0.0.1", 0, world_size=2, is_master=True, timeout=timedelta(seconds=1))
    assert error_code_of(caught.value) == "TIMEOUT", caught.value
