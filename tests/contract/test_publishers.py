"""One suite over both publishers: what tests rely on in memory is what Kafka does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.codec import decode
from events.envelope import Record
from events.topics import TOPIC_NAMES
from producers.kafka.create_topics import TopicRefused, create_topics
from producers.kafka.memory import MemoryPublisher
from producers.kafka.publisher import KafkaPublisher, Publisher, PublishFailed
from projections.runtime.replay import highest_key, read_topic
from tests.builders import event, job_created, log_written, metrics_reported, wire
from tests.services import World
from training_sdk.wire import JOBS, METRICS, WireEvent


class Case:
    """A publisher and how to read what it appended."""

    def __init__(self, publisher: Publisher, world: World | None) -> None:
        self.publisher = publisher
        self.world = world

    async def records(self, topic: str) -> list[Record]:
        if self.world is None:
            assert isinstance(self.publisher, MemoryPublisher)
            logs = [log for (name, _), log in sorted(self.publisher.records.items()) if name == topic]
            return [record for log in logs for record in log]
        found: list[Record] = []
        async for batch in read_topic(self.world.kafka_bootstrap_servers, self.world.topic_prefix, topic):
            found += batch
        return sorted(found, key=lambda record: (record.partition, record.offset))


@pytest_asyncio.fixture(params=["memory", "kafka"])
async def case(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Case]:
    if request.param == "memory":
        yield Case(MemoryPublisher(), None)
        return
    await create_topics(world.kafka_bootstrap_servers, world.topic_prefix)
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    await publisher.start()
    yield Case(publisher, world)
    await publisher.close()


def some_events(job_id: int, count: int) -> list[WireEvent]:
    return [wire(event(metrics_reported({"loss": [float(n)]}), job_id=job_id, seq=n)) for n in range(1, count + 1)]


async def test_what_was_appended_reads_back_in_order_with_its_positions(case: Case) -> None:
    sent = [*some_events(25, 20), *some_events(26, 20)]
    positions = await case.publisher.publish(sent)
    by_position = {record.position: record for record in await case.records(METRICS)}
    assert len(by_position) == 40
    for message, position in zip(sent, positions, strict=True):
        record = by_position[position]
        assert (record.key, record.value) == (message.key.encode(), message.data)
        assert list(record.headers) == message.headers()
        assert decode(record).seq == message.seq
    of_job = [position.offset for message, position in zip(sent, positions, strict=True) if message.key == "25"]
    assert of_job == sorted(of_job)
    assert len({position.partition for position in positions[:20]}) == 1


async def test_a_batch_may_go_to_several_topics(case: Case) -> None:
    sent = [wire(event(job_created())), wire(event(log_written("one")))]
    positions = await case.publisher.publish(sent)
    assert [position.topic for position in positions] == ["training.jobs", "training.logs"]
    assert len(await case.records(JOBS)) == 1


async def test_the_same_event_may_be_appended_again_and_is_the_same(case: Case) -> None:
    (message,) = some_events(25, 1)
    await case.publisher.publish([message])
    await case.publisher.publish([message])
    first, second = await case.records(METRICS)
    assert first.offset < second.offset
    assert list(first.headers) == list(second.headers)


async def test_nothing_is_appended_by_an_empty_batch(case: Case) -> None:
    assert await case.publisher.publish([]) == []
    assert await case.records(METRICS) == []


async def test_closing_twice_is_harmless(case: Case) -> None:
    await case.publisher.close()
    await case.publisher.close()


async def test_what_cannot_be_appended_is_an_error(case: Case) -> None:
    if isinstance(case.publisher, MemoryPublisher):
        case.publisher.broken = True
        unreachable: Publisher = case.publisher
    else:
        unreachable = KafkaPublisher("127.0.0.1:1", "")
    with pytest.raises(PublishFailed):
        await unreachable.publish(some_events(25, 1))
    await unreachable.close()


async def test_topics_are_made_once_and_another_number_of_partitions_is_refused(world: World) -> None:
    made = await create_topics(world.kafka_bootstrap_servers, world.topic_prefix)
    assert sorted(made) == sorted(world.topic_prefix + name for name in TOPIC_NAMES)
    assert await create_topics(world.kafka_bootstrap_servers, world.topic_prefix) == []
    other = f"{world.topic_prefix}other."
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka_bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(f"{other}{METRICS}", num_partitions=3, replication_factor=1)])
    finally:
        await admin.close()
    with pytest.raises(TopicRefused, match=r"training\.metrics has 3 partitions, 12 are wanted"):
        await create_topics(world.kafka_bootstrap_servers, other)
    with pytest.raises(TopicRefused, match=r"9 replicas of a topic are wanted and only 1 brokers are there"):
        await create_topics(world.kafka_bootstrap_servers, f"{world.topic_prefix}nine.", 9)


async def test_the_highest_id_of_the_log_is_found(world: World) -> None:
    await create_topics(world.kafka_bootstrap_servers, world.topic_prefix)
    assert await highest_key(world.kafka_bootstrap_servers, world.topic_prefix, JOBS) == 0
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    await publisher.publish([wire(event(job_created(), job_id=job_id)) for job_id in (7, 123, 99)])
    await publisher.close()
    assert await highest_key(world.kafka_bootstrap_servers, world.topic_prefix, JOBS) == 123
