"""A topic that was written by older versions of the contract is folded as if it had been written today."""

from __future__ import annotations

import json

from aiokafka import AIOKafkaProducer

from events.asyncapi import example_of
from events.registry import BY_WIRE_NAME
from producers.database import Pool
from projections.registry import CORE, of_process
from projections.runtime.apply import apply_batch
from projections.runtime.replay import read_topic
from tests.given import all_rows
from tests.services import World
from training_sdk.wire import JOBS, METRICS, partition_of


async def write_golden(world: World, *names: tuple[str, str]) -> None:
    """The golden examples of types, as they were written then, to topics."""
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka_bootstrap_servers, acks="all")
    await producer.start()
    try:
        for number, (name, topic) in enumerate(names, start=1):
            example = example_of(BY_WIRE_NAME[name])
            key = b"25"
            headers = {**example["headers"], "ce_session": "ab" * 16, "ce_seq": str(number), "ce_subject": "25"}
            headers["ce_id"] = f"{headers['ce_session']}:{topic}:{number}"
            await producer.send_and_wait(
                world.topic_prefix + topic,
                json.dumps(example["data"]).encode(),
                key=key,
                partition=partition_of(key),
                headers=[(header, value.encode()) for header, value in headers.items()],
            )
    finally:
        await producer.stop()


async def test_what_version_1_wrote_is_folded_as_version_2_is(migrated_world: World, pool: Pool) -> None:
    await write_golden(
        migrated_world,
        ("training.job.created.v1", JOBS),
        ("training.session.opened.v1", JOBS),
        ("training.checkpoint.saved.v1", JOBS),
        ("training.checkpoint.saved.v2", JOBS),
        ("training.session.opened.v1", METRICS),
        ("training.metrics.reported.v1", METRICS),
    )
    for projection in of_process(CORE):
        if projection.topic in (JOBS, METRICS):
            read = read_topic(migrated_world.kafka_bootstrap_servers, migrated_world.topic_prefix, projection.topic)
            async for batch in read:
                assert (await apply_batch(pool, projection, batch)).parked == 0
    rows = await all_rows(pool)
    old, new = sorted(rows["training_checkpoints"], key=lambda row: int(row["log_offset"]))
    assert (old["step"], new["step"]) == (None, 250)
    ignored = {"log_offset", "step"}
    assert {key: old[key] for key in old.keys() - ignored} == {key: new[key] for key in new.keys() - ignored}
    (attempt,) = rows["metric_attempts"]
    assert (attempt["resume_step"], attempt["resume_epoch"]) == (0, None)
    assert rows["training_metrics"], "metrics after an old opening count"
    trail = [row["type"] for row in sorted(rows["job_events"], key=lambda row: int(row["log_offset"]))]
    assert trail[1:3] == ["training.session.opened.v1", "training.checkpoint.saved.v1"], (
        "the trail says what was written"
    )
