"""The checkpoint that this attempt goes on from: fetched from the store, checked, unpacked."""

from __future__ import annotations

import fcntl
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from minio import Minio

from training_sdk.settings import RunSettings, SettingsError
from training_sdk.storage.datasets import CHUNK_BYTES, retried
from training_sdk.storage.names import safe_name
from training_sdk.storage.s3 import open_store, split_uri
from training_sdk.storage.uploads import STORE_ERRORS, sha256_of

ENTRIES_MAX: Final = 100_000


class CheckpointNotUsable(RuntimeError):
    """The checkpoint cannot be fetched, or is not what was uploaded; the message says which, from where, and why."""


def fetch_resume_checkpoint(settings: RunSettings) -> str | None:
    """Fetch the object that TRAINING_RESUME_URI names, unless it lies in the cache already; its absolute path.

    Size and SHA-256 are checked against what was announced. A ``.tar`` comes unpacked, as the folder that was uploaded.
    None when there is nothing to go on from. Waits. Raises CheckpointNotUsable.
    """
    uri = settings.resume_uri
    if uri is None:
        return None
    try:
        bucket, key = split_uri(uri)
        cache = settings.data_dir / "cache/checkpoints"
        cache.mkdir(parents=True, exist_ok=True)
        name = safe_name(settings.resume_sha256 or key.replace("/", "_"))
        target = cache / f"{name}{PurePosixPath(key).suffix}"
        # One download at a time: several ranks of one machine ask at once.
        with (cache / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_file() or _problem(target, settings) is not None:
                part = target.with_name(target.name + ".part")
                retried(lambda: _download(open_store(settings), bucket, key, part, settings))
                part.rename(target)
            return str(_unpacked(target) if target.suffix == ".tar" else target.resolve())
    except (SettingsError, tarfile.TarError, *STORE_ERRORS) as error:
        raise CheckpointNotUsable(f"checkpoint {uri}: {error}") from error


def _download(store: Minio, bucket: str, key: str, part: Path, settings: RunSettings) -> None:
    """The whole object. Raises one of STORE_ERRORS; ValueError for content that another try would not mend."""
    response = store.get_object(bucket, key)
    try:
        with part.open("wb") as out:
            for chunk in response.stream(CHUNK_BYTES):
                out.write(chunk)
    finally:
        response.close()
        response.release_conn()
    if problem := _problem(part, settings):
        part.unlink()
        raise ValueError(problem)


def _problem(path: Path, settings: RunSettings) -> str | None:
    """What is wrong with a file, None when it is what was announced."""
    size = path.stat().st_size
    if settings.resume_size is not None and size != settings.resume_size:
        return f"it has {size} bytes, {settings.resume_size} were uploaded"
    if settings.resume_sha256 is not None and (digest := sha256_of(path)) != settings.resume_sha256:
        return f"its SHA-256 is {digest}, of what was uploaded it was {settings.resume_sha256}"
    return None


def _unpacked(archive: Path) -> Path:
    """The folder in a tar that upload_checkpoint made. Raises ValueError for an entry that does not belong there."""
    folder = archive.with_suffix("")
    if not folder.is_dir():
        partial = archive.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with tarfile.open(archive) as tar:
            _extract(tar, partial)
        partial.rename(folder)
    inside = list(folder.iterdir())
    return (inside[0] if len(inside) == 1 and inside[0].is_dir() else folder).resolve()


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Files and folders only, below ``folder``: names, links and devices of a tar are somebody else's words."""
    entries = tar.getmembers()
    if len(entries) > ENTRIES_MAX:
        raise ValueError(f"the tar has {len(entries)} entries, at most {ENTRIES_MAX} are unpacked")
    free = shutil.disk_usage(folder).free
    if (total := sum(entry.size for entry in entries)) > free:
        raise ValueError(f"the tar unpacks to {total} bytes, {free} are free")
    for entry in entries:
        target = folder / safe_name(entry.name.rstrip("/"))
        if entry.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        content = tar.extractfile(entry) if entry.isreg() else None
        if content is None:
            raise ValueError(f"the tar holds {entry.name[:120]!r}, which is neither a file nor a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as out:
            shutil.copyfileobj(content, out)
