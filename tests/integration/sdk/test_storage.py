from __future__ import annotations

import asyncio
import hashlib
import io
import signal
import tarfile
from pathlib import Path
from typing import Any

from minio import Minio

from tests.services import World, free_port
from tests.waiting import eventually
from training_sdk import RunSettings, TrainerSDK, wire
from training_sdk.storage.kinds import Place, checkpoint_upload
from training_sdk.storage.uploads import UploadQueue
from training_sdk.sync import sync
from training_sdk.testing import RecordingTransport

SCRIPTS = ["-m", "tests.integration.sdk.scripts"]


def settings_of(world: World, **extra: str) -> RunSettings:
    return RunSettings.from_env(world.environment(JOB_ID="25", **extra))


def read(world: World, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    response = world.store().get_object(bucket, key)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


async def test_a_checkpoint_is_announced_only_when_its_object_is_whole_and_completed_comes_after(
    world: World, tmp_path: Path
) -> None:
    transport = RecordingTransport()
    path = tmp_path / "weights.pt"
    first, second = b"first" * 200_000, b"second" * 200_000
    sdk = TrainerSDK(settings_of(world), transport=transport)
    path.write_bytes(first)
    uri = sdk.upload_checkpoint(str(path), True, epoch=3, metrics={"mAP50": 0.5})
    path.write_bytes(second)
    last = sdk.upload_checkpoint(str(path), False, epoch=4)
    sdk.report_completed({"total_epochs": 4})
    path.write_bytes(b"overwritten")
    assert await asyncio.to_thread(sdk.close)
    bucket = world.checkpoints_bucket
    assert uri == f"s3://{bucket}/checkpoints/25/best.pt" and last == f"s3://{bucket}/checkpoints/25/last.pt"
    saved = transport.data(wire.CHECKPOINT_SAVED)
    assert [(data["checkpoint_path"], data["is_best"], data["epoch"]) for data in saved] == [
        (uri, True, 3),
        (last, False, 4),
    ]
    for data, content in zip(saved, (first, second), strict=True):
        digest = hashlib.sha256(content).hexdigest()
        assert data["object_uri"] == f"s3://{bucket}/checkpoints/25/attempt-1/{digest}.pt"
        assert data["sha256"] == digest and data["file_size_bytes"] == len(content)
        assert read(world, data["object_uri"]) == content
    assert saved[0]["metrics"] == {"mAP50": 0.5}
    assert read(world, uri) == first and read(world, last) == second
    names = [event.type for event in transport.events if event.topic == wire.JOBS]
    assert names[-4:] == [wire.CHECKPOINT_SAVED, wire.CHECKPOINT_SAVED, wire.JOB_COMPLETED, wire.SESSION_CLOSED]
    completed = transport.data(wire.JOB_COMPLETED)[0]
    assert completed["best_checkpoint_path"] == uri and completed["final_checkpoint_path"] == last


async def test_a_best_checkpoint_is_last_too_and_an_epoch_keeps_its_name(world: World, tmp_path: Path) -> None:
    sdk = TrainerSDK(settings_of(world), transport=RecordingTransport())
    (tmp_path / "epoch_7.pt").write_bytes(b"seven")
    (tmp_path / "best.pt").write_bytes(b"best")
    seventh = sdk.upload_checkpoint(str(tmp_path / "epoch_7.pt"), False)
    best = sdk.upload_checkpoint(str(tmp_path / "best.pt"), True)
    assert await asyncio.to_thread(sdk.close)
    assert seventh.endswith("/25/epoch_7.pt") and read(world, seventh) == b"seven"
    assert read(world, best) == read(world, best.replace("best.pt", "last.pt")) == b"best"


async def test_a_folder_travels_as_one_tar(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-500"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    sdk = TrainerSDK(settings_of(world), transport=RecordingTransport())
    uri = sdk.upload_checkpoint(str(folder), True)
    assert await asyncio.to_thread(sdk.close)
    assert uri.endswith("/checkpoints/25/best.tar")
    with tarfile.open(fileobj=io.BytesIO(read(world, uri))) as tar:
        assert "checkpoint-500/model.safetensors" in tar.getnames()


async def test_a_checkpoint_that_waits_outlives_kill_9_and_is_announced_once(world: World) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    process = world.start(
        *SCRIPTS, "killed_with_checkpoint", str(world.folder), log="killed", JOB_ID="25", S3_ENDPOINT=nowhere
    )
    assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    transport = RecordingTransport()
    down = settings_of(world, S3_ENDPOINT=nowhere)
    report = await asyncio.to_thread(sync, world.folder / "spool", "supervisor", settings=down, transport=transport)
    assert "1 file(s) cannot be uploaded" in next(iter(report.left.values()))
    assert transport.data(wire.JOB_COMPLETED) != [] and transport.data(wire.SESSION_CLOSED) == []
    report = await asyncio.to_thread(
        sync, world.folder / "spool", "supervisor", settings=settings_of(world), transport=transport
    )
    assert report.left == {} and len(report.shipped) == 1
    saved = transport.data(wire.CHECKPOINT_SAVED)
    assert len(saved) == 1 and read(world, saved[0]["checkpoint_path"]) == b"first" * 1000
    assert transport.data(wire.SESSION_CLOSED)[0]["closed_by"] == "supervisor"


async def test_an_artifact_is_announced_with_its_immutable_object(world: World, tmp_path: Path) -> None:
    transport = RecordingTransport()
    plot, folder = tmp_path / "confusion matrix.png", tmp_path / "samples"
    folder.mkdir()
    (folder / "0.txt").write_bytes(b"zero")
    plot.write_bytes(b"first")
    sdk = TrainerSDK(settings_of(world, TRAINING_ATTEMPT="2"), transport=transport)
    uri = sdk.upload_artifact(str(plot), "plot", epoch=3)
    plot.write_bytes(b"second, of another size")
    named = sdk.upload_artifact(str(plot), "plot", name="plots/../PR curve.svg")
    of_folder = sdk.upload_artifact(str(folder), "prediction")
    sdk.report_completed({})
    assert await asyncio.to_thread(sdk.close)
    saved = transport.data(wire.ARTIFACT_SAVED)
    digest = hashlib.sha256(b"first").hexdigest()
    assert uri == f"s3://{world.checkpoints_bucket}/artifacts/25/attempt-2/{digest}/confusion_matrix.png"
    assert saved[0] == {
        "name": "confusion matrix.png",
        "kind": "plot",
        "epoch": 3,
        "object_uri": uri,
        "content_type": "image/png",
        "file_size_bytes": 5,
        "sha256": digest,
    }
    assert [data["object_uri"] for data in saved] == [uri, named, of_folder]
    assert (named.rpartition("/")[2], saved[1]["name"]) == ("PR_curve.svg", "plots/../PR curve.svg")
    assert read(world, uri) == b"first" and read(world, named) == b"second, of another size"
    assert saved[2]["name"] == "samples.tar" and saved[2]["content_type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(read(world, of_folder))) as tar:
        assert "samples/0.txt" in tar.getnames()
    jobs = [event.type for event in transport.events if event.topic == wire.JOBS]
    assert jobs[-2:] == [wire.JOB_COMPLETED, wire.SESSION_CLOSED]
    stat = world.store().stat_object(world.checkpoints_bucket, uri.partition(f"{world.checkpoints_bucket}/")[2])
    assert stat.content_type == "image/png"


async def test_an_artifact_that_waits_outlives_kill_9_and_is_announced_once(world: World) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    process = world.start(
        *SCRIPTS, "killed_with_artifacts", str(world.folder), log="killed", JOB_ID="25", S3_ENDPOINT=nowhere
    )
    assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    transport = RecordingTransport()
    down = settings_of(world, S3_ENDPOINT=nowhere)
    report = await asyncio.to_thread(sync, world.folder / "spool", "supervisor", settings=down, transport=transport)
    assert "3 file(s) cannot be uploaded" in next(iter(report.left.values()))
    assert transport.data(wire.ARTIFACT_SAVED) == []
    for _ in range(2):
        await asyncio.to_thread(sync, world.folder / "spool", settings=settings_of(world), transport=transport)
    saved = transport.data(wire.ARTIFACT_SAVED)
    assert [read(world, data["object_uri"]) for data in saved] == [b"0", b"1", b"2"]
    assert len(transport.data(wire.SESSION_CLOSED)) == 1


async def test_an_alias_never_goes_back_to_an_older_attempt(world: World, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    for attempt, content in (("2", b"newer"), ("1", b"older")):
        path.write_bytes(content)
        sdk = TrainerSDK(settings_of(world, TRAINING_ATTEMPT=attempt), transport=RecordingTransport())
        uri = sdk.upload_checkpoint(str(path), True)
        assert await asyncio.to_thread(sdk.close)
    assert read(world, uri) == b"newer"


async def test_an_upload_is_tried_again_until_the_store_answers(world: World, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    tries: list[int] = []
    announced: list[dict[str, Any]] = []

    def reached_at_last() -> Minio:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionRefusedError("nobody listens")
        return world.store()

    uploads = UploadQueue(tmp_path, reached_at_last, lambda event, data, number: announced.append(data))
    place = Place(world.checkpoints_bucket, job_id=25, attempt=1, saved_at=1.5)
    uploads.add(path, checkpoint_upload(path, place, is_best=True, epoch=1, metrics={}))
    assert uploads.pending == 1
    await eventually(lambda: uploads.pending == 0)
    assert len(announced) == 1 and len(tries) == 3 and uploads.last_error == "nobody listens"
    uploads.stop(5)
