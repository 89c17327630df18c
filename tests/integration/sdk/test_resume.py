"""What an attempt goes on from: the object that was uploaded, whole, or an error that says what is wrong with it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.services import World
from training_sdk import CheckpointNotUsable, RunSettings, TrainerSDK, wire
from training_sdk.testing import RecordingTransport


async def uploaded(world: World, path: Path, **details: Any) -> dict[str, Any]:
    """The announcement of a checkpoint that really went up."""
    transport = RecordingTransport()
    sdk = TrainerSDK(RunSettings.from_env(world.environment(JOB_ID="25")), transport=transport)
    sdk.upload_checkpoint(str(path), False, **details)
    assert await asyncio.to_thread(sdk.close)
    (saved,) = transport.data(wire.CHECKPOINT_SAVED)
    found: dict[str, Any] = saved
    return found


def resuming(world: World, saved: dict[str, Any], **changes: str) -> TrainerSDK:
    variables = {
        "JOB_ID": "25",
        "TRAINING_ATTEMPT": "2",
        "TRAINING_RESUME_URI": saved["object_uri"],
        "TRAINING_RESUME_SHA256": saved["sha256"],
        "TRAINING_RESUME_SIZE": str(saved["file_size_bytes"]),
        **changes,
    }
    return TrainerSDK(RunSettings.from_env(world.environment(**variables)), transport=RecordingTransport())


async def fetched(sdk: TrainerSDK) -> Path:
    path = await asyncio.to_thread(sdk.resume_checkpoint)
    assert path is not None
    return Path(path)


def found_below(folder: Path, name: str) -> list[Path]:
    return list(folder.rglob(name))


def put(world: World, saved: dict[str, Any], content: bytes) -> None:
    bucket, _, key = saved["object_uri"].removeprefix("s3://").partition("/")
    world.store().put_object(bucket, key, io.BytesIO(content), len(content))


async def test_a_file_comes_back_as_it_was_uploaded_and_only_once(world: World, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"weights" * 1000)
    saved = await uploaded(world, path, epoch=3, step=300, resumable=True)
    assert (saved["step"], saved["resumable"], saved["epoch"]) == (300, True, 3)
    sdk = resuming(world, saved)
    local = await fetched(sdk)
    assert local.read_bytes() == path.read_bytes()
    put(world, saved, b"somebody wrote over it")
    assert await fetched(sdk) == local, "it lies in the cache"
    local.write_bytes(b"broken on the disk")
    with pytest.raises(CheckpointNotUsable, match="22 bytes, 7000 were uploaded"):
        await asyncio.to_thread(sdk.resume_checkpoint)


async def test_a_folder_comes_back_as_a_folder(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-500"
    (folder / "inner").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "inner" / "state.json").write_text("{}")
    saved = await uploaded(world, folder, resumable=True)
    local = await fetched(resuming(world, saved))
    assert local.name == "checkpoint-500"
    assert (local / "model.safetensors").read_bytes() == b"weights" and (local / "inner/state.json").exists()


async def test_what_is_not_what_was_uploaded_is_refused_with_the_reason(world: World, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"weights")
    saved = await uploaded(world, path)
    put(world, saved, b"WEIGHTS")
    with pytest.raises(CheckpointNotUsable, match="its SHA-256 is"):
        await asyncio.to_thread(resuming(world, saved).resume_checkpoint)
    gone = {**saved, "object_uri": saved["object_uri"].replace(".pt", ".gone.pt")}
    with pytest.raises(CheckpointNotUsable, match="does not exist"):
        await asyncio.to_thread(resuming(world, gone).resume_checkpoint)
    with pytest.raises(CheckpointNotUsable, match="not of the form s3://"):
        await asyncio.to_thread(resuming(world, saved, TRAINING_RESUME_URI="/etc/passwd").resume_checkpoint)


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([entry("../outside")], "leads out of"),
        ([entry("/etc/outside")], "leads out of"),
        ([entry("link", tarfile.SYMTYPE, "/etc"), entry("link/outside")], "neither a file nor a folder"),
        ([entry("link", tarfile.LNKTYPE, "../outside")], "neither a file nor a folder|not found"),
        ([entry("pipe", tarfile.FIFOTYPE)], "neither a file nor a folder"),
    ],
    ids=["parent", "absolute", "symbolic link", "hard link", "pipe"],
)
async def test_a_tar_that_leads_out_of_its_folder_is_refused(
    world: World, tmp_path: Path, entries: list[tarfile.TarInfo], words: str
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for info in entries:
            tar.addfile(info)
    content = packed.getvalue()
    saved = {
        "object_uri": f"s3://{world.checkpoints_bucket}/checkpoints/25/attempt-1/x.tar",
        "sha256": hashlib.sha256(content).hexdigest(),
        "file_size_bytes": len(content),
    }
    put(world, saved, content)
    with pytest.raises(CheckpointNotUsable, match=words):
        await asyncio.to_thread(resuming(world, saved).resume_checkpoint)
    assert not found_below(tmp_path, "outside")
