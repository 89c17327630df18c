"""Files on their way up. A pending upload is two files in the spool: the copy, and what is to be done with it.

Steps, each repeatable: the object under its own checksum (immutable), a check of its size, the announcement, a copy
inside the store to the names that people know. A reader who trusts the announcement finds the object whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.error import MinioException

from training_sdk.delivery.transport import backoff_s
from training_sdk.storage.s3 import PART_BYTES

COPY_PART_BYTES: Final = 1024 * 1024
_FICLONE: Final = 0x40049409
"""ioctl_ficlonerange(2): copy without copying, on file systems that share blocks until they are written."""

STORE_ERRORS: Final = (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError)

logger = logging.getLogger("training_sdk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is to become of a file. Its object's key is ``prefix``, the file's sha256, ``ending``.

    ``aliases``: keys that show the newest such file, too. ``event`` and ``data`` announce it; the data's object_uri,
    file_size_bytes and sha256 are added when they are known.
    """

    bucket: str
    prefix: str
    ending: str
    aliases: list[str]
    attempt: int
    content_type: str
    event: str
    data: dict[str, Any]
    saved_at: float

    def key(self, digest: str) -> str:
        return f"{self.prefix}{digest}{self.ending}"


class UploadQueue:
    """Uploads of one session's folder, in order, by a thread that begins with the first one (or by ``work`` itself)."""

    def __init__(
        self,
        folder: Path,
        open_store: Callable[[], Minio],
        announce: Callable[[str, dict[str, Any], int], None],
        announced: int = 0,
    ) -> None:
        """``announce(event, data, number)`` puts an event into the log; numbers up to ``announced`` are there."""
        self._folder = folder / "uploads"
        self._open_store = open_store
        self._announce = announce
        self._announced = announced
        self._store: Minio | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._numbers = sorted(int(path.stem) for path in self._folder.glob("*.json"))
        self._next = max([announced, *self._numbers]) + 1
        self.last_error: str | None = None

    @property
    def pending(self) -> int:
        """Uploads that are not finished."""
        return len(self._numbers)

    def add(self, source: Path, upload: Upload) -> str:
        """Copy ``source`` (a file, or a folder as one tar) and queue it; the URI that will show it. Raises OSError.

        The copy is made here and now, because training writes into the same file again. Where there is no alias, it is
        read once more for the checksum that its address holds.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with self._lock:
            number, self._next = self._next, self._next + 1
        data = self._data(number)
        try:
            if source.is_dir():
                with tarfile.open(data, "w") as tar:
                    tar.add(source, arcname=source.name)
            else:
                copy_file(source, data)
            key = upload.aliases[0] if upload.aliases else upload.key(sha256_of(data))
            draft = self._folder / f"{number:08d}.new"
            draft.write_bytes(orjson.dumps(asdict(upload)))
            draft.rename(self._folder / f"{number:08d}.json")
        except OSError:
            data.unlink(missing_ok=True)
            raise
        with self._lock:
            self._numbers.append(number)
            self._numbers.sort()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="training-sdk-uploads", daemon=True)
                self._thread.start()
        self._wake.set()
        return f"s3://{upload.bucket}/{key}"

    def stop(self, timeout_s: float) -> None:
        """Begin no further upload; wait for the one at work for at most ``timeout_s`` seconds."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def work(self) -> None:
        """Finish the oldest upload. Raises one of STORE_ERRORS; it may be repeated."""
        number = self._numbers[0]
        description = self._folder / f"{number:08d}.json"
        upload = Upload(**orjson.loads(description.read_bytes()))
        data = self._data(number)
        if self._store is None:
            self._store = self._open_store()
        store = self._store
        digest = sha256_of(data)
        size = data.stat().st_size
        key = upload.key(digest)
        if object_size(store, upload.bucket, key) != size:
            metadata: dict[str, str | list[str] | tuple[str]] = {
                "sha256": digest,
                "attempt": str(upload.attempt),
                "saved-at": f"{upload.saved_at:.6f}",
            }
            store.fput_object(
                upload.bucket,
                key,
                str(data),
                content_type=upload.content_type,
                part_size=PART_BYTES,
                metadata=metadata,
            )
        stored = object_size(store, upload.bucket, key)
        if stored != size:
            raise OSError(f"s3://{upload.bucket}/{key} has {stored} bytes after the upload, wanted {size}")
        if number > self._announced:
            place = {"object_uri": f"s3://{upload.bucket}/{key}", "file_size_bytes": size, "sha256": digest}
            self._announce(upload.event, {**upload.data, **place}, number)
            self._announced = number
        for alias in upload.aliases:
            copy_alias(store, upload, key, alias)
        description.unlink()
        data.unlink(missing_ok=True)
        with self._lock:
            self._numbers.remove(number)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            if not self._numbers:
                self._wake.clear()
                if not self._numbers:
                    self._wake.wait()
                continue
            try:
                self.work()
                failures = 0
            except STORE_ERRORS as error:
                failures += 1
                self.last_error = str(error)
                if failures == 1:
                    logger.warning("training_sdk: a file waits in the spool, the store says: %s", error)
                self._stopping.wait(backoff_s(failures))

    def _data(self, number: int) -> Path:
        return self._folder / f"{number:08d}.data"


def copy_alias(store: Minio, upload: Upload, key: str, alias: str) -> None:
    """Let the alias show this file, unless it shows one of a later attempt or a later moment."""
    try:
        metadata = store.stat_object(upload.bucket, alias).metadata or {}
        shown = (int(metadata.get("x-amz-meta-attempt", 0)), float(metadata.get("x-amz-meta-saved-at", 0)))
        if shown > (upload.attempt, upload.saved_at):
            return
    except MinioException as error:
        if not _is_missing(error):
            raise
    store.copy_object(upload.bucket, alias, CopySource(upload.bucket, key))


def object_size(store: Minio, bucket: str, key: str) -> int | None:
    """Bytes of an object, None when it is not there."""
    try:
        return store.stat_object(bucket, key).size
    except MinioException as error:
        if _is_missing(error):
            return None
        raise


def _is_missing(error: MinioException) -> bool:
    return getattr(error, "code", "") in ("NoSuchKey", "NoSuchObject")


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(COPY_PART_BYTES):
            digest.update(part)
    return digest.hexdigest()


def copy_file(source: Path, target: Path) -> None:
    """A copy with blocks of its own (or shared until written, where the file system can): never a hard link."""
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            shutil.copyfileobj(reader, writer, COPY_PART_BYTES)
        writer.flush()
        if os.fstat(writer.fileno()).st_size != os.fstat(reader.fileno()).st_size:
            raise OSError(f"{source} changed its size while it was copied")
