from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.codec import MalformedEvent, decode, encode, parse_data
from events.envelope import Event
from events.types.metrics import MetricsReported
from events.types.vocabulary import Fact
from tests.builders import event, job_created, job_started, log_written, metrics_reported, record
from training_sdk.wire import METRICS

numbers = st.one_of(st.none(), st.floats(allow_nan=False))


@given(st.dictionaries(st.sampled_from(["loss", "lr", "mAP50"]), st.lists(numbers, min_size=3, max_size=3), min_size=1))
def test_metrics_survive_the_way_through_the_log(values: dict[str, list[float | None]]) -> None:
    sent = event(metrics_reported(values))
    assert decode(record(sent, offset=7)).data == sent.data


def test_non_finite_numbers_survive_the_way_through_the_log() -> None:
    sent = event(metrics_reported({"loss": [math.nan, math.inf, -math.inf]}))
    wire_event = encode(sent)
    assert b'"values":{"loss":["NaN","Infinity","-Infinity"]}' in wire_event.data
    read = decode(record(sent, offset=0)).data
    assert isinstance(read, MetricsReported)
    column = read.values["loss"]
    assert column[0] is not None and math.isnan(column[0])
    assert column[1:] == [math.inf, -math.inf]


def test_a_bare_nan_token_is_read_but_text_that_says_nan_is_left_alone() -> None:
    bare = b'{"phase":"train","steps":[1],"epochs":[1],"times":[1.0],"values":{"loss":[NaN]}}'
    data = parse_data("training.metrics.reported.v1", METRICS, bare)
    assert isinstance(data, MetricsReported)
    assert math.isnan(data.values["loss"][0] or 0.0)


@pytest.mark.parametrize("data", [job_created(), job_started(), log_written("one", "two")])
def test_an_event_reads_back_as_it_was_written(data: Fact) -> None:
    sent: Event[Fact] = event(data)
    read = decode(record(sent, offset=3))
    assert (read.data, read.time, read.session, read.seq, read.job_id) == (data, sent.time, sent.session, 1, 25)
    assert read.position is not None and read.position.offset == 3


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not valid"),
        (b'{"phase":"train","steps":[1,2],"epochs":[1],"times":[1],"values":{}}', "'steps' has 2 rows, times has 1"),
        (b'{"phase":"train","steps":[1],"epochs":[1],"times":[1],"values":{"loss":["1.5"]}}', "not '1.5'"),
        (b'{"phase":"train","steps":[1],"epochs":[1],"times":[1],"values":{"loss":[true]}}', "not bool"),
        (b'{"phase":"train","steps":[-1],"epochs":[1],"times":[1],"values":{}}', "greater than or equal to 0"),
    ],
)
def test_a_malformed_value_is_named(value: bytes, reason: str) -> None:
    good = record(event(metrics_reported({"loss": [1.0]})), offset=0)
    with pytest.raises(MalformedEvent, match=reason.replace("[", r"\[")):
        decode(replace(good, value=value))


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("ce_seq", b"0", "ce_seq is '0'"),
        ("ce_seq", b"one", "ce_seq is 'one'"),
        ("ce_id", b"another", "ce_id is 'another'"),
        ("ce_type", b"training.metrics.reported.v99", "is not known"),
        ("ce_type", b"training.job.started.v1", "does not belong on topic training.metrics"),
        ("ce_time", b"yesterday", "is not RFC 3339"),
        ("ce_subject", b"26", "the key is '25'"),
        ("ce_specversion", b"0.3", "wanted '1.0'"),
        ("ce_source", b"\xff", "is not text"),
    ],
)
def test_a_wrong_header_is_named(header: str, value: bytes, reason: str) -> None:
    good = record(event(metrics_reported({"loss": [1.0]})), offset=0)
    headers = [(name, value if name == header else kept) for name, kept in good.headers]
    with pytest.raises(MalformedEvent, match=reason):
        decode(replace(good, headers=headers))
    missing = [pair for pair in good.headers if pair[0] != header]
    with pytest.raises(MalformedEvent, match=f"{header} is missing"):
        decode(replace(good, headers=missing))


def test_tombstones_and_foreign_keys_are_no_events() -> None:
    good = record(event(metrics_reported({"loss": [1.0]})), offset=0)
    with pytest.raises(MalformedEvent, match="no value"):
        decode(replace(good, value=None))
    with pytest.raises(MalformedEvent, match="no key"):
        decode(replace(good, key=None))
    with pytest.raises(MalformedEvent, match="the key is 'job-25'"):
        decode(replace(good, key=b"job-25"))
