"""What is read by batches takes the memory of some batches, however long the log is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer

from events.topics import TOPICS
from events.types.vocabulary import Fact
from producers.kafka.create_topics import create_topics
from tests.archive_files import write_part
from tests.builders import event, log_written, metrics_reported, wire
from tests.integration.sdk.test_replay import PARTITION, records_of
from tests.services import World
from training_sdk.wire import LOGS, METRICS

GROUP_BYTES = 8 * 1024 * 1024

READ = """
import sys
from training_sdk.replay import logs, metrics, read_events
from training_sdk.replay import read, scan

def peak_mib():  # of this program alone; what getrusage says begins with its parent's
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024

import minio, aiokafka, pyarrow.dataset, polars as pl
pl.DataFrame({"a": [1]}).lazy().filter(pl.col("a") > 0).collect(engine="streaming")
topic, source, target = sys.argv[1:]
before = peak_mib()
events = read_events(topic, source=source)
read_rows = {
    "events": lambda: sum(1 for _ in events),
    "points": lambda: metrics(source=source).to_parquet(target + ".parquet"),
    "filtered": lambda: sum(
        frame.height
        for frame in events.scan().filter(pl.col("data").str.len_bytes() > 0).select("data").collect_batches()
    ),
}
print(*(f"{name}:{read()}:{peak_mib() - before}" for name, read in read_rows.items() if name in target))
"""


async def fill(world: World, topic: str, make: Callable[[], Fact], count: int) -> int:
    """That many events. Returns about how many bytes that are."""
    await create_topics(world.kafka_bootstrap_servers, world.topic_prefix, topics=TOPICS[1:3])
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka_bootstrap_servers, max_batch_size=256 * 1024)
    await producer.start()
    try:
        for first in range(1, count + 1, 50):
            messages = [wire(event(make(), job_id=25, seq=seq)) for seq in range(first, min(first + 50, count + 1))]
            place = world.topic_prefix + topic
            sent = [
                await producer.send(place, message.data, b"25", PARTITION, headers=message.headers())
                for message in messages
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return count * len(messages[0].data)


async def archived(world: World, topic: str, count: int, row_bytes: int) -> None:
    store = world.store()
    await asyncio.to_thread(store.make_bucket, world.archive_bucket)
    records = await records_of(world, topic, PARTITION)
    rows = GROUP_BYTES // row_bytes
    await asyncio.to_thread(write_part, store, world.archive_bucket, records, 0, count, group_rows=rows)


def grown(world: World, topic: str, source: str, what: str) -> tuple[int, int]:
    """Rows read, and by how many MiB the reading process grew."""
    found = world.run("-c", READ, topic, source, str(world.folder / what), timeout_s=150)
    _, rows, mib = found.split()[-1].split(":")
    return int(rows), int(mib)


async def test_events_are_read_in_the_memory_of_some(world: World) -> None:
    numbers = random.Random(1)
    count = 3_000
    size_bytes = await fill(world, LOGS, lambda: log_written(numbers.randbytes(30_000).hex()), count)
    await archived(world, LOGS, count, 60_000)
    assert size_bytes > 180_000_000
    for source, mib_max in (("kafka", 60), ("archive", 170)):
        rows, mib = await asyncio.to_thread(grown, world, LOGS, source, "events")
        assert rows == count
        assert mib < mib_max, source


@pytest.mark.full
async def test_points_and_scans_are_read_in_the_memory_of_some_batches(world: World) -> None:
    numbers = random.Random(1)
    data = metrics_reported({f"metric{n}": [numbers.random() for _ in range(400)] for n in range(10)})
    count = 2_000
    size_bytes = await fill(world, METRICS, lambda: data, count)
    await archived(world, METRICS, count, size_bytes // count)
    assert size_bytes > 150_000_000
    for source in ("kafka", "archive"):
        rows, mib = await asyncio.to_thread(grown, world, METRICS, source, "points")
        assert rows == count * 4_000
        assert mib < 200, source
        rows, mib = await asyncio.to_thread(grown, world, METRICS, source, "filtered")
        assert rows == count
        assert mib < 250, source
