"""Dead letters: sent again after the cause is mended they count once; what was done with them a rebuild keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio

from events.envelope import Position, Record
from events.types.checkpoints import CheckpointSaved
from events.types.vocabulary import Fact
from producers.database import Pool, open_pool, transaction
from producers.dead_letter_queries import LetterFilter, count_open
from producers.dead_letters import Letter, Outcome, discard, find, place_text, redrive
from producers.kafka.publisher import KafkaPublisher
from producers.relay import Relay
from projections.registry import CORE, of_process, projection_named
from projections.runtime.apply import apply_batch
from projections.runtime.build import bring_up_to_date
from projections.runtime.ceiling import BAD_IN_A_ROW_MAX
from projections.runtime.replay import read_topic
from tests.builders import event, record, session_opened
from tests.services import World
from training_sdk.wire import DEAD_LETTER, JOBS, REDRIVEN_FROM

REFUSE = "ALTER TABLE training_checkpoints ADD CONSTRAINT refuse CHECK (epoch <> 7)"
MEND = "ALTER TABLE training_checkpoints DROP CONSTRAINT refuse"
BY = {"by": "ann", "reason": "the table was mended"}


class Log:
    """A world's log, read models that are brought up to its end when told so, and an operator."""

    def __init__(self, world: World, pool: Pool, publisher: KafkaPublisher) -> None:
        self.world, self.pool, self.publisher = world, pool, publisher

    async def append(self, facts: Sequence[Fact], first_seq: int = 1) -> list[Position]:
        made = [event(fact, topic=JOBS, seq=seq) for seq, fact in enumerate(facts, start=first_seq)]
        return await self.publisher.append([record(one, offset=-1) for one in made])

    async def follow(self) -> None:
        """The relay sends what waits, and every read model of core is brought to the log's end."""
        await Relay(self.pool, self.world.database_url, self.publisher).step()
        for projection in of_process(CORE):
            for batch in await self.read(projection.topic):
                await apply_batch(self.pool, projection, batch)

    async def read(self, topic: str) -> list[list[Record]]:
        source = read_topic(self.world.kafka_bootstrap_servers, self.world.topic_prefix, topic)
        return [batch async for batch in source]

    async def letters(self, **wanted: Any) -> list[Letter]:
        async with transaction(self.pool, readonly=True) as tx:
            found, total = await find(tx, LetterFilter(**wanted), 100)
        assert total == len(found)
        return found

    async def open_ones(self) -> dict[str, int]:
        async with transaction(self.pool, readonly=True) as tx:
            return await count_open(tx)

    async def redrive(self, *places: Position, force: bool = False) -> Outcome:
        return await redrive(self.pool, self.publisher, places, **BY, now=datetime.now(UTC), force=force)

    async def execute(self, statement: str) -> None:
        async with transaction(self.pool) as tx:
            await tx.execute(statement)

    async def epochs(self) -> list[int]:
        async with transaction(self.pool, readonly=True) as tx:
            return [row["epoch"] for row in await tx.fetch("SELECT epoch FROM training_checkpoints ORDER BY epoch")]


@pytest_asyncio.fixture
async def log(migrated_world: World) -> AsyncIterator[Log]:
    pool = await open_pool(migrated_world.database_url, size_max=6)
    publisher = KafkaPublisher(migrated_world.kafka_bootstrap_servers, migrated_world.topic_prefix)
    yield Log(migrated_world, pool, publisher)
    await publisher.close()
    await pool.close()


def saved(*epochs: int) -> list[Fact]:
    return [session_opened(), *(CheckpointSaved(epoch=epoch, checkpoint_path="s3://b/c") for epoch in epochs)]


