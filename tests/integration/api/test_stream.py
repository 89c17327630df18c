"""The stream of a job's events, driven directly: pages of it meet without a seam, whatever the broker's clock does."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio

from api.context import Context
from api.jobs.stream import Stand, _texts
from api.jobs.trail import Filters
from api.live.hub import Hub
from events.envelope import Record
from events.types.jobs import JobDescribed
from producers.database import open_pool
from producers.errors import Invalid
from tests.builders import NOON, event, job_created, metrics_reported, record
from tests.given import apply_all
from tests.services import World
from training_sdk.wire import JOB_TOPICS, JOBS, METRICS

ALL = Filters(topics=JOB_TOPICS)


@pytest_asyncio.fixture
async def context(migrated_world: World) -> AsyncIterator[Context]:
    pool = await open_pool(migrated_world.database_url, size_max=3)
    parts: dict[str, Any] = {field.name: None for field in dataclasses.fields(Context)}
    yield Context(**{**parts, "pool": pool, "hub": Hub(pool)})
    await pool.close()


def logged(milliseconds: list[int], topic: str) -> list[Record]:
    """One event a time, in log order."""
    records = []
    for offset, moment in enumerate(milliseconds):
        fact = job_created() if offset == 0 else JobDescribed(name=str(offset), requested_by="ann")
        happened = event(fact if topic == JOBS else metrics_reported({"loss": [1.0]}), seq=offset + 1)
        taken = NOON + timedelta(milliseconds=moment)
        records.append(record(happened, offset=offset, timestamp_ms=int(taken.timestamp() * 1000)))
    return records


async def told(context: Context, stand: Stand, count: int) -> tuple[list[str], Stand]:
    """Positions that a client is told, and where it stands then."""
    found: list[str] = []
    async with aclosing(_texts(context, 25, ALL, stand)) as texts:
        async for text in texts:
            if text.startswith(b"id: "):
                identity, data = text.decode().strip().split("\n")
                stand = Stand.decode(identity.removeprefix("id: "))
                found.append(orjson.loads(data.removeprefix("data: "))["position"].replace("/9/", "/"))
                if len(found) == count:
                    break
    return found, stand


async def test_topics_are_merged_by_time_but_never_against_their_log_order(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.jobs.stream.ROWS_AT_ONCE", 2)
    # The clock of the topic's broker is set back twice.
    await apply_all(context.pool, logged([0, 30, 10, 40, 5, 60], JOBS))
    await apply_all(context.pool, logged([20, 21, 22, 50, 51], METRICS))
    whole, _ = await told(context, Stand(), 11)
    for topic, count in ((JOBS, 6), (METRICS, 5)):
        assert [one for one in whole if one.startswith(topic)] == [f"{topic}/{offset}" for offset in range(count)]
    assert whole.index(f"{METRICS}/2") < whole.index(f"{JOBS}/1") < whole.index(f"{METRICS}/3")
    for cut in range(1, 11):
        first, stand = await told(context, Stand(), cut)
        rest, _ = await told(context, stand, 11 - cut)
        assert sorted(first + rest) == sorted(whole), f"cut after {cut}"


async def test_what_is_committed_late_on_one_topic_is_told_nevertheless(context: Context) -> None:
    await apply_all(context.pool, logged([0, 10, 20], JOBS))
    first, stand = await told(context, Stand(), 3)
    # The read model of the other topic was behind: its events are older than what was told.
    await apply_all(context.pool, logged([1, 2], METRICS))
    rest, _ = await told(context, stand, 2)
    assert (len(first), rest) == (3, [f"{METRICS}/0", f"{METRICS}/1"])


async def test_a_quiet_stream_says_that_it_lives_and_leaves_nothing_behind(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.jobs.stream.HEARTBEAT_INTERVAL_S", 0.05)
    await apply_all(context.pool, logged([0], JOBS))
    async with aclosing(_texts(context, 25, ALL, Stand())) as texts:
        heard = [await anext(texts) for _ in range(3)]
        assert context.hub.listeners == 1 and context.hub.wants(25)
    assert heard[0] == b"retry: 1000\n\n" and heard[1].startswith(b"id: 1.0.0.0\n")
    assert heard[2] == b": the connection lives\n\n"
    assert context.hub.listeners == 0 and not context.hub.wants(25)


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.x", "1.2.3.-1", "1.2.3.4.5", "9" * 40 + ".0.0.0", "١.0.0.0"])
def test_what_is_no_id_of_the_stream_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not the id"):
        Stand.decode(text)
