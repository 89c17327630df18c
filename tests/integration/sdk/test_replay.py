"""The log read back: from Kafka, from the archive, and from both as one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from events.envelope import Record
from events.topics import TOPICS
from events.types.vocabulary import Fact
from producers.kafka.create_topics import create_topics
from tests.archive_files import write_part
from tests.builders import event, log_written, metrics_reported, session_opened, wire
from tests.services import World
from training_sdk.replay import HistoryIncomplete, LogUnreadable, MalformedRecord, Replay, logs, metrics, read_events
from training_sdk.replay.selection import Source
from training_sdk.settings import SettingsError
from training_sdk.wire import LOGS, METRICS, WireEvent, partition_of


@pytest_asyncio.fixture
async def log(world: World) -> World:
    """A world with the topics of metrics and logs, and an empty archive."""
    await create_topics(world.kafka_bootstrap_servers, world.topic_prefix, topics=TOPICS[1:3])
    await asyncio.to_thread(world.store().make_bucket, world.archive_bucket)
    return world


def points(job_id: int, seq: int, values: Sequence[float | None], session: str | None = None) -> WireEvent:
    data = metrics_reported({"loss": list(values)}, first_step=10 * seq)
    return sent(data, job_id, seq, session)


def sent(data: Fact, job_id: int, seq: int, session: str | None = None, topic: str | None = None) -> WireEvent:
    return wire(event(data, job_id=job_id, seq=seq, session=session or f"session-{job_id}", topic=topic))


async def append(world: World, *messages: WireEvent) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka_bootstrap_servers)
    await producer.start()
    try:
        for message in messages:
            key = message.key.encode()
            topic, partition = world.topic_prefix + message.topic, partition_of(key)
            await producer.send_and_wait(topic, message.data, key, partition, headers=message.headers())
    finally:
        await producer.stop()


async def append_bytes(world: World, topic: str, value: bytes, key: bytes = b"25") -> None:
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka_bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(world.topic_prefix + topic, value, key, partition_of(key), headers=[])
    finally:
        await producer.stop()


async def records_of(world: World, topic: str, partition: int) -> list[Record]:
    """A partition's records, as the archive's writer gets them."""
    place = TopicPartition(world.topic_prefix + topic, partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=world.kafka_bootstrap_servers)
    await consumer.start()
    found: list[Record] = []
    try:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        while len(found) < end:
            for raw in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                found.append(
                    Record(
                        topic=topic,
                        partition=partition,
                        offset=raw.offset,
                        timestamp_ms=raw.timestamp,
                        key=raw.key,
                        headers=raw.headers,
                        value=raw.value,
                    )
                )
    finally:
        await consumer.stop()
    return found


async def archive(world: World, topic: str, partition: int, *cuts: int, group_rows: int = 10_000) -> None:
    """Write what lies between the cuts to the archive, a part each."""
    records = await records_of(world, topic, partition)
    for first, after in pairwise(cuts):
        part = [record for record in records if first <= record.offset < after]
        await asyncio.to_thread(
            write_part, world.store(), world.archive_bucket, part, first, after, group_rows=group_rows
        )


async def delete_before(world: World, topic: str, partition: int, offset: int) -> None:
    """What the topic's retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka_bootstrap_servers)
    await admin.start()
    try:
        place = TopicPartition(world.topic_prefix + topic, partition)
        await admin.delete_records({place: RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


def offsets(replay: Replay) -> list[int]:
    return [event.offset for event in replay]


PARTITION = partition_of(b"25")


async def test_a_job_is_read_from_kafka_and_each_event_once(log: World) -> None:
    first, second = points(25, 2, [0.5, None, float("nan")]), points(25, 3, [0.25])
    opened = sent(session_opened(resume_epoch=0), 25, 1, topic=METRICS)
    await append(log, opened, first, second, first, points(26, 1, [9.0]))
    # In the test's own running event loop, as in a notebook.
    replay = read_events(METRICS, job_ids=25, settings=log.environment())
    assert [(e.type, e.version, e.seq) for e in replay] == [
        ("training.session.opened", 2, 1),
        ("training.metrics.reported", 1, 2),
        ("training.metrics.reported", 1, 3),
    ]
    assert len(list(read_events(METRICS, job_ids=25, duplicates="keep", settings=log.environment()))) == 4
    frame = metrics(25, settings=log.environment()).to_polars()
    assert frame["step"].to_list() == [20, 22, 30]
    assert str(frame["value"].to_list()) == "[0.5, nan, 0.25]"
    assert set(frame["job_id"]) == {25} and set(frame["name"]) == {"loss"} and set(frame["phase"]) == {"train"}


async def test_old_versions_are_read_as_the_newest(log: World) -> None:
    old = sent(session_opened(), 25, 1, topic=LOGS)
    old = WireEvent(
        **{**{name: getattr(old, name) for name in WireEvent.__slots__}, "type": "training.session.opened.v1"}
    )
    await append(log, old)
    for source in await both(log, LOGS):
        (found,) = read_events(LOGS, job_ids=25, source=source, settings=log.environment())
        assert found.version == 1 and found.data is not None and found.data["resume_epoch"] is None


async def both(world: World, topic: str, group_rows: int = 10_000) -> tuple[Source, Source]:
    """The same records in the archive, too."""
    count = len(await records_of(world, topic, PARTITION))
    await archive(world, topic, PARTITION, 0, count // 2, count, group_rows=group_rows)
    return "kafka", "archive"


async def test_the_same_call_reads_the_same_from_both(log: World) -> None:
    await append(log, *(points(25, seq, [seq / 8, None, 1.0]) for seq in range(1, 30)))
    await append(log, sent(session_opened(), 25, 30, topic=METRICS), points(25, 5, [5.0]))
    await append_bytes(log, METRICS, b"\xff not ours")
    from_kafka, from_archive = (
        read_events(METRICS, job_ids=25, source=source, errors="keep", settings=log.environment())
        for source in await both(log, METRICS, group_rows=7)
    )
    assert list(from_kafka) == list(from_archive)
    assert from_kafka.to_arrow().equals(from_archive.to_arrow())
    table = from_kafka.to_polars()
    assert table.height == 31  # 32 records, one of them twice
    assert table.filter(pl.col("type").is_null())["value"].to_list() == [b"\xff not ours"]
    with pytest.raises(MalformedRecord, match=rf"training.metrics/{PARTITION} at offset 31: .*keep"):
        list(read_events(METRICS, job_ids=25, source="archive", settings=log.environment()))


async def test_ranges_of_time_and_offsets_and_types(log: World) -> None:
    await append(log, *(points(25, seq, [1.0]) for seq in range(1, 4)))
    await append(log, sent(session_opened(), 25, 4, topic=METRICS))
    await append(log, *(points(25, seq, [1.0]) for seq in range(5, 9)))
    records = await records_of(log, METRICS, PARTITION)
    middle = datetime.fromtimestamp(records[4].timestamp_ms / 1000, UTC)
    later = [record.offset for record in records if record.timestamp_ms >= records[4].timestamp_ms]
    for source in await both(log, METRICS, group_rows=2):
        read = partial(read_events, source=source, settings=log.environment())
        assert offsets(read(METRICS, since=middle)) == later
        assert offsets(read(METRICS, until=middle)) == list(range(8 - len(later)))
        assert offsets(read(METRICS, since=middle + timedelta(days=1))) == []
        assert offsets(read(offsets={METRICS: {PARTITION: (2, 5)}})) == [2, 3, 4]
        assert offsets(read(METRICS, types="training.session.opened")) == [3]
        assert offsets(read(METRICS, types="training.session.opened.v1")) == []
        assert offsets(read(METRICS, job_ids=37)) == []


async def test_what_kafka_deleted_comes_from_the_archive_without_gap_or_overlap(log: World) -> None:
    await append(log, *(points(25, seq, [1.0]) for seq in range(1, 21)))
    await archive(log, METRICS, PARTITION, 0, 6, 14)
    await delete_before(log, METRICS, PARTITION, 10)
    auto = read_events(METRICS, job_ids=25, settings=log.environment())
    assert offsets(auto) == list(range(20))
    assert offsets(read_events(METRICS, job_ids=25, source="kafka", settings=log.environment())) == list(range(10, 20))
    assert offsets(read_events(METRICS, job_ids=25, source="archive", settings=log.environment())) == list(range(14))
    await delete_before(log, METRICS, PARTITION, 17)
    with pytest.warns(HistoryIncomplete, match=f"offsets 14 to 16 of partition {PARTITION} are neither"):
        assert offsets(auto) == [*range(14), *range(17, 20)]


async def test_log_lines(log: World) -> None:
    await append(log, sent(log_written("first", "second"), 25, 1))
    frame = logs(25, settings=log.environment()).to_pandas()
    assert frame["message"].tolist() == ["first", "second"] and frame["line"].tolist() == [0, 1]
    assert frame["level"].tolist() == ["INFO", "INFO"]


async def test_files_are_written_batch_by_batch(log: World, tmp_path: Path) -> None:
    await append(log, *(points(25, seq, [seq / 8, float("inf")]) for seq in range(1, 4)))
    frame = metrics(25, names="train/loss", settings=log.environment())
    assert frame.to_parquet(tmp_path / "points.parquet") == 6
    assert pl.read_parquet(tmp_path / "points.parquet").equals(frame.to_polars())
    assert frame.to_csv(tmp_path / "points.csv") == 6
    assert pl.read_csv(tmp_path / "points.csv")["value"].to_list() == frame.to_polars()["value"].to_list()
    assert frame.to_jsonl(tmp_path / "points.jsonl") == 6
    assert '"value":"Infinity"' in (tmp_path / "points.jsonl").read_text()
    left = await asyncio.to_thread(lambda: sorted(path.suffix for path in tmp_path.glob(".*")))
    assert left == [], "no half file is left"


async def test_a_topic_that_is_nowhere_is_said_with_the_setting_to_look_at(log: World) -> None:
    elsewhere = {**log.environment(), "EPOCHLOG_TOPIC_PREFIX": "other."}
    with pytest.raises(LogUnreadable, match=r"prefix of topics: 'other\.'.* EPOCHLOG_TOPIC_PREFIX .*training\.metrics"):
        list(read_events(METRICS, source="kafka", settings=elsewhere))
    with pytest.raises(LogUnreadable, match=r"Kafka at 127\.0\.0\.1:1 cannot be read"):
        list(read_events(METRICS, source="kafka", settings={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}))
    with pytest.raises(LogUnreadable, match="EPOCHLOG_TOPIC_PREFIX"):
        list(read_events(METRICS, settings={**elsewhere, "EPOCHLOG_ARCHIVE_BUCKET": "nothing"}))
    # Nothing of the archive is needed, so its store need not be there.
    assert list(read_events(METRICS, settings={**log.environment(), "S3_ENDPOINT": "http://127.0.0.1:1"})) == []
    with pytest.raises(SettingsError, match="EPOCHLOG_ARCHIVE_BUCKET"):
        list(
            read_events(METRICS, source="archive", settings={**log.environment(), "EPOCHLOG_ARCHIVE_BUCKET": "nothing"})
        )


async def test_a_scan_reads_only_the_files_and_rows_that_its_conditions_leave(
    log: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(log, sent(session_opened(), 25, 1, topic=METRICS), *(points(25, seq, [1.0]) for seq in range(2, 11)))
    await append(log, points(25, 4, [1.0]), points(25, 11, [1.0]), points(37, 1, [1.0]))
    await archive(log, METRICS, PARTITION, 0, 5, 9)
    await delete_before(log, METRICS, PARTITION, 7)
    await append_bytes(log, METRICS, b"not ours")
    opened: list[str] = []
    scan_parquet = pl.scan_parquet

    def noted(uris: list[str], **given: Any) -> pl.LazyFrame:
        opened.extend(uris)
        return scan_parquet(uris, **given)

    monkeypatch.setattr(pl, "scan_parquet", noted)
    replay = read_events(METRICS, errors="keep", settings=log.environment())
    table = replay.to_polars()
    assert table.filter(pl.col("partition") == PARTITION)["offset"].to_list() == [*range(10), 11, 12]
    rows = replay.scan()
    assert_same_rows(rows.collect(), table)
    a_day = timedelta(days=1)
    appended = table["append_time"][0]
    for conditions, files in (
        ([pl.col("type") == "training.metrics.reported"], 2),
        ([pl.col("type") == "training.session.opened"], 1),
        ([pl.col("version") == 2, pl.col("offset") > 2], 1),
        ([pl.col("append_time") >= appended, pl.col("job_id") == 25], 3),
        ([pl.col("append_time") < appended - a_day], 0),
        ([pl.col("append_time").is_between(appended + a_day, appended + 2 * a_day)], 0),
        ([pl.col("partition") != PARTITION], 0),
        ([pl.col("data").str.contains("loss"), pl.col("seq") > 4], 3),
        ([pl.col("problem").is_not_null()], 3),
    ):
        opened.clear()
        found = rows.filter(*conditions).collect()
        assert_same_rows(found, table.filter(*conditions))
        assert len(set(opened)) == files, conditions
    assert rows.select(pl.len()).collect().item() == table.height
    assert rows.group_by("type").len().collect().height == 3
    assert rows.head(2).collect().height == 2


def assert_same_rows(left: pl.DataFrame, right: pl.DataFrame) -> None:
    order = ["partition", "offset"]
    assert left.sort(order).equals(right.sort(order))


async def test_export_writes_a_file(log: World, tmp_path: Path) -> None:
    await append(log, *(points(25, seq, [seq / 8]) for seq in range(1, 5)), points(26, 1, [9.0]))
    target = tmp_path / "points.parquet"
    command = ["-m", "training_sdk", "export", "--job", "25", "--to"]
    printed = await asyncio.to_thread(log.run, *command, str(target), "--rows", "points", "--name", "loss")
    assert printed == f"4 rows in {target}\n"
    assert pl.read_parquet(target)["value"].to_list() == [0.125, 0.25, 0.375, 0.5]
    lines = tmp_path / "events.jsonl"
    chosen = ["--topic", METRICS, "--offsets", f"{METRICS}/{PARTITION}:1-3", "--since", "2026-01-01"]
    await asyncio.to_thread(log.run, *command, str(lines), *chosen)
    assert pl.read_ndjson(lines)["offset"].to_list() == [1, 2]