async def test_a_record_counts_once_however_often_it_is_sent_again(log: Log) -> None:
    await log.execute(REFUSE)
    place = (await log.append(saved(6, 7, 8)))[2]
    await log.follow()
    (letter,) = await log.letters()
    assert (letter.record.position, letter.status, letter.open_in) == (place, "open", ["checkpoints"])
    assert "refuse" in letter.standings[0].reason and letter.standings[0].applied is False
    original = (await log.read(JOBS))[0][2]
    assert (letter.record.key, letter.record.value) == (original.key, original.value)
    assert list(letter.record.headers) == list(original.headers)
    assert await log.epochs() == [6, 8] and await log.open_ones() == {"checkpoints": 1}

    # Before anything is mended: it is bad again, and that is seen.
    assert (await log.redrive(place)).done == [place]
    assert await log.open_ones() == {}, "decided, though the log has the decision later"
    await log.follow()
    copy, first = await log.letters()
    assert (first.status, first.bad_again_at) == ("redriven", (copy.record.position,))
    assert copy.status == "open" and dict(copy.record.headers)[REDRIVEN_FROM] == place_text(place).encode()
    assert await log.open_ones() == {"checkpoints": 1}

    await log.execute(MEND)
    for _ in range(2):
        assert (await log.redrive(place, copy.record.position)).done == [place, copy.record.position]
        await log.follow()
        assert await log.epochs() == [6, 7, 8] and await log.open_ones() == {}
    assert {letter.status for letter in await log.letters()} == {"redriven"}
    assert all(letter.standings[0].applied for letter in await log.letters())
    assert [action.by for action in (await log.letters())[1].actions] == ["ann"] * 3
    async with transaction(log.pool, readonly=True) as tx:
        rows = await tx.fetch("SELECT high, gaps FROM checkpoints_session_marks")
        assert [(row["high"], row["gaps"]) for row in rows] == [(4, [])], "the gap of its session is filled"
        # The other read models of the topic had the record all the time.
        assert await tx.fetchval("SELECT count(*) FROM job_events") == 4

    # Each was a fact, and is remembered by whoever builds the read model anew.
    before = [(letter.status, letter.actions) for letter in await log.letters()]
    newer = replace(projection_named("dead-letters"), version=projection_named("dead-letters").version + 1)
    servers, prefix = log.world.kafka_bootstrap_servers, log.world.topic_prefix
    assert await bring_up_to_date(log.pool, newer, servers, prefix) is not None
    assert [(letter.status, letter.actions) for letter in await log.letters()] == before
    facts = [dict(one.headers)["ce_type"] for batch in await log.read(DEAD_LETTER) for one in batch]
    assert facts.count(b"training.deadletter.redriven.v1") == 5


async def test_what_cannot_be_read_is_left_unless_somebody_insists_and_can_be_given_up(log: Log) -> None:
    # Kafka has headers without a value, which its client's types do not know.
    odd: Any = [("x", b"\xff"), ("empty", None)]
    (place,) = await log.publisher.append([replace(record(event(session_opened()), offset=-1), headers=odd)])
    await log.follow()
    (letter,) = await log.letters(reason="NOT TEXT")
    assert sorted(letter.open_in) == ["artifacts", "checkpoints", "jobs"]
    assert list(letter.record.headers) == odd
    assert {standing.applied for standing in letter.standings} == {None}
    outcome = await log.redrive(place)
    assert outcome.done == [] and "this code cannot read it either" in outcome.skipped[0][1]
    assert (await log.redrive(place, force=True)).done == [place]
    await log.follow()
    copy = (await log.letters(status="open"))[0].record.position
    assert copy.offset > place.offset
    await discard(log.pool, [copy], by="ann", reason="a test record", now=datetime.now(UTC))
    await log.follow()
    assert await log.open_ones() == {}
    (given_up,) = await log.letters(status="discarded", read_model="jobs")
    assert {(action.action, action.reason) for action in given_up.actions} == {("discarded", "a test record")}
    assert {action.read_model for action in given_up.actions} == {"artifacts", "checkpoints", "jobs"}


async def test_sending_many_again_before_the_fix_does_not_stop_the_line(log: Log) -> None:
    bad = replace(record(event(session_opened()), offset=-1), headers=[])
    places = await log.publisher.append([bad] * BAD_IN_A_ROW_MAX)
    await log.follow()
    assert len((await log.redrive(*places, force=True)).done) == BAD_IN_A_ROW_MAX
    await log.follow()
    assert len(await log.letters(status="open", read_model="jobs")) == BAD_IN_A_ROW_MAX


async def test_two_who_send_again_at_once_do_no_harm(log: Log) -> None:
    await log.execute(REFUSE)
    place = (await log.append(saved(7)))[1]
    await log.follow()
    await log.execute(MEND)
    outcomes = await asyncio.gather(*(log.redrive(place) for _ in range(3)))
    assert [outcome.done for outcome in outcomes] == [[place]] * 3
    await log.follow()
    assert await log.epochs() == [7] and await log.open_ones() == {}


async def test_what_is_not_there_is_not_sent(log: Log) -> None:
    assert (await log.redrive(Position(JOBS, 3, 99))).done == []
    assert await log.read(JOBS) == []
