from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

import training_sdk
from tests.waiting import eventually
from training_sdk import TrainerSDK, wire
from training_sdk.settings import RunSettings
from training_sdk.sync import sync
from training_sdk.testing import RecordingTransport


def settings(folder: Path, **changes: Any) -> RunSettings:
    return RunSettings(**{"job_id": 25, "spool_dir": folder, "data_dir": folder, **changes})


def test_public_names_are_pinned() -> None:
    assert training_sdk.__all__ == [
        "ApiError",
        "CheckpointNotUsable",
        "DatasetNotFound",
        "Job",
        "RunSettings",
        "SettingsError",
        "TrainerSDK",
        "create_job",
        "find_jobs",
        "get_job",
    ]
    for name in training_sdk.__all__:
        assert getattr(training_sdk, name).__name__ == name


def test_a_run_is_reported_from_start_to_end(tmp_path: Path) -> None:
    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path), transport=transport) as sdk:
        sdk.report_started({"name": "GPU"}, total_epochs=2)
        for step in range(100):
            sdk.report_metrics(1, "train", {"loss": 1.0 / (step + 1)}, step=step)
        sdk.report_progress(1, 2, "train", eta_seconds=3.5)
        sdk.report_metrics(1, "val", {"mAP50": 0.5})
        sdk.log_info("epoch done", epoch=1)
        sdk.report_completed({"total_epochs": 2, "best_epoch": 1, "best_metrics": {"mAP50": 0.5}})
    assert transport.data(wire.JOB_STARTED)[0]["pid"] == os.getpid()
    assert transport.data(wire.PROGRESS_REPORTED) == [
        {"epoch": 1, "total_epochs": 2, "phase": "train", "eta_seconds": 3.5}
    ]
    steps = [step for data in transport.data(wire.METRICS_REPORTED) for step in data["steps"]]
    assert [step for step in steps if step is not None] == list(range(100)) and steps.count(None) == 1
    assert transport.data(wire.LOG_WRITTEN)[0]["lines"][0]["metadata"] == {"epoch": 1}
    assert transport.data(wire.JOB_COMPLETED)[0]["training_results"]["best_metrics"] == {"mAP50": 0.5}
    assert transport.events[-1].type == wire.SESSION_CLOSED and transport.closed
    assert transport.data(wire.SESSION_CLOSED)[0]["closed_by"] == "sdk"
    assert list(tmp_path.iterdir()) == []


def test_every_event_that_is_sent_fits_the_contract(tmp_path: Path) -> None:
    from events.codec import from_wire

    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path), transport=transport) as sdk:
        sdk.report_started([{"index": 0, "name": "GPU", "memory": float("inf"), "thing": object()}])
        sdk.report_metrics(1, "train", {"loss": float("nan")}, step=0)
        sdk.report_progress(1, 2)
        sdk.log("hello", "DEBUG", path=Path("/x"))
        sdk.report_failed("OOM", "x" * 100_000, last_successful_epoch=3)
        sdk.report_stopped(3, training_results={"final_metrics": {"a": float("-inf")}})
        sdk.report_completed({"training_results": {"total_epochs": 2}, "best_checkpoint_path": "s3://b/best.pt"})
    for event in transport.events:
        from_wire(event)
    assert transport.data(wire.JOB_COMPLETED)[0]["best_checkpoint_path"] == "s3://b/best.pt"
    assert transport.data(wire.JOB_STOPPED)[0]["training_results"] == {"final_metrics": {"a": "-Infinity"}}
    assert len(transport.data(wire.JOB_FAILED)[0]["error_message"]) < 17_000


def test_both_orders_of_log_arguments_are_understood(tmp_path: Path) -> None:
    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path), transport=transport) as sdk:
        sdk.log("message first", "WARNING")
        sdk.log("ERROR", "level first")
        sdk.log("ERROR", "INFO")  # both are levels: the order of 6.6.2
        sdk.log("DEBUG")
    lines = [line for data in transport.data(wire.LOG_WRITTEN) for line in data["lines"]]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("WARNING", "message first"),
        ("ERROR", "level first"),
        ("INFO", "ERROR"),
        ("INFO", "DEBUG"),
    ]


