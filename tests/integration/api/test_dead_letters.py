"""Dead letters over HTTP and in the terminal: one list, the original bytes, who did what with them and why."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from events.envelope import Record
from producers.dead_letters import place_text
from producers.kafka.publisher import KafkaPublisher
from tests.running import Running
from tests.waiting import eventually
from training_sdk.wire import METRICS, partition_of

LETTERS = "operations/dead-letters"
VALUE = b'{"phase": "train", "rows": "\xff"}'


@pytest_asyncio.fixture
async def parked(running: Running, client: httpx.AsyncClient, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A record of the test's own that no version of the code can read, as the list shows it."""
    key = str(abs(hash(request.node.name)) % 10**9)
    headers = [("ce_type", b"training.metrics.reported.v1"), ("ce_session", b"ab" * 16), ("ce_seq", b"7")]
    bad = Record(
        topic=METRICS,
        partition=partition_of(key.encode()),
        offset=-1,
        timestamp_ms=-1,
        key=key.encode(),
        headers=headers,
        value=VALUE,
    )
    publisher = KafkaPublisher(running.world.kafka_bootstrap_servers, running.world.topic_prefix)
    (place,) = await publisher.append([bad])
    await publisher.close()

    async def found() -> dict[str, Any] | None:
        listed = (await client.get(LETTERS, params={"topic": METRICS})).json()["dead_letters"]
        return next((one for one in listed if one["position"] == place_text(place)), None)

    letter: dict[str, Any] = await eventually(found, what="the record is a dead letter")
    return letter


async def test_one_is_shown_with_its_original_bytes(client: httpx.AsyncClient, parked: dict[str, Any]) -> None:
    assert (parked["status"], parked["type"], parked["seq"]) == ("open", "training.metrics.reported.v1", "7")
    assert [(one["read_model"], one["status"]) for one in parked["read_models"]] == [("metrics", "open")]
    assert "ce_specversion" in parked["read_models"][0]["reason"]
    whole = (await client.get(f"{LETTERS}/metrics/{parked['position']}")).json()
    assert base64.b64decode(whole["value"]["base64"]) == VALUE and whole["value"]["text"] is None
    assert whole["key_bytes"]["text"] == parked["key"]
    first, *_ = whole["headers"]
    assert (first["name"], first["value"]["text"]) == ("ce_type", parked["type"])
    assert whole["actions"] == []
    for elsewhere in (f"jobs/{parked['position']}", f"metrics/{METRICS}/{parked['partition']}/99999"):
        assert (await client.get(f"{LETTERS}/{elsewhere}")).status_code == 404
        assert (await client.post(f"{LETTERS}/{elsewhere}/redrive", json={})).status_code == 404


async def test_the_list_is_filtered_and_paged(client: httpx.AsyncClient, parked: dict[str, Any]) -> None:
    async def page(**params: Any) -> dict[str, Any]:
        answer = await client.get(LETTERS, params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    everything = await page()
    assert everything["total"] == len(everything["dead_letters"]) >= 1
    assert (await page(reason="CE_SPECVERSION", read_model="metrics"))["total"] >= 1
    assert (await page(reason="no such reason"))["total"] == 0
    assert (await page(read_model="jobs"))["total"] == 0
    first = await page(limit=1)
    assert len(first["dead_letters"]) == 1 and first["total"] == everything["total"]
    assert await page(offset=everything["total"]) == {"dead_letters": [], "total": everything["total"]}
    assert (await client.get(LETTERS, params={"status": "lost"})).status_code == 422


async def test_sent_again_and_given_up_with_a_word_in_the_log(
    running: Running, client: httpx.AsyncClient, parked: dict[str, Any]
) -> None:
    address = f"{LETTERS}/metrics/{parked['position']}"
    left = (await client.post(f"{address}/redrive", json={"by": "ann"})).json()
    assert left["done"] == [] and left["skipped"][0]["position"] == parked["position"]
    sent = (await client.post(f"{address}/redrive", json={"by": "ann", "reason": "a try", "force": True})).json()
    assert sent == {"done": [parked["position"]], "skipped": [], "remaining": 0}

    async def again() -> list[str]:
        return list((await client.get(address)).json()["bad_again_at"])

    (copy,) = await eventually(again, what="the copy is a dead letter")
    whole = (await client.get(address)).json()
    assert (whole["status"], whole["actions"][0]["by"], whole["actions"][0]["reason"]) == ("redriven", "ann", "a try")
    assert (await client.get(f"{LETTERS}/metrics/{copy}")).json()["redriven_from"] == parked["position"]
    assert (await client.post(f"{LETTERS}/metrics/{copy}/discard", json={"by": "ann"})).status_code == 422
    assert (await client.post(f"{LETTERS}/metrics/{copy}/discard", json={"reason": "a test"})).status_code == 200
    assert (await client.get(f"{LETTERS}/metrics/{copy}")).json()["status"] == "discarded"


async def test_a_misspelt_filter_changes_nothing(client: httpx.AsyncClient, parked: dict[str, Any]) -> None:
    answer = await client.post(f"{LETTERS}/discard", json={"reason": "all", "readmodel": "jobs"})
    assert answer.status_code == 422
    answer = await client.post(f"{LETTERS}/discard", json={"reason": "all", "read_model": "jobs"})
    assert answer.json() == {"done": [], "skipped": [], "remaining": 0}
    many = (await client.post(f"{LETTERS}/redrive", json={"reason_contains": "ce_specversion"})).json()
    assert many["done"] == [] and parked["position"] in [one["position"] for one in many["skipped"]]
    answer = await client.post(f"{LETTERS}/discard", json={"reason": "all", "read_model": "metrics"})
    assert parked["position"] in answer.json()["done"]


async def test_the_terminal_does_the_same(running: Running, client: httpx.AsyncClient, parked: dict[str, Any]) -> None:
    async def verb(*arguments: str) -> str:
        return await asyncio.to_thread(running.world.run, "-m", "projections", "dead-letters", *arguments)

    place = parked["position"]
    (line,) = [line for line in (await verb("list", "--status", "open")).splitlines() if line.startswith(place)]
    assert line.split("\t")[1:3] == ["metrics", "open"]
    shown = await verb("show", "metrics", place)
    assert f"value        {VALUE!r}" in shown and "header       ce_seq: 7" in shown
    await verb("redrive", place, "--force", "--by", "bob", "--why", "to see")
    await verb("discard", "--all", "--read-model", "metrics", "--why", "a test", "--by", "bob")
    after = await verb("show", "metrics", place)
    assert "redriven by bob: to see" in after
    with pytest.raises(AssertionError, match="no read model has a dead letter"):
        await verb("discard", f"{METRICS}/0/99999", "--why", "x")
    assert orjson.loads((await client.get("../../readyz")).content)["projections"]["metrics"]["lag"] is not None
