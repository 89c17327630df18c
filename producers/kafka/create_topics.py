"""The migration step of the log: make the topics, and refuse to change how keys are spread over partitions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from events.topics import PARTITIONS, TOPICS, Topic

LEADERS_TIMEOUT_S: Final = 30.0
REPLICATION_MAX: Final = 3


class TopicRefused(RuntimeError):
    """A topic exists with another shape."""


async def create_topics(
    bootstrap_servers: str,
    topic_prefix: str = "",
    replication: int | None = None,
    topics: Sequence[Topic] = TOPICS,
) -> list[str]:
    """Make the topics that are missing and wait until every partition has a leader. Returns the new names.

    ``replication`` None: a replica on each broker, three at most. Raises TopicRefused when one exists with another
    number of partitions or there are fewer brokers than ``replication``, TimeoutError when leaders are missing, and
    aiokafka.errors.KafkaError when the broker cannot be reached.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=20_000)
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        names = [topic_prefix + topic.name for topic in topics]
        present = [name for name in names if name in existing]
        _refuse_other_partition_counts(await admin.describe_topics(present) if present else [])
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = replication or min(brokers, REPLICATION_MAX)
        missing = [topic for topic in topics if topic_prefix + topic.name not in existing]
        if missing and replicas > brokers:
            raise TopicRefused(f"{replicas} replicas of a topic are wanted and only {brokers} brokers are there")
        new = [
            NewTopic(
                topic_prefix + topic.name,
                num_partitions=PARTITIONS,
                replication_factor=replicas,
                # With one replica gone the log still takes records, with two gone it takes none that could be lost.
                topic_configs={**topic.settings(), "min.insync.replicas": str(max(1, replicas - 1))},
            )
            for topic in missing
        ]
        if new:
            answer = await admin.create_topics(new)
            for name, code, *rest in answer.topic_errors:
                # Another migration may have been a moment faster.
                if code not in (0, TopicAlreadyExistsError.errno):
                    raise TopicRefused(f"topic {name} could not be made: {for_code(code).__name__} {rest[:1]}")
        await _wait_for_leaders(admin, names)
        return [topic.name for topic in new]
    finally:
        await admin.close()


def _refuse_other_partition_counts(described: Sequence[Mapping[str, Any]]) -> None:
    for topic in described:
        count = len(topic["partitions"])
        if count not in (0, PARTITIONS):  # 0: just made, not told to every broker yet
            raise TopicRefused(
                f"topic {topic['topic']} has {count} partitions, {PARTITIONS} are wanted. Another number would "
                f"move keys to other partitions and mix up the order of jobs: copy the records to a new topic instead."
            )


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    deadline = time.monotonic() + LEADERS_TIMEOUT_S
    while True:
        described = await admin.describe_topics(names)
        _refuse_other_partition_counts(described)
        waiting = [
            topic["topic"]
            for topic in described
            if len(topic["partitions"]) != PARTITIONS or any(part["leader"] < 0 for part in topic["partitions"])
        ]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no leader after {LEADERS_TIMEOUT_S:.0f} s for partitions of {', '.join(waiting)}")
        await asyncio.sleep(0.1)
