from __future__ import annotations

import asyncio
import io
import re
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from tests.services import World
from training_sdk import DatasetNotFound, RunSettings, TrainerSDK, wire
from training_sdk.storage import datasets, progress
from training_sdk.storage.datasets import download_dataset
from training_sdk.storage.names import safe_name
from training_sdk.storage.progress import Progress
from training_sdk.testing import RecordingTransport

SCRIPTS = ["-m", "tests.integration.sdk.scripts"]


def settings_of(world: World, **extra: str) -> RunSettings:
    return RunSettings.from_env(world.environment(JOB_ID="25", **extra))


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
    content = bytes(range(256)) * 40_000
    put(world, "42/annotations_detection.json", b"{}")
    put(world, "42/images/large.bin", content)
    uri = f"s3://{world.datasets_bucket}/42/"
    settings = settings_of(world, DATASET_ID="42", DATASET_S3_URI=uri, TASK_TYPE="detection")
    original = datasets._continue
    offsets: list[int] = []

    def interrupted(store: object, bucket: str, file: datasets.RemoteFile, part: Path, progress: Progress) -> None:
        if file.name == "images/large.bin":
            offsets.append(part.stat().st_size if part.exists() else 0)
            if len(offsets) == 1:
                part.write_bytes(content[:3_000_000])
                raise ConnectionError("cut in the middle")
        original(store, bucket, file, part, progress)  # type: ignore[arg-type]  # passed through as it came

    monkeypatch.setattr(datasets, "_continue", interrupted)
    folder = Path(await asyncio.to_thread(download_dataset, settings))
    assert (folder / "images/large.bin").read_bytes() == content
    assert offsets == [0, 3_000_000]


async def test_kill_9_in_the_middle_costs_only_what_was_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"images/{number:03d}.bin": bytes([number]) * 500_000 for number in range(60)}
    for name, data in {"annotations_detection.json": b"{}", **files}.items():
        put(world, f"42/{name}", data)
    where = {"DATASET_ID": "42", "DATASET_S3_URI": f"s3://{world.datasets_bucket}/42/", "TASK_TYPE": "detection"}
    settings = settings_of(world, **where)
    cache = settings.data_dir / "cache/datasets"
    process = world.start(*SCRIPTS, "downloading", log="downloading", JOB_ID="25", **where)
    while len(list(cache.glob("*.partial/images/*.bin"))) < 5:
        assert process.poll() is None
        await asyncio.sleep(0.005)
    process.kill()
    await asyncio.to_thread(process.wait)
    fetched: list[str] = []
    original = datasets._continue

    def counted(store: object, bucket: str, file: datasets.RemoteFile, part: Path, progress: Progress) -> None:
        fetched.append(file.name)
        original(store, bucket, file, part, progress)  # type: ignore[arg-type]  # passed through as it came

    monkeypatch.setattr(datasets, "_continue", counted)
    folder = Path(await asyncio.to_thread(download_dataset, settings))
    assert files_below(folder) == {"annotations_detection.json": b"{}", **files}
    assert len(fetched) <= 61 - 5
    assert not list(cache.glob("*.partial"))


async def test_what_was_damaged_on_the_way_is_fetched_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world, "42/annotations_detection.json", b"{}")
    put(world, "42/images/a.bin", b"right" * 1000)
    settings = settings_of(world, DATASET_ID="42", DATASET_S3_URI=f"s3://{world.datasets_bucket}/42/")
    original = datasets._continue

    def damaged(store: object, bucket: str, file: datasets.RemoteFile, part: Path, progress: Progress) -> None:
        if file.name == "images/a.bin" and not damaged_once:
            damaged_once.append(part)
            part.write_bytes(b"wrong" * 1000)
        original(store, bucket, file, part, progress)  # type: ignore[arg-type]  # passed through as it came

    damaged_once: list[Path] = []
    monkeypatch.setattr(datasets, "_continue", damaged)
    folder = Path(await asyncio.to_thread(download_dataset, settings, 42, "detection"))
    assert damaged_once and (folder / "images/a.bin").read_bytes() == b"right" * 1000


async def test_processes_that_ask_at_once_fetch_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put_dataset(world, "42/")
    settings = settings_of(world, DATASET_ID="42", DATASET_S3_URI=f"s3://{world.datasets_bucket}/42/")
    said: list[str] = []
    asked = [asyncio.to_thread(download_dataset, settings, 42, "detection", said.append) for _ in range(3)]
    assert len(set(await asyncio.gather(*asked))) == 1
    assert len(said) == 1 and said[0].startswith("data set 42: 23 files, 0.0 MB fetched in ")


async def test_the_log_of_a_job_shows_how_far_its_download_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put_dataset(world, "42/")
    monkeypatch.setattr(progress, "SAID_EVERY_S", 0.0)
    transport = RecordingTransport()
    where = {"DATASET_ID": "42", "DATASET_S3_URI": f"s3://{world.datasets_bucket}/42/", "TASK_TYPE": "detection"}
    sdk = TrainerSDK(settings_of(world, **where), transport=transport)
    await asyncio.to_thread(sdk.download_dataset)
    assert await asyncio.to_thread(sdk.close)
    lines = [entry["message"] for data in transport.data(wire.LOG_WRITTEN) for entry in data["lines"]]
    assert any(re.fullmatch(r"data set 42: 2\d of 23 files, [\d.e+-]+ MB/s", line) for line in lines), lines
    assert "data set 42: 23 files" in lines[-1]


async def test_the_old_single_annotation_file_will_do(world: World) -> None:
    put(world, "42/annotations.json", b"{}")
    put(world, "42/images/a.png", b"a")
    settings = settings_of(world, DATASET_ID="42", DATASET_S3_URI=f"s3://{world.datasets_bucket}/42/")
    folder = Path(await asyncio.to_thread(download_dataset, settings, 42, "pose"))
    assert files_below(folder) == {"annotations.json": b"{}", "images/a.png": b"a"}


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


def zipped(*entries: tuple[str, bytes, int]) -> bytes:
    """Name, content and Unix mode of each."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return package.getvalue()


def lying_about_its_size() -> bytes:
    """A zip whose entry unpacks to more than it says."""
    data = zipped(("annotations_detection.json", b" " * 100_000, 0o600))
    return data.replace(struct.pack("<I", 100_000), struct.pack("<I", 10))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped(("../escaped.txt", b"x", 0o600)), "leads out of the data set's folder"),
        (zipped(("/escaped.txt", b"x", 0o600)), "leads out of the data set's folder"),
        (zipped(("images/escaped.txt", b"/etc/passwd", stat.S_IFLNK | 0o777)), "holds a link: 'images/escaped.txt'"),
        (b"no zip", "cannot be unpacked: File is not a zip file"),
        (zipped(("annotations_detection.json", b"{}", 0o600))[:-30], "cannot be unpacked"),
        (lying_about_its_size(), "cannot be unpacked: Bad CRC-32"),
        (zipped(("deep/er/annotations_detection.json", b"{}", 0o600)), "it has no annotations_detection.json"),
    ],
)
async def test_a_zip_that_is_broken_or_hostile_is_refused(world: World, content: bytes, words: str) -> None:
    put(world, "bad.zip", content)
    settings = settings_of(world, DATASET_ID="42", DATASET_PATH=f"s3://{world.datasets_bucket}/bad.zip")
    with pytest.raises(DatasetNotFound, match=words):
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
    with pytest.raises(ValueError, match="leads out"):
        safe_name(name)
