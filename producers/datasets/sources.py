"""Where a data set lies in S3: a folder, or one zip. Both are read with limits, and never as a whole."""

from __future__ import annotations

import io
import lzma
import stat
import threading
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import Final, Protocol

from minio import Minio
from minio.helpers import check_bucket_name

from events.types.dice import ANNOTATION_FILES, OLD_ANNOTATION_FILE, Problem, unsafe_name

OBJECTS_MAX: Final = 1_000_000
ZIP_BUFFER_BYTES: Final = 1024**2
UNPACKED_BYTES_MAX: Final = 1024**4
RATIO_MAX: Final = 200
"""Pictures do not shrink much and JSON by 20 or so; what shrinks more is made to burst."""
RATIO_COUNTS_FROM_BYTES: Final = 1024**3
ZIP_PROBLEMS_MAX: Final = 100
_SUPPORTED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, OSError)
"""What reading a file may raise because of its content."""

WANTED: Final = (*ANNOTATION_FILES.values(), OLD_ANNOTATION_FILE)


class Source(Protocol):
    problems: list[Problem]
    """What is wrong with the container itself."""

    sizes: dict[str, int]
    """Name below the data set's root -> bytes."""

    def read(self, name: str) -> bytes:
        """A whole file, of no more bytes than ``sizes`` says; any thread may call. Raises one of UNREADABLE, or what
        minio raises."""


def open_source(client: Minio, uri: str) -> Source:
    """Raises ValueError for what cannot be an address, S3Error for a bucket or zip that is not there."""
    bucket, _, path = uri.removeprefix("s3://").partition("/")
    check_bucket_name(bucket)
    return Zip(client, bucket, path) if path.endswith(".zip") else Folder(client, bucket, path)


class Folder:
    """A prefix of a bucket."""

    def __init__(self, client: Minio, bucket: str, path: str) -> None:
        self._client, self._bucket = client, bucket
        self._prefix = f"{path.rstrip('/')}/" if path.rstrip("/") else ""
        self.problems: list[Problem] = []
        self.sizes: dict[str, int] = {}
        for entry in client.list_objects(bucket, prefix=self._prefix, recursive=True):
            if entry.object_name is not None and not entry.is_dir:
                self.sizes[entry.object_name.removeprefix(self._prefix)] = entry.size or 0
            if len(self.sizes) > OBJECTS_MAX:
                self.problems.append(Problem("", "", f"more than {OBJECTS_MAX} files lie in the folder"))
                break

    def read(self, name: str) -> bytes:
        return _ranged(self._client, self._bucket, self._prefix + name, 0, self.sizes[name])


class Zip:
    """One zip, of which only the directory and what is asked for is fetched."""

    def __init__(self, client: Minio, bucket: str, key: str) -> None:
        self._lock = threading.Lock()
        self._file = PurePosixPath(key).name
        self.problems: list[Problem] = []
        self.sizes: dict[str, int] = {}
        self._entries: dict[str, zipfile.ZipInfo] = {}
        size = client.stat_object(bucket, key).size or 0
        try:
            content = io.BufferedReader(_Object(client, bucket, key, size), ZIP_BUFFER_BYTES)
            self._archive = zipfile.ZipFile(content)
        except UNREADABLE as error:
            self.problems.append(Problem(self._file, "", f"is not a zip that can be read: {error}"))
            return
        entries = [entry for entry in self._archive.infolist() if not entry.is_dir()]
        self.problems += self._faults(entries)[:ZIP_PROBLEMS_MAX]
        root = _root_of([entry.filename for entry in entries])
        self._entries = {
            entry.filename.removeprefix(root): entry for entry in entries if entry.filename.startswith(root)
        }
        self.sizes = {name: entry.file_size for name, entry in self._entries.items()}

    def read(self, name: str) -> bytes:
        # One at a time: they share the buffer, which goes forward through the zip.
        with self._lock, self._archive.open(self._entries[name]) as content:
            return content.read()

    def _faults(self, entries: list[zipfile.ZipInfo]) -> list[Problem]:
        if len(entries) > OBJECTS_MAX:
            return [Problem(self._file, "", f"holds {len(entries)} files, at most {OBJECTS_MAX} are read")]
        found = []
        unpacked, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
        bursting = unpacked > RATIO_COUNTS_FROM_BYTES and unpacked > RATIO_MAX * max(packed, 1)
        if bursting or unpacked > UNPACKED_BYTES_MAX:
            message = f"is a decompression bomb: {packed} bytes unpack to {unpacked}"
            found.append(Problem(self._file, "", message))
        seen: set[str] = set()
        for entry in entries:
            name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
            reason = unsafe_name(name)
            if kind not in (0, stat.S_IFREG):
                reason = "is a link or another special file; only files are read"
            elif entry.flag_bits & 0x1:
                reason = "is encrypted"
            elif entry.compress_type not in _SUPPORTED:
                reason = f"is packed with method {entry.compress_type}, which is not supported"
            elif name in seen:
                reason = "is in it twice"
            seen.add(name)
            if reason:
                found.append(Problem(self._file, "", f"entry {name[:200]!r} {reason}"))
        return found


class _Object(io.RawIOBase):
    """An object as a file that can be sought in."""

    def __init__(self, client: Minio, bucket: str, key: str, size: int) -> None:
        self._client, self._bucket, self._key, self._size = client, bucket, key, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("seek to before the start")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # what BufferedReader gives
        length = max(0, min(len(buffer), self._size - self._position))
        data = _ranged(self._client, self._bucket, self._key, self._position, length)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _ranged(client: Minio, bucket: str, key: str, offset: int, length: int) -> bytes:
    if not length:
        return b""
    response = client.get_object(bucket, key, offset=offset, length=length)
    try:
        data: bytes = response.read(length)
    finally:
        response.close()
        response.release_conn()
    return data


def _root_of(names: list[str]) -> str:
    """The folder in the zip that holds the annotations: its top, or the one folder in it."""
    if any(name in WANTED for name in names):
        return ""
    inside = [name.partition("/") for name in names]
    return next((f"{folder}/" for folder, slash, name in inside if slash and name in WANTED), "")
