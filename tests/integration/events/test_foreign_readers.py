"""Kafka's own console consumer reads our records: what is in the log needs none of our code."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import jgo
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.asyncapi import example_of
from events.codec import data_bytes
from events.registry import BY_WIRE_NAME
from stack.kafka import java_command
from tests.services import World
from training_sdk.wire import METRICS, METRICS_REPORTED

KAFKA_TOOLS = "org.apache.kafka:kafka-tools:4.3.1+org.slf4j:slf4j-simple:1.7.36"


def console_consumer_class_path() -> str:
    cache = Path.home() / ".cache" / "epochlog" / "jgo"
    return ":".join(str(jar) for jar in jgo.build(KAFKA_TOOLS, cache_dir=cache).all_jars)


def console_consumer(bootstrap_servers: str, topic: str) -> str:
    """What ``kafka-console-consumer`` prints for the topic's first record."""
    return subprocess.run(
        [java_command(), "-cp", console_consumer_class_path(), "org.apache.kafka.tools.consumer.ConsoleConsumer"]
        + ["--bootstrap-server", bootstrap_servers, "--topic", topic, "--from-beginning"]
        + ["--max-messages", "1", "--timeout-ms", "30000"]
        + ["--formatter-property", "print.headers=true", "--formatter-property", "print.key=true"],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    ).stdout.strip()


async def test_the_console_consumer_prints_headers_key_and_plain_json(world: World) -> None:
    example = example_of(BY_WIRE_NAME[METRICS_REPORTED])
    value = data_bytes(BY_WIRE_NAME[METRICS_REPORTED].model.model_validate(example["data"]))
    topic = world.topic_prefix + METRICS
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka_bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=world.kafka_bootstrap_servers, acks="all") as producer:
        headers = [(name, text.encode()) for name, text in example["headers"].items()]
        await producer.send_and_wait(topic, value, key=example["key"].encode(), headers=headers)

    printed = await asyncio.to_thread(console_consumer, world.kafka_bootstrap_servers, topic)
    header_text, key, document = printed.split("\t")
    assert dict(pair.split(":", 1) for pair in header_text.split(",")) == example["headers"]
    assert key == "25"
    assert document.encode() == value
