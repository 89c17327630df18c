"""A data set in DICE format, from the store to a local folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
import time as clock
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from minio import Minio
from minio.error import S3Error

from training_sdk.delivery.transport import backoff_s
from training_sdk.settings import RunSettings, SettingsError
from training_sdk.storage.names import safe_name
from training_sdk.storage.progress import Progress
from training_sdk.storage.s3 import open_store, split_uri
from training_sdk.storage.uploads import STORE_ERRORS
from training_sdk.storage.zips import unpack

PARALLEL: Final = 8
TRIES: Final = 5
FILES_MAX: Final = 2_000_000
CHUNK_BYTES: Final = 1024 * 1024
_FINAL_CODES: Final = ("NoSuchBucket", "NoSuchKey", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")

Result = TypeVar("Result")

logger = logging.getLogger("training_sdk")


class DatasetNotFound(LookupError):
    """The data set cannot be fetched; the message says which, from where, and why."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """``name`` is relative to the data set's root."""

    name: str
    key: str
    size: int
    etag: str


def download_dataset(
    settings: RunSettings,
    dataset_id: int | None = None,
    task_type: str | None = None,
    say: Callable[[str], object] = logger.info,
) -> str:
    """Fetch a data set, unless it lies in the cache already, and return its folder (absolute path).

    Looks at DATASET_S3_URI or DATASET_PATH (a folder or one zip; a local path is taken as it is), without them at
    ``s3://<datasets bucket>/<dataset_id>/``. Of the annotation files only the task's is fetched. Files are complete
    (size, and MD5 where the store's ETag is one) or the call fails; a broken download goes on where it was, also in
    another process. How far it is goes to ``say`` every few seconds, from any thread.
    Raises DatasetNotFound.
    """
    number = settings.dataset_id if dataset_id is None else dataset_id
    task = settings.task_type if task_type is None else task_type
    task = "detection" if task == "object_detection" else task
    uri = settings.dataset_uri if number in (None, settings.dataset_id) else None
    if uri is None:
        if number is None:
            raise DatasetNotFound("neither DATASET_ID nor DATASET_S3_URI nor DATASET_PATH is set")
        uri = f"s3://{settings.datasets_bucket}/{number}/"
    if not uri.startswith("s3://"):
        path = Path(uri.removeprefix("file://"))
        if path.is_dir():
            return str(path.resolve())
        raise DatasetNotFound(f"data set {number}: {uri!r} is neither an s3:// address nor a folder here")
    try:
        cache = settings.data_dir / "cache/datasets"
        return str(_fetch(open_store(settings, connections=PARALLEL), uri, task, cache, f"data set {number}", say))
    except (SettingsError, *STORE_ERRORS) as error:
        raise DatasetNotFound(f"data set {number} at {uri}: {error}") from error


