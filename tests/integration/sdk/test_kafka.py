from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from events.types.jobs import JobStopped, ProcessExited
from events.types.sessions import SessionClosed
from producers.kafka.create_topics import create_topics
from tests.integration.sdk.reading import events_of, once, steps_of, unbroken
from tests.services import ROOT, World, free_port
from tests.waiting import eventually
from training_sdk import RunSettings, TrainerSDK, wire
from training_sdk.delivery import kafka
from training_sdk.delivery.kafka import KafkaTransport
from training_sdk.delivery.transport import TransportError
from training_sdk.sync import report_process_exited

SCRIPTS = ["-m", "tests.integration.sdk.scripts"]


@pytest_asyncio.fixture
async def log(world: World) -> World:
    """A world with topics."""
    await create_topics(world.kafka_bootstrap_servers, world.topic_prefix)
    return world


def settings_of(world: World, **extra: str) -> RunSettings:
    return RunSettings.from_env(world.environment(JOB_ID="25", **extra))


async def test_what_is_reported_lies_in_the_log_in_order(log: World) -> None:
    sdk = TrainerSDK(settings_of(log))
    sdk.report_started({})
    for step in range(5_000):
        sdk.report_metrics(1, "train", {"loss": 0.5, "nan": float("nan")}, step=step)
    sdk.log("done")
    sdk.report_completed({"total_epochs": 1})
    assert await asyncio.to_thread(sdk.close)
    events = await events_of(log)
    assert steps_of(events) == list(range(5_000))
    assert unbroken(events) and len(once(events)) == len(events)
    closed = [event.data for event in events if isinstance(event.data, SessionClosed)]
    assert len(closed) == 1
    for topic, last in closed[0].last_seq.items():
        assert max(event.seq or 0 for event in events if event.topic == topic) == last


async def test_every_call_that_returned_before_kill_9_is_in_the_log_after_sync(log: World) -> None:
    process = log.start(*SCRIPTS, "killed", "3000", log="killed", JOB_ID="25")
    assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    spool = log.folder / "spool"
    await asyncio.to_thread(log.run, "-m", "training_sdk", "sync", str(spool), "--closed-by", "supervisor")
    events = once(await events_of(log))
    assert steps_of(events) == list(range(3000))
    assert sum(event.type == wire.JOB_STARTED for event in events) == 1
    assert [e.data.closed_by for e in events if isinstance(e.data, SessionClosed)] == ["supervisor"]
    assert unbroken(events)
    assert list(spool.iterdir()) == []


async def test_two_syncs_at_once_are_harmless(log: World) -> None:
    process = log.start(*SCRIPTS, "killed", "2000", log="killed", JOB_ID="25")
    await asyncio.to_thread(process.wait, 60)
    spool = str(log.folder / "spool")
    await asyncio.gather(*(asyncio.to_thread(log.run, "-m", "training_sdk", "sync", spool) for _ in range(2)))
    events = await events_of(log)
    assert steps_of(once(events)) == list(range(2000)) and unbroken(events)
    assert sum(isinstance(event.data, SessionClosed) for event in once(events)) == 1


async def test_leaving_without_close_sends_everything(log: World) -> None:
    await asyncio.to_thread(log.run, *SCRIPTS, "left_to_exit", "500", JOB_ID="25")
    assert steps_of(await events_of(log)) == list(range(500))


async def test_a_host_name_is_looked_up_even_while_the_interpreter_ends(log: World) -> None:
    address = log.kafka_bootstrap_servers.replace("127.0.0.1", "localhost")
    await asyncio.to_thread(log.run, *SCRIPTS, "left_to_exit", "5", JOB_ID="25", KAFKA_BOOTSTRAP_SERVERS=address)
    assert steps_of(await events_of(log)) == list(range(5))


async def test_sigterm_ends_the_script_in_its_own_time(log: World) -> None:
    ready = log.folder / "ready"
    process = log.start(*SCRIPTS, "until_stopped", str(ready), log="stopped", JOB_ID="25")
    await eventually(ready.exists)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 30) == 0
    events = await events_of(log)
    stopped = [event.data for event in events if isinstance(event.data, JobStopped)]
    assert len(stopped) == 1 and stopped[0].stopped_at_epoch is not None