def test_bad_arguments_never_raise_and_are_named_once_in_warning_and_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transport = RecordingTransport()
    bad: Any = object()
    with caplog.at_level(logging.WARNING), TrainerSDK(settings(tmp_path), transport=transport) as sdk:
        for _ in range(3):
            sdk.report_metrics(1, "train", 17)  # type: ignore[arg-type]  # the point of the test
            sdk.report_progress("one", None)  # type: ignore[arg-type]  # the point of the test
        sdk.report_metrics(bad, bad, {bad: bad})
        sdk.report_started(bad)
        sdk.report_completed(bad)
        sdk.report_failed(bad, bad, bad)
        sdk.report_stopped(bad, bad, bad, bad)
        sdk.log(bad, bad)
        sdk.callback_failed(bad)
        assert sdk.upload_checkpoint("/nowhere/at/all.pt", True) == "/nowhere/at/all.pt"
    messages = [record.message for record in caplog.records]
    assert sum("metrics is 17" in message for message in messages) == 1
    assert sum("epoch is 'one'" in message for message in messages) == 1
    lines = [line for data in transport.data(wire.LOG_WRITTEN) for line in data["lines"]]
    assert any(line["source"] == "sdk" and "metrics is 17" in line["message"] for line in lines)


def test_a_failure_before_the_start_is_a_wrong_config_and_later_unknown(tmp_path: Path) -> None:
    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path), transport=transport) as sdk:
        sdk.callback_failed("imgsz must be multiple of 32")
        sdk.report_started({})
        sdk.callback_failed("boom")
    assert [data["error_code"] for data in transport.data(wire.JOB_FAILED)] == ["INVALID_CONFIG", "UNKNOWN"]


async def test_the_first_point_of_a_quiet_run_is_sent_without_a_flush(tmp_path: Path) -> None:
    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path), transport=transport) as sdk:
        sdk.report_metrics(1, "train", {"loss": 1.0}, step=0)
        await eventually(lambda: bool(transport.data(wire.METRICS_REPORTED)), timeout_s=5)


def test_with_the_broker_down_close_is_bounded_and_sync_ships_the_rest(tmp_path: Path) -> None:
    transport = RecordingTransport()
    transport.failing = True
    sdk = TrainerSDK(settings(tmp_path), transport=transport)
    for step in range(1000):
        sdk.report_metrics(1, "train", {"loss": 1.0}, step=step)
    sdk.report_completed({})
    assert sdk.close(timeout_s=2.5) is False
    transport.failing = False
    report = sync(tmp_path, transport=transport)
    assert len(report.shipped) == 1 and report.left == {}
    assert list(tmp_path.glob("job-25")) == []
    steps = [step for data in transport.data(wire.METRICS_REPORTED) for step in data["steps"]]
    assert steps == list(range(1000))
    assert transport.events[-1].type == wire.SESSION_CLOSED
    sent = {event.id: event for event in transport.events}
    for attempt in transport.attempts:
        for event in attempt:
            assert sent[event.id] == event  # the same bytes under the same number, whoever sent them


async def test_after_an_outage_all_events_arrive_in_order(tmp_path: Path) -> None:
    transport = RecordingTransport()
    transport.failing = True
    with TrainerSDK(settings(tmp_path), transport=transport) as sdk:
        for step in range(500):
            sdk.report_metrics(1, "train", {"loss": 1.0}, step=step)
        await eventually(lambda: len(transport.attempts) > 1)
        transport.failing = False
        sdk.report_metrics(1, "train", {"loss": 1.0}, step=500)
        await eventually(lambda: sum(len(data["steps"]) for data in transport.data(wire.METRICS_REPORTED)) == 501)
    seqs = [event.seq for event in transport.events if event.topic == wire.METRICS]
    assert seqs == list(range(1, len(seqs) + 1))


