"""A job is erased for good: nothing of it is found anywhere but that it was, and nothing brings it back."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets
from aiokafka import AIOKafkaProducer
from minio import Minio

from producers.database import Pool, open_pool
from projections.registry import CORE, EARLY_STOP, of_process
from projections.runtime.apply import apply_batch
from projections.runtime.build import bring_up_to_date
from projections.runtime.replay import read_topic
from tests.integration.api.test_reading import sent
from tests.running import Running, create_job, register_dataset, running_in
from tests.services import World
from tests.waiting import eventually
from trainers.launcher.eraser import Eraser, folders_of_jobs
from trainers.launcher.local import LocalProcesses
from trainers.launcher.settings import Settings
from training_sdk.wire import JOB_TOPICS, JOBS, LOGS, METRICS, SYSTEM, partition_of

MARKER, OTHER = "xq7doomedxq7", "xq7otherxq7"
NO_STORE = "http://127.0.0.1:9"
ROW_TEXTS = """
SELECT table_schema, table_name FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
"""


@dataclass(slots=True)
class Place:
    running: Running
    client: httpx.AsyncClient
    pool: Pool
    dataset_id: int
    settings: Settings

    @property
    def world(self) -> World:
        return self.running.world

    def eraser(self, **changes: Any) -> Eraser:
        settings = replace(self.settings, **changes)
        return Eraser(self.pool, LocalProcesses(settings), settings)

    async def tables_with(self, marker: str) -> set[str]:
        """Tables of any schema that hold the marker in whatever column, as text or as bytes."""
        found = set()
        async with self.pool.acquire() as connection:
            for schema, table in await connection.fetch(ROW_TEXTS):
                query = f'SELECT EXISTS (SELECT FROM "{schema}"."{table}" AS row WHERE row::text LIKE ANY($1::text[]))'
                if await connection.fetchval(query, [f"%{marker}%", f"%{marker.encode().hex()}%"]):
                    found.add(f"{schema}.{table}")
        return found

    def objects(self) -> list[str]:
        store = self.world.store()
        return [item.object_name or "" for item in store.list_objects(self.world.checkpoints_bucket, recursive=True)]

    async def report(self, job_id: int) -> dict[str, Any]:
        answer = await self.client.get(f"training/jobs/{job_id}/purge")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def pending(self, job_id: int) -> set[str]:
        return {store["name"] for store in (await self.report(job_id))["stores"] if store["state"] == "pending"}

    async def early_stop_catches_up(self) -> None:
        for projection in of_process(EARLY_STOP):
            async for batch in read_topic(
                self.world.kafka_bootstrap_servers, self.world.topic_prefix, projection.topic
            ):
                await apply_batch(self.pool, projection, batch)

    async def append_rubbish(self, job_id: int, marker: str) -> None:
        """What no read model can read, on every topic of jobs."""
        producer = AIOKafkaProducer(bootstrap_servers=self.world.kafka_bootstrap_servers)
        await producer.start()
        try:
            for topic in JOB_TOPICS:
                key = str(job_id).encode()
                name = self.world.topic_prefix + topic
                await producer.send_and_wait(name, marker.encode(), key, partition_of(key), headers=[("x", b"y")])
        finally:
            await producer.stop()


@pytest_asyncio.fixture
async def place(world: World) -> AsyncIterator[Place]:
    async with (
        running_in(world) as running,
        httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as client,
    ):
        pool = await open_pool(world.database_url, size_max=4)
        settings = Settings.from_env(running.environment())
        yield Place(running, client, pool, await register_dataset(world), settings)
        await pool.close()


async def full_job(place: Place, marker: str) -> int:
    """An ended job of which something lies everywhere, with the marker in it."""
    client, world = place.client, place.world
    words = {"name": f"name {marker}", "description": marker, "notes": marker, "tags": [marker]}
    config = {"epochs": 5, "owner": marker, "early_stopping": {"metric": marker}}
    job_id = await create_job(client, place.dataset_id, **words, config=config)
    callback = f"training/jobs/{job_id}/callback"
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("started", {"pid": 1, "hostname": marker}),
        ("progress", {"epoch": 1, "total_epochs": 5, "phase": "train"}),
        ("metrics", {"epoch": 1, "phase": "val", "metrics": {marker: 0.5}}),
        ("checkpoint", {"checkpoint_path": f"s3://c/{marker}.pt", "is_best": True, "metrics": {marker: 1}}),
        ("log", {"level": "INFO", "message": marker}),
        ("completion", {"status": "failed", "error_code": "OOM", "error_message": marker}),
    ]
    for name, body in bodies:
        answer = await client.post(f"{callback}/{name}", json=body, headers={"Idempotency-Key": f"{marker} {name}"})
        assert answer.status_code == 200, answer.text
    file = {"name": marker, "kind": "plot", "object_uri": f"s3://c/{marker}", "file_size_bytes": 1, "sha256": "0" * 64}
    points = {"phase": "train", "steps": [1], "epochs": [1], "times": [1.0], "values": {marker: [0.5]}}
    events = [
        *(sent(job_id, topic, "session.opened", 1, {"sender": "sdk"}) for topic in JOB_TOPICS),
        sent(job_id, JOBS, "artifact.saved", 2, file),
        sent(job_id, METRICS, "metrics.reported", 2, points),
        sent(job_id, METRICS, "events.dropped", 3, {"topic": METRICS, "count": 1, "reason": marker}),
        sent(job_id, LOGS, "log.written", 2, {"lines": [_line(marker)]}),
        sent(job_id, SYSTEM, "system.sampled", 2, {"cpu_percent": 1.0, "hostname": marker}),
        sent(job_id, SYSTEM, "heartbeat.sent", 3, {}),
    ]
    answer = await client.post(f"training/jobs/{job_id}/events", json={"events": events})
    assert answer.status_code == 200, answer.text
    await place.append_rubbish(job_id, marker)
    store = world.store()
    for key in (
        f"checkpoints/{job_id}/best.pt",
        f"checkpoints/{job_id}/attempt-1/0a.pt",
        f"artifacts/{job_id}/a/b.png",
    ):
        store.put_object(world.checkpoints_bucket, key, io.BytesIO(marker.encode()), len(marker))
    for folder in (world.folder / "spool" / f"job-{job_id}", place.settings.run_folder(job_id, 1)):
        folder.mkdir(parents=True)
        (folder / "left.bin").write_text(marker)
    async with place.pool.acquire() as connection:
        lease = (
            "INSERT INTO write.leases (job_id, attempt, launcher, expires_at, run_folder) VALUES ($1, 1, $2, now(), $2)"
        )
        await connection.execute(lease, job_id, marker)
    return job_id


def _line(message: str) -> dict[str, Any]:
    return {"level": "INFO", "message": message, "timestamp": "2026-01-02T12:00:00Z", "source": "trainer"}


async def purged_job(place: Place, job_id: int) -> dict[str, Any]:
    assert (await place.client.delete(f"training/jobs/{job_id}")).status_code == 200
    answer = await place.client.post(f"training/jobs/{job_id}/purge", json={"confirm": job_id, "requested_by": "ann"})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_nothing_is_left_of_a_purged_job_and_nothing_brings_it_back(place: Place) -> None:
    client = place.client
    job_id, kept = await full_job(place, MARKER), await full_job(place, OTHER)
    address = f"training/jobs/{job_id}"
    wanted = {
        *("training_jobs", "job_events", "training_checkpoints", "training_artifacts", "metric_series", "metric_gaps"),
        *("metric_chunks", "metric_epochs", "training_logs", "dead_letters", "outbox", "leases", "early_stop_attempts"),
    }

    async def everywhere(marker: str = OTHER) -> bool:
        return {name.rpartition(".")[2] for name in await place.tables_with(marker)} >= wanted

    async def both_everywhere() -> bool:
        await place.early_stop_catches_up()
        return await everywhere(MARKER) and await everywhere(OTHER)

    await eventually(both_everywhere, what="the markers are everywhere")
    refused = await client.post(f"{address}/purge", json={"confirm": job_id})
    assert refused.status_code == 409 and "delete it first" in refused.json()["detail"], refused.text
    await client.delete(address)
    refused = await client.post(f"{address}/purge", json={"confirm": "another"})
    assert refused.status_code == 422 and "is neither the id" in refused.json()["detail"]
    assert (await client.get(f"{address}/purge")).status_code == 404
    said = await purged_job(place, job_id)
    assert (said["job_id"], said["requested_by"], said["state"]) == (job_id, "ann", "pending")
    gone = await client.get(address)
    assert gone.status_code == 410 and "by ann" in gone.json()["detail"]

    def of_workers(names: set[str]) -> set[str]:
        return {name for name in names if name.startswith("read model") and "mlflow" not in name}

    async def applied() -> bool:
        await place.early_stop_catches_up()
        return not of_workers(await place.pending(job_id))

    await eventually(applied, what="the read models have forgotten the job")
    assert await place.eraser().look() == [job_id]
    # No MLflow runs here: its mirror has a test of its own.
    assert await place.pending(job_id) == {"read model mlflow-runs", "read model mlflow-metrics"}
    assert await place.tables_with(MARKER) == set()
    assert await everywhere()
    assert {name.split("/")[1] for name in place.objects()} == {str(kept)}
    assert set(folders_of_jobs(place.settings)) == {kept}
    for path in ("", "/metrics", "/metrics/series", "/logs", "/events", "/checkpoints", "/artifacts", "/system"):
        assert (await client.get(address + path)).status_code == 410, path
    for verb, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/restore"), ("POST", "/stop")):
        assert (await client.request(verb, address + path, json={} if verb != "DELETE" else None)).status_code == 410
    log = await client.post(f"{address}/callback/log", json={"level": "INFO", "message": MARKER})
    assert log.status_code == 410
    async with websockets.connect(f"{place.running.socket_url}?job_id={job_id}") as connection:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4410
    listed = (await client.get("training/jobs", params={"deleted": "include"})).json()["jobs"]
    assert [job["id"] for job in listed] == [kept]

    report = await place.report(job_id)
    until = {topic["topic"]: topic["erased_from"] for topic in report["topics"]}
    assert until[JOBS] is None and until[METRICS] is None
    assert until[SYSTEM] < until[LOGS] and until[LOGS] > report["purged_at"]
    assert "never, while topic training.jobs keeps records for ever" in report["kafka_erased_from"]

    await late_events(place, job_id)
    place.running.kill("core")
    await built_anew(place)
    assert await place.tables_with(MARKER) == set()
    assert await everywhere()
    assert (await client.get(address)).status_code == 410


async def late_events(place: Place, job_id: int) -> None:
    """A spool that is found after the purge, and a record that nobody can read: both are dropped."""
    before = {topic["topic"]: topic["erased_from"] for topic in (await place.report(job_id))["topics"]}
    from producers.kafka.publisher import KafkaPublisher
    from tests.builders import event, job_created, log_written, metrics_reported, wire

    publisher = KafkaPublisher(place.world.kafka_bootstrap_servers, place.world.topic_prefix)
    facts = (job_created(name=MARKER), metrics_reported({MARKER: [1.0]}), log_written(MARKER))
    await publisher.publish([wire(event(fact, job_id=job_id, session="ab" * 16)) for fact in facts])
    await publisher.close()
    await place.append_rubbish(job_id, MARKER)
    ends = await place.client.get(place.running.url + "/readyz")
    assert ends.status_code == 200

    async def read() -> bool:
        lags = (await place.client.get(place.running.url + "/readyz")).json()["projections"]
        return all(lags[projection.name]["lag"] == 0 for projection in of_process(CORE))

    await eventually(read, what="the late events are read")
    assert await place.tables_with(MARKER) == set()
    # From now on the log holds something of it for longer.
    after = {topic["topic"]: topic["erased_from"] for topic in (await place.report(job_id))["topics"]}
    assert after[LOGS] > before[LOGS] and after[SYSTEM] > before[SYSTEM]


async def built_anew(place: Place) -> None:
    """Every read model, from the log as it is."""
    world = place.world
    for projection in (*of_process(CORE), *of_process(EARLY_STOP)):
        newer = replace(projection, version=projection.version + 1)
        await bring_up_to_date(place.pool, newer, world.kafka_bootstrap_servers, world.topic_prefix)


async def test_an_eraser_that_dies_or_reaches_no_store_is_followed_by_one_that_ends_the_work(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await full_job(place, MARKER)
    await purged_job(place, job_id)

    async def applied() -> bool:
        return "read model jobs" not in await place.pending(job_id)

    await eventually(applied, what="the purge is applied")
    await place.eraser(s3_endpoint=NO_STORE).look()
    assert {"objects", "outbox"} <= await place.pending(job_id)
    stores = {store["name"]: store for store in (await place.report(job_id))["stores"]}
    assert "a launcher tries again" in stores["objects"]["detail"]

    removed: list[str] = []
    remove = Minio.remove_object

    def dies(self: Minio, bucket: str, name: str) -> None:
        if removed:
            raise KeyError("killed")
        removed.append(name)
        remove(self, bucket, name)

    with monkeypatch.context() as patch:
        patch.setattr(Minio, "remove_object", dies)
        with pytest.raises(KeyError, match="killed"):
            await place.eraser().look()
    assert len(removed) == 1 and len(place.objects()) == 2
    assert await place.eraser().look() == [job_id]
    assert place.objects() == []
    assert not {"objects", "outbox", "spools and run folders"} & await place.pending(job_id)
    assert await place.eraser().look() == []
    # An upload that was under way when the job was purged, and a spool that is found on this machine later.
    world = place.world
    world.store().put_object(world.checkpoints_bucket, f"checkpoints/{job_id}/late.pt", io.BytesIO(b"x"), 1)
    spool = world.folder / "spool" / f"job-{job_id}"
    spool.mkdir(parents=True)
    async with place.pool.acquire() as connection:
        await connection.execute("UPDATE write.purges SET objects_looked_at = now() - interval '2 hours'")
    place.running.start_launcher()
    await eventually(lambda: place.objects() == [] and not spool.exists(), what="a launcher has erased both")


async def test_a_purge_is_accepted_with_the_log_away_and_no_other_job_waits_for_it(place: Place) -> None:
    job_id = await create_job(place.client, place.dataset_id, name="to go")
    await place.client.post(f"training/jobs/{job_id}/stop", json={})
    await place.client.delete(f"training/jobs/{job_id}")
    both = await asyncio.gather(
        *(place.client.post(f"training/jobs/{job_id}/purge", json={"confirm": "to go"}) for _ in range(2))
    )
    assert sorted(answer.status_code for answer in both) == [202, 410]
    async with place.pool.acquire() as connection:
        query = "SELECT topic FROM write.outbox WHERE job_id = $1 AND type = 'training.job.purged.v1' ORDER BY id"
        topics = [row["topic"] for row in await connection.fetch(query, job_id)]
    assert sorted(topics) == sorted(JOB_TOPICS) and topics[-1] == JOBS
