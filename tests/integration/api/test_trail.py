"""The audit trail over HTTP: pages both ways, filters, every topic; and as server-sent events, without a seam."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from producers.kafka.publisher import KafkaPublisher
from tests.running import Running, create_job
from tests.waiting import eventually
from training_sdk.wire import JOBS, LOGS, METRICS, SYSTEM, WireEvent


def sent(job_id: int, topic: str, kind: str, seq: int, data: dict[str, Any], version: int = 1) -> dict[str, Any]:
    envelope = {"topic": topic, "key": str(job_id), "type": f"training.{kind}.v{version}"}
    sender = {"source": "/test", "attempt": 1, "rank": 0, "session": f"{job_id:032x}", "seq": seq}
    return {**envelope, **sender, "time": "2026-01-02T12:00:00Z", "data": data}


def points(epoch: int) -> dict[str, Any]:
    return {"phase": "val", "steps": [None], "epochs": [epoch], "times": [1.0], "values": {"mAP50": [epoch / 10]}}


async def post(client: httpx.AsyncClient, job_id: int, *events: dict[str, Any]) -> None:
    answer = await client.post(f"training/jobs/{job_id}/events", json={"events": list(events)})
    assert answer.status_code == 200, answer.text


async def trail(client: httpx.AsyncClient, job_id: int, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"training/jobs/{job_id}/events", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
async def job_id(client: httpx.AsyncClient, dataset_id: int) -> int:
    """A run that early stopping ended, with something on every topic."""
    made = await create_job(client, dataset_id)

    async def created() -> bool:
        return bool((await trail(client, made, type="training.job.created"))["events"])

    # The relay brings the creation to the log, the trainer its own events: either may be first.
    await eventually(created, what="the job's creation is in the log")
    decided = {
        "decision_id": "d",
        "rule": "patience",
        "metric": "val/mAP50",
        "mode": "max",
        "epoch": 3,
        "value": 0.3,
        "best_epoch": 1,
        "best_value": 0.5,
        "reason": "no better for 2 epochs",
        "evidence": [{"epoch": 3, "value": 0.3, "topic": METRICS, "partition": 0, "offset": 9}],
    }
    line = {"level": "INFO", "message": "hello", "timestamp": "2026-01-02T12:00:00Z", "source": "trainer"}
    await post(
        client,
        made,
        *(sent(made, topic, "session.opened", 1, {"sender": "sdk"}, 2) for topic in (JOBS, METRICS, LOGS, SYSTEM)),
        sent(made, JOBS, "job.started", 2, {"pid": 7, "hostname": "box"}),
        *(sent(made, METRICS, "metrics.reported", 1 + epoch, points(epoch)) for epoch in (1, 2, 3)),
        sent(made, LOGS, "log.written", 2, {"lines": [line, line]}),
        sent(made, SYSTEM, "system.sampled", 2, {"cpu_percent": 50.0}),
        sent(made, SYSTEM, "heartbeat.sent", 3, {}),
        sent(made, JOBS, "stop.decided", 3, decided),
        sent(made, JOBS, "job.stopped", 4, {"stopped_at_epoch": 3}),
        sent(made, JOBS, "job.started", 5, {"pid": 8}),
    )

    async def all_there() -> bool:
        return len((await trail(client, made, topic="all"))["events"]) >= 15

    await eventually(all_there, what="every topic's events are in the trail")
    return made


async def test_the_trail_says_who_what_and_what_it_changed(client: httpx.AsyncClient, job_id: int) -> None:
    events = (await trail(client, job_id, source="/test"))["events"]
    assert {event["topic"] for event in events} == {JOBS}
    steps = [(event["type"].split(".", 1)[1], event["state_before"], event["state"]) for event in events]
    assert steps == [
        ("session.opened.v2", "pending", "pending"),
        ("job.started.v1", "pending", "running"),
        ("stop.decided.v1", "running", "stopping"),
        ("job.stopped.v1", "stopping", "stopped"),
        ("job.started.v1", "stopped", "stopped"),
    ]
    decided, stopped, refused = events[2:]
    assert decided["summary"] == (
        "early stopping: patience on val/mAP50 = 0.3 at epoch 3 (best 0.5 at epoch 1): no better for 2 epochs"
    )
    assert decided["data"]["evidence"][0]["offset"] == 9
    assert (stopped["seconds_after_request"], stopped["source"]) == (0.0, "/test")
    assert (refused["ignored_reason"], refused["seconds_after_request"]) == ("the job is stopped already", None)
    created = (await trail(client, job_id))["events"]
    assert "training.job.created.v1" in [event["type"] for event in created]


async def test_every_topic_is_merged_and_what_is_folded_is_summed_up(client: httpx.AsyncClient, job_id: int) -> None:
    events = (await trail(client, job_id, topic="all"))["events"]
    assert {event["topic"] for event in events} == {JOBS, METRICS, LOGS, SYSTEM}
    places = [(event["append_time"], event["topic"], int(event["position"].rsplit("/", 1)[1])) for event in events]
    assert places == sorted(places)
    by_type = {event["type"]: event for event in events}
    assert by_type["training.metrics.reported.v1"]["summary"] == "1 reports of val: mAP50"
    assert by_type["training.log.written.v1"]["summary"] == "2 log lines (2 INFO)"
    assert by_type["training.system.sampled.v1"]["summary"] == "the machine: CPU 50 %, 0 GPUs"
    assert "training.heartbeat.sent.v1" not in by_type
    assert all(event["summary"] for event in events)


async def test_pages_lead_both_ways_and_meet_in_no_event_twice(client: httpx.AsyncClient, job_id: int) -> None:
    whole = [event["position"] for event in (await trail(client, job_id, topic="all"))["events"]]
    forward: list[str] = []
    page = await trail(client, job_id, topic="all", limit=4)
    assert page["previous"] is None
    while True:
        forward += [event["position"] for event in page["events"]]
        if page["next"] is None:
            break
        page = await trail(client, job_id, topic="all", limit=4, after=page["next"])
    assert forward == whole
    backward: list[str] = []
    page = await trail(client, job_id, topic="all", limit=4, before="latest")
    assert page["next"] is None
    while True:
        backward = [event["position"] for event in page["events"]] + backward
        if page["previous"] is None:
            break
        page = await trail(client, job_id, topic="all", limit=4, before=page["previous"])
    assert backward == whole


async def test_what_worked_before_cursors_still_works(client: httpx.AsyncClient, job_id: int) -> None:
    whole = [event["position"] for event in (await trail(client, job_id))["events"]]
    offsets = [int(position.rsplit("/", 1)[1]) for position in whole]
    assert [event["position"] for event in (await trail(client, job_id, after=-1))["events"]] == whole
    assert [event["position"] for event in (await trail(client, job_id, after=offsets[1]))["events"]] == whole[2:]
    one = await trail(client, job_id, type="training.job.stopped.v1")
    assert [event["type"] for event in one["events"]] == ["training.job.stopped.v1"]


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ({"type": "training.stop"}, ["stop.decided"]),
        ({"type": ["training.stop.", "training.job.stopped"]}, ["stop.decided", "job.stopped"]),
        ({"topic": ["metrics", "training.logs"], "type": "training.log"}, ["log.written"]),
        ({"topic": "system", "attempt": 1}, ["session.opened", "system.sampled"]),
        ({"attempt": 2}, []),
        ({"source": "/nobody", "topic": "all"}, []),
        ({"until": "2020-01-01T00:00:00"}, []),
        ({"since": "2020-01-01T00:00:00Z", "type": "training.stop"}, ["stop.decided"]),
        ({"type": "\x00"}, []),
    ],
)
async def test_filters(client: httpx.AsyncClient, job_id: int, query: dict[str, Any], kinds: list[str]) -> None:
    events = (await trail(client, job_id, **query))["events"]
    assert [event["type"].split(".", 1)[1].rsplit(".", 1)[0] for event in events] == kinds


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"topic": "training.models"}, "no topic of jobs is called"),
        ({"after": "nonsense"}, "not the cursor"),
        ({"before": "ÿ"}, "not the cursor"),
        ({"after": "MTAwMA", "before": "latest"}, "not both"),
        ({"limit": 0}, "limit"),
    ],
)
async def test_what_makes_no_page_is_refused(
    client: httpx.AsyncClient, job_id: int, query: dict[str, Any], says: str
) -> None:
    answer = await client.get(f"training/jobs/{job_id}/events", params=query)
    assert (answer.status_code, says in answer.text) == (422, True), answer.text
    stream = await client.get(f"training/jobs/{job_id}/events/stream", params={"after": "1.2"})
    assert (stream.status_code, "not the id" in stream.text) == (422, True)
    assert (await client.get("training/jobs/999999/events/stream")).status_code == 404


class Stream:
    """A client of server-sent events: what an EventSource does."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self.lines = lines
        self.last_id = ""

    async def take(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            async for line in self.lines:
                if line.startswith("id: "):
                    self.last_id = line.removeprefix("id: ")
                if line.startswith("data: "):
                    found.append(orjson.loads(line.removeprefix("data: ")))
                    if len(found) == count:
                        break
        return found


@contextlib.asynccontextmanager
async def streaming(
    client: httpx.AsyncClient, job_id: int, last_id: str | None = None, **query: Any
) -> AsyncIterator[Stream]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    path = f"training/jobs/{job_id}/events/stream"
    async with client.stream("GET", path, params=query, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer.aiter_lines())


async def test_a_stream_tells_what_is_stored_then_what_happens(client: httpx.AsyncClient, job_id: int) -> None:
    stored = (await trail(client, job_id, topic="all"))["events"]
    async with streaming(client, job_id, topic="all") as stream:
        assert await stream.take(len(stored)) == stored
        await post(client, job_id, sent(job_id, METRICS, "metrics.reported", 5, points(4)))
        (live,) = await stream.take(1)
        assert (live["type"], live["data"]["epochs"]) == ("training.metrics.reported.v1", [4, 4])
        assert (await client.patch(f"training/jobs/{job_id}", json={"name": "renamed"})).status_code == 200
        while (live := (await stream.take(1))[0])["type"] != "training.job.described.v1":
            assert live["type"].startswith("training.session.opened"), "the outbox begins to write"
        assert live["data"]["name"] == "renamed"


async def test_a_client_that_comes_again_misses_nothing_and_hears_nothing_twice(
    client: httpx.AsyncClient, job_id: int
) -> None:
    stored = [event["position"] for event in (await trail(client, job_id, topic="all"))["events"]]
    heard: list[str] = []
    last_id: str | None = None
    seq = 5
    for count in (3, 1, 5):
        async with streaming(client, job_id, last_id, topic="all") as stream:
            heard += [event["position"] for event in await stream.take(count)]
            last_id = stream.last_id
        # It happens while nobody listens.
        await post(client, job_id, sent(job_id, METRICS, "metrics.reported", seq, points(seq)))
        seq += 1
    async with streaming(client, job_id, last_id, topic="all") as stream:
        heard += [event["position"] for event in await stream.take(len(stored) + 3 - len(heard))]
    assert len(set(heard)) == len(heard)
    assert set(heard) == {event["position"] for event in (await trail(client, job_id, topic="all"))["events"]}


async def test_a_stream_is_filtered_and_its_end_is_noticed(client: httpx.AsyncClient, job_id: int) -> None:
    async with streaming(client, job_id, type="training.job.stopped") as stream:
        (only,) = await stream.take(1)
        assert only["type"] == "training.job.stopped.v1"
        assert "epochlog_event_streams 1.0" in (await client.get("../../metrics")).text

    async def left() -> bool:
        return "epochlog_event_streams 0.0" in (await client.get("../../metrics")).text

    await eventually(left, what="the API notices that the client left")


async def test_a_record_that_no_event_could_be_read_from_is_in_the_trail_with_what_was_done_about_it(
    running: Running, client: httpx.AsyncClient, job_id: int
) -> None:
    publisher = KafkaPublisher(running.world.kafka_bootstrap_servers, running.world.topic_prefix)
    try:
        broken = sent(job_id, METRICS, "metrics.reported", 9, {})
        message = WireEvent(**{**broken, "data": b"{"})
        (position,) = await publisher.publish([message])
    finally:
        await publisher.close()

    async def parked() -> list[dict[str, Any]]:
        return list((await trail(client, job_id, topic="all", type="unreadable"))["events"])

    (event,) = await eventually(parked, what="the record is in the trail")
    assert event["position"] == f"{METRICS}/{position.partition}/{position.offset}"
    assert "the value is not JSON" in event["summary"] and event["ignored_reason"] == event["data"]["reason"]
    assert (event["session"], event["time"]) == (None, None)
    address = f"operations/dead-letters/metrics/{event['position']}/discard"
    answer = await client.post(address, json={"reason": "junk"})
    assert answer.status_code == 200, answer.text

    async def given_up() -> list[dict[str, Any]]:
        return list((await trail(client, job_id, topic="deadletter"))["events"])

    (event,) = await eventually(given_up, what="what was done is in the trail")
    assert (event["type"], event["summary"]) == ("training.deadletter.discarded.v1", "api gave a dead letter up: junk")


async def test_the_job_is_shown_as_it_was_at_each_event_of_its_trail(client: httpx.AsyncClient, job_id: int) -> None:
    address = f"training/jobs/{job_id}"
    epochs = 0
    created = False
    for event in (await trail(client, job_id, topic=["jobs", "metrics", "logs"]))["events"]:
        created |= event["type"] == "training.job.created.v1"
        query = {"as_of": event["position"]}
        if not created:
            assert (await client.get(address, params=query)).status_code == 404
            continue
        job = (await client.get(address, params=query)).json()
        assert job["as_of"] == event["position"]
        if event["topic"] == JOBS:
            assert job["state"] == event["state"]
        if event["type"] == "training.metrics.reported.v1":
            epochs += 1
            history = (await client.get(f"{address}/metrics", params=query)).json()
            assert [entry["epoch"] for entry in history["epochs"]] == list(range(1, epochs + 1))
    assert epochs == 3
    last = await client.get(address, params={"as_of": event["append_time"]})
    now = await client.get(address)
    # Its sender said no last word: for some seconds readers of the present are shown that it is finishing.
    apart = {"as_of", "integrity", "status", "state", "completed_at", "stopped_at_epoch"}
    assert {key: value for key, value in last.json().items() if key not in apart} == {
        key: value for key, value in now.json().items() if key not in apart
    }
    assert last.headers["Epochlog-As-Of"] == event["append_time"] == last.json()["as_of"]