def test_without_a_job_or_a_transport_there_is_one_warning_and_a_local_spool(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for changes in ({"job_id": None}, {}):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            sdk = TrainerSDK(settings(tmp_path, **changes))
            for _ in range(3):
                sdk.report_metrics(1, "train", {"loss": 1.0}, step=0)
            sdk.close()
        warnings = [record.message for record in caplog.records]
        assert len(warnings) == 1 and "local spool only" in warnings[0]
    assert len(list(tmp_path.glob("*/*/segment-*.log"))) == 2


def test_a_spool_folder_that_cannot_be_used_does_not_reach_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        sdk = TrainerSDK(settings(tmp_path / "file"))
        sdk.report_metrics(1, "train", {"loss": 1.0})
        sdk.log("hello")
        assert not sdk.should_stop()
        sdk.close()
    assert any("nothing can be reported" in record.message for record in caplog.records)


def test_other_ranks_report_their_machine_only(tmp_path: Path) -> None:
    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path, rank=1), transport=transport) as sdk:
        sdk.report_started({})
        sdk.report_metrics(1, "train", {"loss": 1.0})
        sdk.log("hello")
    assert {event.type for event in transport.events} <= {
        wire.SESSION_OPENED,
        wire.SESSION_CLOSED,
        wire.HEARTBEAT_SENT,
        wire.SYSTEM_SAMPLED,
    }
    assert all(event.rank == 1 for event in transport.events)


async def test_signs_of_life_and_samples_are_sent_without_a_call(tmp_path: Path) -> None:
    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path), transport=transport):
        await eventually(lambda: bool(transport.data(wire.HEARTBEAT_SENT) and transport.data(wire.SYSTEM_SAMPLED)))
    sample = transport.data(wire.SYSTEM_SAMPLED)[0]
    assert 0 < sample["process_memory_bytes"] < sample["memory_used_bytes"] < sample["memory_total_bytes"]


def test_sigterm_asks_the_script_to_stop_and_the_handler_before_is_called(tmp_path: Path) -> None:
    called: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: called.append(number))
    try:
        with TrainerSDK(settings(tmp_path), transport=RecordingTransport()) as sdk:
            assert not sdk.should_stop()
            os.kill(os.getpid(), signal.SIGTERM)
            assert sdk.should_stop() and sdk.stop_reason == "SIGTERM"
            assert called == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
        assert called == [signal.SIGTERM, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_signals_are_left_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def run() -> None:
        with TrainerSDK(settings(tmp_path), transport=RecordingTransport()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def _child_reports(sdk: TrainerSDK, answers: Any) -> None:
    sdk.report_metrics(1, "train", {"loss": 99.0}, step=99)
    sdk.log("from the child")
    answers.put(sdk.close())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_reports_nothing_and_does_not_hold_the_folder(tmp_path: Path) -> None:
    transport = RecordingTransport()
    context = multiprocessing.get_context("fork")
    with TrainerSDK(settings(tmp_path), transport=transport) as sdk:
        sdk.report_metrics(1, "train", {"loss": 1.0}, step=0)
        answers: Any = context.Queue()
        child = context.Process(target=_child_reports, args=(sdk, answers))
        child.start()
        assert answers.get(timeout=20) is False
        child.join()
        sdk.report_metrics(1, "train", {"loss": 1.0}, step=1)
    steps = [step for data in transport.data(wire.METRICS_REPORTED) for step in data["steps"]]
    assert steps == [0, 1] and transport.data(wire.LOG_WRITTEN) == []
    assert list(tmp_path.iterdir()) == []


def test_a_pickled_sdk_is_another_sender_of_the_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"JOB_ID": "31", "EPOCHLOG_SPOOL_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with TrainerSDK(settings(tmp_path), transport=RecordingTransport()) as sdk:
        copy: TrainerSDK = pickle.loads(pickle.dumps(sdk))
        assert copy.job_id == 31 and not list(tmp_path.glob("job-31"))  # nothing is opened before its first report


def test_after_close_calls_do_nothing(tmp_path: Path) -> None:
    transport = RecordingTransport()
    sdk = TrainerSDK(settings(tmp_path), transport=transport)
    sdk.log("one")
    assert sdk.close() is True
    sdk.log("two")
    sdk.report_metrics(1, "train", {"a": 1})
    assert sdk.close() is True
    assert orjson.dumps(transport.data(wire.LOG_WRITTEN)).count(b"message") == 1


def test_leaving_with_an_exception_writes_it_into_the_log(tmp_path: Path) -> None:
    transport = RecordingTransport()

    def script() -> None:
        with TrainerSDK(settings(tmp_path), transport=transport):
            raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError):
        script()
    lines = [line for data in transport.data(wire.LOG_WRITTEN) for line in data["lines"]]
    assert lines[-1]["level"] == "ERROR" and "CUDA out of memory" in lines[-1]["message"]
