"""The fold of early stopping on real Postgres: one decision, however often it is computed, and where it is told."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from events.codec import parse_data
from events.envelope import Event, Record
from events.types.jobs import StopDecided
from events.types.vocabulary import Fact
from producers.database import Pool, search_path, transaction
from producers.decisions import append_decision, decision_id
from producers.kafka.publisher import KafkaPublisher
from projections.early_stop.fold import note_past
from projections.registry import projection_named
from projections.runtime.apply import apply_batch
from projections.runtime.replay import read_topic
from projections.runtime.versions import create_version
from tests.builders import NOON, event, metrics_reported, session_opened, wire
from tests.given import log_of
from tests.services import World
from training_sdk.wire import METRICS, partition_of

SETTINGS = {"metric": "mAP50", "patience": 3}
EARLY_STOP = projection_named("early-stop")
WORSE = (0.1, 0.5, 0.4, 0.4, 0.4, 0.4)


def a_run(
    *values: float, job_id: int = 25, attempt: int = 1, first: int = 1, settings: dict[str, Any] | None = SETTINGS
) -> list[Event[Fact]]:
    """An attempt that trains in steps and validates after each epoch."""
    facts: list[Fact] = [session_opened(early_stopping=settings)]
    for epoch, value in enumerate(values, start=first):
        facts.append(metrics_reported({"loss": [0.5, 0.4], "lr": [0.1, 0.1]}, first_step=2 * epoch, epoch=epoch))
        both: dict[str, list[float | None]] = {"mAP50": [value], "metrics/mAP50(B)": [value]}
        facts.append(metrics_reported(both, phase="val", first_step=None, epoch=epoch))
    session = f"{job_id}{attempt}".ljust(32, "0")
    return [
        event(fact, job_id=job_id, attempt=attempt, session=session, seq=seq, topic=METRICS, time=NOON)
        for seq, fact in enumerate(facts, start=1)
    ]


async def tell(pool: Pool, records: Sequence[Record]) -> None:
    await apply_batch(pool, EARLY_STOP, records, outside=append_decision)


async def decisions(pool: Pool) -> list[dict[str, Any]]:
    async with transaction(pool, readonly=True) as tx:
        return [dict(row) for row in await tx.fetch("SELECT * FROM early_stop_decisions ORDER BY job_id, attempt")]


async def told(pool: Pool) -> list[tuple[int, int, StopDecided]]:
    rows = await pool.fetch("SELECT * FROM write.outbox WHERE type = 'training.stop.decided.v1' ORDER BY id")
    found = []
    for row in rows:
        data = parse_data(row["type"], row["topic"], row["data"])
        assert isinstance(data, StopDecided)
        found.append((row["job_id"], row["attempt"], data))
    return found


async def test_a_decision_says_what_it_rests_on_and_where_that_stands(pool: Pool) -> None:
    log = log_of(a_run(*WORSE))
    await tell(pool, log)
    ((job_id, attempt, decided),) = await told(pool)
    assert (job_id, attempt, decided.decision_id) == (25, 1, decision_id(25, 1, "patience"))
    assert (decided.rule, decided.metric, decided.mode) == ("patience", "val/mAP50", "max")
    assert (decided.epoch, decided.value, decided.best_epoch, decided.best_value) == (5, 0.4, 2, 0.5)
    assert decided.settings["patience"] == 3
    assert [(point.epoch, point.value) for point in decided.evidence] == [(2, 0.5), (3, 0.4), (4, 0.4), (5, 0.4)]
    for point in decided.evidence:
        (at,) = [record for record in log if record.offset == point.offset]
        assert (at.topic, at.partition) == (point.topic, point.partition)
        assert f'"epochs":[{point.epoch}]' in (at.value or b"").decode() and b"mAP50" in (at.value or b"")
    (row,) = await decisions(pool)
    assert (row["log_offset"], row["decided_at"]) == (10, NOON + timedelta(milliseconds=5))
    assert row["decision_id"] == uuid.UUID(decided.decision_id)


@pytest.mark.parametrize("seed", range(4))
async def test_any_cut_and_any_redelivery_tells_the_same_decisions_once(pool: Pool, seed: int) -> None:
    source = random.Random(seed)
    runs = [a_run(*WORSE, job_id=25), a_run(*WORSE, job_id=26), a_run(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, job_id=27)]
    events = [made for together in zip(*runs, strict=True) for made in together]
    # A sender that heard no acknowledgement sends again, under the same numbers and at another place.
    for again in source.sample(events, k=len(events) // 3):
        events.insert(source.randint(events.index(again) + 1, len(events)), again)
    log = log_of(events)
    position = 0
    while position < len(log):
        end = position + source.randint(1, 9)
        await tell(pool, log[max(0, position - source.randint(0, 5)) : end])
        position = end
    await tell(pool, log)
    assert sorted((job_id, decided.epoch) for job_id, _, decided in await told(pool)) == [(25, 5), (26, 5)]
    assert [(row["job_id"], row["rule"]) for row in await decisions(pool)] == [(25, "patience"), (26, "patience")]


async def test_replay_tells_nobody_and_finds_the_same(pool: Pool) -> None:
    log = log_of([*a_run(*WORSE), *a_run(*WORSE, job_id=26)])
    await tell(pool, log)
    before = await told(pool)
    async with pool.acquire() as connection, connection.transaction():
        version = await create_version(connection, EARLY_STOP, state="building")
    for record in log:
        await apply_batch(pool, EARLY_STOP, [record], schema=version.schema_name)
    assert await told(pool) == before and len(before) == 2
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(search_path([version.schema_name]))
        rebuilt = [dict(row) for row in await connection.fetch("SELECT * FROM early_stop_decisions ORDER BY job_id")]
    assert rebuilt == await decisions(pool)


async def test_a_decision_that_was_told_is_not_told_again_by_whoever_computes_it_anew(pool: Pool) -> None:
    log = log_of(a_run(*WORSE))
    await tell(pool, log)
    async with pool.acquire() as connection, connection.transaction():
        version = await create_version(connection, EARLY_STOP, state="building")
    await apply_batch(pool, EARLY_STOP, log, schema=version.schema_name, outside=append_decision)
    assert len(await told(pool)) == 1


async def test_what_the_log_held_before_there_was_early_stopping_stops_nobody(pool: Pool) -> None:
    log = log_of(a_run(*WORSE))
    async with transaction(pool) as tx:
        await note_past(tx, {partition_of(b"25"): 11})
    await tell(pool, log)
    assert await told(pool) == []
    assert len(await decisions(pool)) == 1
    await tell(pool, log_of(a_run(*WORSE, attempt=2), first_offset=len(log)))
    assert [attempt for _, attempt, _ in await told(pool)] == [2]


async def test_a_new_database_on_an_old_log_stops_nobody_again(pool: Pool, migrated_world: World) -> None:
    world = migrated_world
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    try:
        await publisher.publish([wire(made) for made in a_run(*WORSE)])
        async with pool.acquire() as admin:
            await admin.execute("DROP SCHEMA write CASCADE; DROP EXTENSION pg_trgm CASCADE")
            for row in await admin.fetch("SELECT nspname FROM pg_namespace WHERE nspname ~ '_v[0-9]+_[0-9]+$'"):
                await admin.execute(f'DROP SCHEMA "{row["nspname"]}" CASCADE')
        await asyncio.to_thread(world.run, "-m", "projections", "migrate")
        await publisher.publish([wire(made) for made in a_run(*WORSE, attempt=2)])
    finally:
        await publisher.close()
    async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, METRICS):
        await tell(pool, batch)
    assert [(row["attempt"], row["rule"]) for row in await decisions(pool)] == [(1, "patience"), (2, "patience")]
    assert [attempt for _, attempt, _ in await told(pool)] == [2]


async def test_an_attempt_that_goes_on_keeps_its_past_and_an_older_one_is_not_heard(pool: Pool) -> None:
    first, second = a_run(0.1, 0.9, 0.4), a_run(0.4, 0.4, attempt=2, first=4)
    late = a_run(0.1, 0.9, 0.4, 0.99)[-1]
    await tell(pool, log_of([*first, second[0], late, *second[1:]]))
    ((_, attempt, decided),) = await told(pool)
    assert (attempt, decided.epoch, decided.best_epoch, decided.best_value) == (2, 5, 2, 0.9)


async def test_settings_that_make_no_sense_are_left_out_visibly_and_stop_no_line(pool: Pool) -> None:
    odd = {"metric": "mAP50", "patience": "three", "mode": ["max"], "colour": "blue", "target": 0.45}
    await tell(pool, log_of([*a_run(*WORSE, settings=odd), *a_run(*WORSE, job_id=26)]))
    assert {job_id: decided.rule for job_id, _, decided in await told(pool)} == {25: "target", 26: "patience"}
    async with transaction(pool, readonly=True) as tx:
        ignored = await tx.fetchval("SELECT ignored FROM early_stop_attempts WHERE job_id = 25")
        letters = await tx.fetchval("SELECT count(*) FROM early_stop_dead_letters")
    assert [reason.partition(" is left out")[0] for reason in ignored] == ["mode", "patience", "colour"]
    assert letters == 0


async def test_nobody_watches_a_run_that_did_not_ask_for_it(pool: Pool) -> None:
    off = {"enabled": False, "metric": "mAP50", "patience": 1}
    await tell(pool, log_of([*a_run(*WORSE, settings=off), *a_run(*WORSE, job_id=26, settings=None)]))
    assert await told(pool) == []
    async with transaction(pool, readonly=True) as tx:
        states = await tx.fetch("SELECT state, watched FROM early_stop_attempts")
    assert [tuple(row) for row in states] == [(None, False), (None, False)]


async def test_the_first_session_of_an_attempt_that_names_settings_counts(pool: Pool) -> None:
    """The outbox and the trainer both write; a supervisor's session knows nothing of settings."""
    unknowing = event(session_opened("supervisor"), session="a" * 32, topic=METRICS)
    other = event(session_opened(early_stopping={"enabled": False}), session="b" * 32, topic=METRICS)
    run = a_run(*WORSE)
    await tell(pool, log_of([unknowing, run[0], other, *run[1:]]))
    assert len(await told(pool)) == 1
