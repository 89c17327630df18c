from __future__ import annotations

from io import StringIO

from rich.console import Console

from stack.demo.display import Display
from stack.demo.follow import Followed, fold, socket_url


def test_frames_fold_into_what_the_bar_shows() -> None:
    followed = Followed()
    frames = [
        {"type": "snapshot", "data": {"job": {"status": "pending"}}, "cursor": "a"},
        {"type": "job_status", "data": {"status": "running", "state": "running"}, "cursor": "b"},
        {"type": "progress", "data": {"epoch": 3, "total": 40, "phase": "train", "eta_seconds": 70}},
        {"type": "metrics", "data": {"phase": "train", "values": {"loss": [1.9, 1.5], "lr": [0.1, None]}}},
        {"type": "metrics", "data": {"phase": "val", "values": {"mAP50": [0.7], "mAP50-95": ["NaN"], "loss": [9.0]}}},
        {"type": "metrics", "data": {"phase": "val", "values": {"mAP50": [0.6]}}, "cursor": "c"},
        {"type": "log", "data": {"level": "INFO", "message": "quiet"}},
        {"type": "log", "data": {"level": "ERROR", "message": "loud"}},
        {"type": "gap", "data": {}},
    ]
    for frame in frames:
        fold(followed, frame, received_at=10.0)
    assert (followed.epoch, followed.total_epochs, followed.eta_s) == (3, 40, 70.0)
    assert (followed.loss, followed.map50, followed.best_map50) == (1.5, 0.6, 0.7)
    assert followed.cursor == "c" and followed.gaps == 1 and followed.points == 7
    assert list(followed.notes) == ["ERROR: loud"]
    assert not followed.ended
    fold(followed, {"type": "job_status", "data": {"status": "completed"}}, received_at=11.0)
    assert followed.ended


def test_latency_is_receipt_minus_the_events_own_time_and_counts_live_events_only() -> None:
    followed = Followed(live_since=1_764_000_000.0)
    old = {"type": "progress", "data": {"epoch": 1}, "time": "2025-11-24T15:59:59Z"}
    new = {"type": "progress", "data": {"epoch": 2}, "time": "2025-11-24T16:00:01.500000Z"}
    fold(followed, old, received_at=1_764_000_001.6)
    fold(followed, new, received_at=1_764_000_001.6)
    fold(followed, {"type": "gap", "data": {}}, received_at=1_764_000_002.0)
    assert [round(latency, 6) for latency in followed.latencies_s] == [0.1]


def test_a_reconnect_names_the_cursor_unchanged() -> None:
    assert (
        socket_url("http://127.0.0.1:8000/api/v1", 7, None)
        == "ws://127.0.0.1:8000/api/v1/ws/training?job_id=7&protocol=2"
    )
    assert socket_url("https://host/api/v1/", 7, "a/b=").endswith(
        "/api/v1/ws/training?job_id=7&protocol=2&after=a%2Fb%3D"
    )


def test_without_a_terminal_there_is_a_line_per_change_and_every_note_once() -> None:
    output = StringIO()
    followed = Followed()
    with Display(Console(file=output, width=120, force_terminal=False)) as display:
        display.show(followed)
        fold(followed, {"type": "progress", "data": {"epoch": 1, "total": 40}}, 0.0)
        fold(followed, {"type": "log", "data": {"level": "WARNING", "message": "slow disk"}}, 0.0)
        display.show(followed)
        display.show(followed)
    lines = output.getvalue().splitlines()
    assert [line.strip() for line in lines] == ["pending", "WARNING: slow disk", "pending, epoch 1 of 40"]