def _fetch(store: Minio, uri: str, task: str | None, cache: Path, what: str, say: Callable[[str], object]) -> Path:
    bucket, prefix = split_uri(uri)
    listing = retried(lambda: _listing(store, bucket, prefix))
    files = _of_task(listing, task, uri) if not prefix.endswith(".zip") else listing
    identity = hashlib.sha256(json.dumps([[file.name, file.size, file.etag] for file in files]).encode()).hexdigest()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / identity[:32]
    # One download of the same content at a time: several ranks of one machine ask at once.
    with (cache / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            partial = cache / f"{target.name}.partial"
            partial.mkdir(exist_ok=True)
            progress = Progress(what, len(files), say)
            _download_all(store, bucket, files, partial, progress)
            if prefix.endswith(".zip"):
                # A folder of its own, begun anew each time: half of an archive is nothing to go on from.
                unpacked = cache / f"{target.name}.unpacked"
                shutil.rmtree(unpacked, ignore_errors=True)
                unpacked.mkdir()
                unpack(partial / files[0].name, unpacked)
                unpacked.rename(target)
                shutil.rmtree(partial)
            else:
                partial.rename(target)
            progress.end()
    if prefix.endswith(".zip"):
        return _root_of(target, task, uri)
    return target.resolve()


def _listing(store: Minio, bucket: str, prefix: str) -> list[RemoteFile]:
    if prefix.endswith(".zip"):
        found = store.stat_object(bucket, prefix)
        name = PurePosixPath(prefix).name
        return [RemoteFile(safe_name(name), prefix, found.size or 0, (found.etag or "").strip('"'))]
    root = prefix if not prefix or prefix.endswith("/") else prefix + "/"
    files = []
    for entry in store.list_objects(bucket, root, recursive=True):
        key = entry.object_name or ""
        if key.endswith("/") or entry.is_dir:
            continue
        files.append(RemoteFile(safe_name(key[len(root) :]), key, entry.size or 0, (entry.etag or "").strip('"')))
        if len(files) > FILES_MAX:
            raise ValueError(f"more than {FILES_MAX} files below {root!r}")
    if not files:
        raise ValueError("there is nothing")
    return sorted(files, key=lambda file: file.name)


def _of_task(files: Sequence[RemoteFile], task: str | None, uri: str) -> list[RemoteFile]:
    annotations = {file.name for file in files if file.name.startswith("annotations") and file.name.endswith(".json")}
    if task is None:
        return list(files)
    wanted = next((name for name in _annotation_names(task) if name in annotations), None)
    if wanted is None:
        have = ", ".join(sorted(annotations)) or "no annotation file at all"
        raise ValueError(f"it has no annotations_{task}.json; it has {have}")
    return [file for file in files if file.name == wanted or file.name not in annotations]


def _annotation_names(task: str) -> tuple[str, str]:
    """The task's own file, and the old one for all tasks."""
    return f"annotations_{task}.json", "annotations.json"


def _download_all(store: Minio, bucket: str, files: Sequence[RemoteFile], folder: Path, progress: Progress) -> None:
    """The first error ends it, without waiting for the files that have not begun."""
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="dataset") as pool:
        started = [pool.submit(_download, store, bucket, file, folder, progress) for file in files]
        try:
            for download in as_completed(started):
                download.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _download(store: Minio, bucket: str, file: RemoteFile, folder: Path, progress: Progress) -> None:
    target = folder / file.name
    if not (target.is_file() and target.stat().st_size == file.size):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        retried(lambda: _continue(store, bucket, file, part, progress))
        part.rename(target)
    progress.finished_file()


def _continue(store: Minio, bucket: str, file: RemoteFile, part: Path, progress: Progress) -> None:
    """Fetch what is missing of one file, and check the whole. Raises one of STORE_ERRORS."""
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        part.unlink()
        have = 0
    if have < file.size or not part.exists():
        with part.open("ab") as out:
            if file.size:
                response = store.get_object(
                    bucket, file.key, offset=have, length=0, request_headers={"If-Match": f'"{file.etag}"'}
                )
                try:
                    for chunk in response.stream(CHUNK_BYTES):
                        out.write(chunk)
                        progress.received(len(chunk))
                finally:
                    response.close()
                    response.release_conn()
    size = part.stat().st_size
    if size != file.size:
        raise OSError(f"{file.key} came with {size} bytes, wanted {file.size}")
    if len(file.etag) == 32 and "-" not in file.etag and _md5(part) != file.etag:
        part.unlink()
        raise OSError(f"{file.key} is not what the store's checksum {file.etag} says")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def retried(attempt: Callable[[], Result]) -> Result:
    """The answer of ``attempt``, which is tried again while the store does not answer. Raises one of STORE_ERRORS."""
    for number in range(1, TRIES + 1):
        try:
            return attempt()
        except STORE_ERRORS as error:
            # A name that is refused or a right that is missing does not come back.
            if (
                number == TRIES
                or type(error) is ValueError
                or (isinstance(error, S3Error) and error.code in _FINAL_CODES)
            ):
                raise
            logger.info("training_sdk: %s; try %d of %d", error, number + 1, TRIES)
            clock.sleep(backoff_s(number))
    raise AssertionError("unreachable")


def _root_of(folder: Path, task: str | None, uri: str) -> Path:
    """The folder with the annotations: the zip's top, or the one folder in it."""
    for root in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        names = ["annotations*.json"] if task is None else _annotation_names(task)
        if any(any(root.glob(name)) for name in names):
            return root.resolve()
    raise ValueError(f"it has no annotations_{task}.json")