async def test_with_no_broker_training_goes_on_and_a_later_sync_ships_in_order(log: World) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *SCRIPTS, "left_to_exit", "1000"],
        cwd=ROOT,
        env=log.environment(JOB_ID="25", KAFKA_BOOTSTRAP_SERVERS=nowhere),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0 and "cannot send now" in process.stderr
    down = settings_of(log, KAFKA_BOOTSTRAP_SERVERS=nowhere)
    told = await asyncio.to_thread(lambda: report_process_exited(exit_code=0, settings=down, timeout_s=1))
    assert told is False
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "training_sdk", "sync", str(log.folder / "spool"), "--timeout", "1"],
        env=log.environment(KAFKA_BOOTSTRAP_SERVERS=nowhere),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1 and "left in the spool" in ended.stderr
    await asyncio.to_thread(log.run, "-m", "training_sdk", "sync", str(log.folder / "spool"))
    events = await events_of(log)
    assert steps_of(once(events)) == list(range(1000)) and unbroken(events)
    jobs = [event for event in once(events) if event.topic == wire.JOBS]
    assert isinstance(jobs[-2].data, ProcessExited) and jobs[-1].type == wire.SESSION_CLOSED
    assert jobs[0].session != jobs[-1].session  # the trainer's session came first


async def test_a_producer_that_failed_is_replaced_and_the_same_events_go_out_again(
    log: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "SEND_TIMEOUT_S", 2.0)
    transport = KafkaTransport(log.kafka_bootstrap_servers, log.topic_prefix)
    first, second = log_event(1), log_event(2)
    await transport.send([first])
    poisoned = transport._producer
    assert poisoned is not None
    poisoned._sender.sender_task.cancel()  # nothing will be acknowledged any more
    await poisoned.client.close()
    with pytest.raises(TransportError, match=log.kafka_bootstrap_servers):
        await transport.send([second])
    await transport.send([second])
    assert transport._producer is not poisoned
    await transport.close()
    assert [event.seq for event in await events_of(log)] == [1, 2]


def log_event(seq: int) -> wire.WireEvent:
    return wire.WireEvent(
        topic=wire.LOGS,
        key="25",
        type=wire.LOG_WRITTEN,
        time="2025-11-20T10:30:00.000000Z",
        source="test",
        attempt=1,
        rank=0,
        session="abc",
        seq=seq,
        data=b'{"lines": []}',
    )


async def test_the_end_of_a_process_is_recorded_by_one_command(log: World) -> None:
    await asyncio.to_thread(
        log.run, "-m", "training_sdk", "process-exited", "--signal", "SIGKILL", "--pid", "7", JOB_ID="25"
    )
    events = await events_of(log)
    exited = [event.data for event in events if isinstance(event.data, ProcessExited)]
    assert [(data.signal, data.pid, data.exit_code) for data in exited] == [("SIGKILL", 7, None)]
    assert [event.type for event in events] == [wire.SESSION_OPENED, wire.PROCESS_EXITED, wire.SESSION_CLOSED]


async def test_a_live_session_is_left_to_its_owner(log: World) -> None:
    sdk = TrainerSDK(settings_of(log))
    sdk.log("alive")
    printed = await asyncio.to_thread(log.run, "-m", "training_sdk", "sync", str(log.folder / "spool"))
    assert "1 in use" in printed
    assert await asyncio.to_thread(sdk.close)


@pytest.mark.full
def test_the_sdk_installs_alone(tmp_path: Path) -> None:
    """`pip install ./sdk` in an empty environment, then an import from a folder without our sources."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv/bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", str(ROOT / "sdk")], check=True, timeout=150)
    code = "import training_sdk, training_sdk.client, training_sdk.testing; print(training_sdk.TrainerSDK.__name__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "TrainerSDK"
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) < 25
