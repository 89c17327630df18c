from __future__ import annotations

from typing import Any

import orjson

from events.codec import parse_data
from events.types.metrics import MetricsReported
from training_sdk import wire
from training_sdk.delivery.packer import CELLS_MAX, DATA_BYTES_MAX, POINTS_MAX, clean_text, pack, utc_text


def metrics(step: int, values: dict[str, Any], phase: Any = "train", epoch: Any = 1) -> list[Any]:
    return ["m", 1_700_000_000.0 + step, epoch, phase, step, values]


def test_calls_of_one_phase_become_one_event_of_columns() -> None:
    packed = pack([metrics(0, {"loss": 0.5}), metrics(1, {"loss": 0.25, "lr": 0.1}), metrics(2, {"lr": 0.2})])
    assert [draft.type for draft in packed.drafts] == [wire.METRICS_REPORTED]
    assert orjson.loads(packed.drafts[0].data) == {
        "phase": "train",
        "steps": [0, 1, 2],
        "epochs": [1, 1, 1],
        "times": [1_700_000_000.0, 1_700_000_001.0, 1_700_000_002.0],
        "values": {"loss": [0.5, 0.25, None], "lr": [None, 0.1, 0.2]},
    }
    assert packed.problems == []


def test_each_phase_has_an_event_of_its_own() -> None:
    packed = pack([metrics(0, {"a": 1}), metrics(0, {"b": 2}, phase="val"), metrics(1, {"a": 3})])
    assert [orjson.loads(draft.data)["phase"] for draft in packed.drafts] == ["train", "val"]
    assert orjson.loads(packed.drafts[0].data)["values"] == {"a": [1, 3]}


def test_no_event_has_more_points_or_cells_or_bytes_than_the_contract_allows() -> None:
    calls = [metrics(step, {f"m{name}": step * 1.123456789 for name in range(step % 500 + 1)}) for step in range(2_500)]
    packed = pack(calls)
    points = 0
    for draft in packed.drafts:
        assert len(draft.data) <= DATA_BYTES_MAX < wire.RECORD_BYTES_MAX
        data = parse_data(draft.type, draft.topic, draft.data)
        assert isinstance(data, MetricsReported)
        assert len(data.times) <= POINTS_MAX
        assert len(data.times) == 1 or len(data.times) * len(data.values) <= CELLS_MAX
        points += sum(value is not None for column in data.values.values() for value in column)
    assert points == sum(len(call[5]) for call in calls)
    assert packed.problems == []


def test_a_bad_value_is_left_out_and_named_and_its_neighbours_stay() -> None:
    packed = pack(
        [metrics(0, {"loss": 0.5, "flag": True, "text": "high", "list": [1], "none": None, "inf": "Infinity"})]
    )
    assert orjson.loads(packed.drafts[0].data)["values"] == {"loss": [0.5], "inf": ["Infinity"]}
    assert len(packed.problems) == 3
    assert "'flag' is True" in packed.problems[0]


def test_bad_step_epoch_and_phase_never_make_an_event_that_readers_refuse() -> None:
    calls = [
        metrics(0, {"a": 1}, epoch="five"),
        ["m", 1.0, 1, "train", 2**60, {"a": 1}],
        metrics(0, {"a": 1}, epoch=2.5),
        metrics(0, {"a": 1}, phase=7),
        metrics(0, {"bell\x07": 1, "": 2}),
        metrics(0, {"n" * 400: 1}),
        ["m", 1.0, 1, "train", 1, [1, 2]],
    ]
    packed = pack(calls)
    for draft in packed.drafts:
        parse_data(draft.type, draft.topic, draft.data)
    assert sum(len(orjson.loads(draft.data)["times"]) for draft in packed.drafts) == 6
    assert len(packed.problems) == 5


def test_step_and_epoch_that_were_not_given_are_null() -> None:
    packed = pack([["m", 1.0, -1, "val", -1, {"a": 1}]])
    data = orjson.loads(packed.drafts[0].data)
    assert data["steps"] == [None] and data["epochs"] == [None]


def test_log_lines_are_one_event_and_valid() -> None:
    packed = pack([["l", 1.0, "INFO", "one", "trainer", {"epoch": 1}], ["l", 2.0, "ERROR", "two\x00", "sdk", None]])
    assert len(packed.drafts) == 1
    parse_data(packed.drafts[0].type, packed.drafts[0].topic, packed.drafts[0].data)
    lines = orjson.loads(packed.drafts[0].data)["lines"]
    assert [line["message"] for line in lines] == ["one", "two"]
    assert lines[0]["metadata"] == {"epoch": 1} and "metadata" not in lines[1]


def test_many_long_lines_are_split_below_the_record_limit() -> None:
    packed = pack([["l", 1.0, "INFO", "é" * 16_000, "trainer", None] for _ in range(200)])
    assert all(len(draft.data) <= DATA_BYTES_MAX for draft in packed.drafts)
    assert sum(len(orjson.loads(draft.data)["lines"]) for draft in packed.drafts) == 200


def test_progress_drawn_with_carriage_returns_keeps_its_last_state() -> None:
    assert clean_text("  10%\r  50%\r 100%\nnext\r\nlast\r") == " 100%\nnext\nlast"


def test_a_long_message_is_cut_and_says_so() -> None:
    assert clean_text("x" * 20_000) == "x" * 16_384 + " ... [3616 characters cut]"


def test_lifecycle_events_keep_the_order_of_calls() -> None:
    calls: list[list[Any]] = [
        ["e", 1.0, wire.JOBS, wire.JOB_STARTED, {"pid": 1}, {}],
        ["e", 2.0, wire.JOBS, wire.JOB_COMPLETED, {}, {"after_uploads": True}],
    ]
    drafts = pack(calls).drafts
    assert [draft.type for draft in drafts] == [wire.JOB_STARTED, wire.JOB_COMPLETED]
    assert [draft.after_uploads for draft in drafts] == [False, True]


def test_times_are_rfc_3339_in_utc_with_microseconds() -> None:
    assert utc_text(1_763_634_600.123456) == "2025-11-20T10:30:00.123456Z"
