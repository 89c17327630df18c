from __future__ import annotations

import asyncio
import hashlib
import io
import signal
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from tests.services import World, free_port
from tests.waiting import eventually
from training_sdk import DatasetNotFound, RunSettings, TrainerSDK, wire
from training_sdk.storage.datasets import download_dataset
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


def put(world: World, key: str, data: bytes) -> None:
    world.store().put_object(world.datasets_bucket, key, io.BytesIO(data), len(data))


def put_dataset(world: World, prefix: str) -> dict[str, bytes]:
    files = {
        "metadata.json": b"{}",
        "annotations_detection.json": b'{"images": []}',
        "annotations_classification.json": b'{"images": [1]}',
        **{f"images/train/{number:03d}.png": bytes([number]) * (1000 + number) for number in range(20)},
        "images/val/empty.png": b"",
    }
    for name, data in files.items():
        put(world, prefix + name, data)
    return files


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


async def test_a_data_set_is_fetched_once_with_the_annotations_of_its_task(world: World) -> None:
    files = put_dataset(world, "42/")
    uri = f"s3://{world.datasets_bucket}/42/"
    settings = settings_of(world, DATASET_ID="42", DATASET_S3_URI=uri, TASK_TYPE="detection")
    folder = Path(await asyncio.to_thread(download_dataset, settings))
    found = files_below(folder)
    del files["annotations_classification.json"]
    assert found == files
    stamp = (folder / "metadata.json").stat().st_mtime_ns
    again = await asyncio.to_thread(download_dataset, settings, 42, "object_detection")
    assert again == str(folder) and (folder / "metadata.json").stat().st_mtime_ns == stamp
    put(world, "42/metadata.json", b'{"changed": true}')
    changed = Path(await asyncio.to_thread(download_dataset, settings))
    assert changed != folder and (changed / "metadata.json").read_bytes() == b'{"changed": true}'


async def test_a_broken_download_goes_on_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from training_sdk.storage import datasets

    content = bytes(range(256)) * 40_000
    put(world, "42/annotations_detection.json", b"{}")
    put(world, "42/images/large.bin", content)
    uri = f"s3://{world.datasets_bucket}/42/"
    settings = settings_of(world, DATASET_ID="42", DATASET_S3_URI=uri, TASK_TYPE="detection")
    original = datasets._continue
    offsets: list[int] = []

    def interrupted(store: object, bucket: str, file: datasets.RemoteFile, part: Path) -> None:
        if file.name == "images/large.bin":
            offsets.append(part.stat().st_size if part.exists() else 0)
            if len(offsets) == 1:
                part.write_bytes(content[:3_000_000])
                raise ConnectionError("cut in the middle")
        original(store, bucket, file, part)  # type: ignore[arg-type]  # passed through as it came

    monkeypatch.setattr(datasets, "_continue", interrupted)
    folder = Path(await asyncio.to_thread(download_dataset, settings))
    assert (folder / "images/large.bin").read_bytes() == content
    assert offsets == [0, 3_000_000]


async def test_a_zip_is_unpacked_and_its_root_found(world: World) -> None:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("vehicles/annotations_detection.json", "{}")
        archive.writestr("vehicles/images/train/a.png", b"a")
    put(world, "sets/vehicles.zip", package.getvalue())
    uri = f"s3://{world.datasets_bucket}/sets/vehicles.zip"
    settings = settings_of(world, DATASET_ID="42", DATASET_PATH=uri)
    folder = Path(await asyncio.to_thread(download_dataset, settings, 42, "detection"))
    assert folder.name == "vehicles" and (folder / "images/train/a.png").read_bytes() == b"a"


async def test_a_zip_whose_names_lead_out_of_the_folder_is_refused(world: World) -> None:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("../escaped.txt", "x")
    put(world, "bad.zip", package.getvalue())
    settings = settings_of(world, DATASET_ID="42", DATASET_PATH=f"s3://{world.datasets_bucket}/bad.zip")
    with pytest.raises(DatasetNotFound, match="leads out of the data set's folder"):
        await asyncio.to_thread(download_dataset, settings, 42, "detection")
    assert not list(world.folder.rglob("escaped.txt"))


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://{bucket}/nothing/", "there is nothing"),
        ("s3://no-such-bucket-anywhere/42/", "NoSuchBucket"),
        ("s3://{bucket}/42/", "no annotations_pose.json; it has annotations_detection.json"),
        ("/no/such/folder", "neither an s3:// address nor a folder"),
    ],
)
async def test_what_cannot_be_fetched_is_said_clearly(world: World, uri: str, words: str) -> None:
    put(world, "42/annotations_detection.json", b"{}")
    address = uri.format(bucket=world.datasets_bucket)
    settings = settings_of(world, DATASET_ID="42", DATASET_S3_URI=address)
    with pytest.raises(DatasetNotFound, match=words) as caught:
        await asyncio.to_thread(download_dataset, settings, 42, "pose")
    assert "data set 42" in str(caught.value)


@pytest.mark.parametrize("name", ["../up.json", "/etc/passwd", "a/../../b", "", "a\\..\\b", "a\x00b"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    from training_sdk.storage.datasets import safe_name

    with pytest.raises(ValueError, match="leads out"):
        safe_name(name)
